//! Turns markdown into plain text, which is all that a text message shows.
//!
//! A parser finds the marks, and only they are taken out: all that is no mark stays byte for byte
//! as it is. Where people write the same characters without meaning markdown, CommonMark
//! (<https://spec.commonmark.org>) is read more narrowly. docs/decisions/046-reply-filter.md has
//! the reasons.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

use icu_properties::props::GeneralCategory;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::edits::Edits;
use super::links;
use crate::domain::characters::category;

/// Without one of these characters a text has no marks.
const MARKS: [char; 9] = ['*', '_', '~', '`', '#', '[', '<', '>', '|'];

/// The text without the marks of markdown.
pub(super) fn flatten(text: &str) -> Cow<'_, str> {
    Walk::over(text, false).edits.apply(text)
}

/// Walks over the parts of a text and collects what is to be edited.
struct Walk<'a> {
    text: &'a str,
    /// Whether the text is what stands in code. Then it has all marks that it may have, and code
    /// within it is one of them.
    is_code: bool,
    edits: Edits,
    /// Where addresses are that stand in the text without marks.
    addresses: OnceCell<Vec<Range<usize>>>,
    /// The links and pictures that are not closed yet.
    links: Vec<OpenLink>,
    lists: OpenLists,
    /// How many block quotes are not closed yet.
    quotes: usize,
    /// The cells of the row of a table that is not closed yet, without the blanks around them.
    cells: Vec<Range<usize>>,
}

/// A link or a picture that is not closed yet.
struct OpenLink {
    /// Where it leads, if that is written in it.
    address: Option<String>,
    /// What stands between its brackets.
    inner: Range<usize>,
    /// The words of that.
    words: String,
}

/// The lists that are not closed yet.
#[derive(Default)]
struct OpenLists {
    /// How many items each has, the outermost first.
    items: Vec<usize>,
    /// Where the items begin whose mark is an asterisk.
    asterisks: Vec<usize>,
    /// Whether one of them has two items. A single asterisk at the beginning of a line may as well
    /// mark a footnote.
    is_list: bool,
}

impl<'a> Walk<'a> {
    fn over(text: &'a str, is_code: bool) -> Self {
        let mut walk = Self {
            text,
            is_code,
            edits: Edits::default(),
            addresses: OnceCell::new(),
            links: Vec::new(),
            lists: OpenLists::default(),
            quotes: 0,
            cells: Vec::new(),
        };
        if text.contains(MARKS) {
            let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
            for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
                walk.read(event, range);
            }
        }
        walk
    }

    fn slice(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or_default()
    }

    fn read(&mut self, event: Event<'_>, range: Range<usize>) {
        if let Event::End(TagEnd::Link | TagEnd::Image) = event {
            self.end_link(range.clone());
        }
        if let Some(link) = self.links.last_mut() {
            link.inner.end = link.inner.end.max(range.end);
            if let Event::Text(words) | Event::Code(words) = &event {
                link.words.push_str(words);
            }
        }
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(tag, range),
            Event::Code(_) => self.code(range),
            // HTML, entities, line ends and rules have no marks that could be taken out.
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Heading { .. } => self.heading(range),
            Tag::BlockQuote(_) => {
                if self.quotes == 0 {
                    self.quote(range);
                }
                self.quotes += 1;
            }
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => self.fence(&info, range),
            Tag::List(_) => self.lists.items.push(0),
            Tag::Item => self.lists.item(self.slice(range.start..range.end).starts_with('*').then_some(range.start)),
            Tag::TableHead | Tag::TableRow => self.cells.clear(),
            Tag::TableCell => self.cells.push(self.trimmed(range)),
            Tag::Emphasis => self.emphasis(range, 1),
            Tag::Strong => self.emphasis(range, 2),
            // A single tilde often means "about".
            Tag::Strikethrough if self.slice(range.clone()).starts_with("~~") => self.emphasis(range, 2),
            Tag::Link { link_type: LinkType::Autolink | LinkType::Email, .. } => {
                self.edits.delete(range.start..range.start + 1);
                self.edits.delete(range.end.saturating_sub(1)..range.end);
                self.links.push(OpenLink::without_address(range.start));
            }
            Tag::Link { link_type, dest_url, .. } => {
                self.links.push(OpenLink::at(range.start + 1, link_type, &dest_url))
            }
            Tag::Image { link_type, dest_url, .. } => {
                self.links.push(OpenLink::at(range.start + 2, link_type, &dest_url));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::BlockQuote(_) => self.quotes = self.quotes.saturating_sub(1),
            TagEnd::List(_) => {
                for at in self.lists.end(self.is_code) {
                    self.edits.replace(at..at + 1, "-");
                }
            }
            TagEnd::TableHead => {
                self.row(range.clone());
                self.rule_of_table(range.end);
            }
            TagEnd::TableRow => self.row(range),
            _ => {}
        }
    }

    /// A heading whose marks stand before it, and that something follows. Alone, `# 5 please` may
    /// mean a number.
    fn heading(&mut self, range: Range<usize>) {
        let line = self.slice(range.clone());
        let marks = heading_marks(line);
        let words = line.get(marks..).unwrap_or_default().trim_end();
        let is_followed = self.is_code || !self.slice(range.end..self.text.len()).trim().is_empty();
        if marks == 0 || words.is_empty() || !is_followed {
            return;
        }
        let at = range.start + marks;
        self.edits.delete(range.start..at);
        let without = words.trim_end_matches('#');
        let shorter = without.trim_end();
        if without.len() < words.len() && shorter.len() < without.len() && !shorter.is_empty() {
            self.edits.delete(at + shorter.len()..at + words.len());
        }
    }

    /// A block quote: its marks are followed by a blank and by words. `>:(` and `>>> sale` are
    /// none, and `> 5` may mean more than five.
    fn quote(&mut self, range: Range<usize>) {
        let quoted = self.slice(range.clone());
        let first = quoted.lines().next().unwrap_or_default();
        let (marks, words) = first.split_at_checked(quote_marks(first).1).unwrap_or_default();
        let has_words = words.contains(char::is_alphabetic) && !words.starts_with(|first: char| first.is_ascii_digit());
        if !marks.ends_with(' ') || marks.contains(">>") || !has_words {
            return;
        }
        let mut at = range.start;
        for line in quoted.split_inclusive('\n') {
            let (start, end) = quote_marks(line);
            self.edits.delete(at + start..at + end);
            at += line.len();
        }
    }

    /// A block of code between lines of backticks. Lines of tildes are an ornament as often.
    fn fence(&mut self, info: &CowStr<'_>, range: Range<usize>) {
        let block = self.slice(range.clone());
        if !block.starts_with("```") {
            return;
        }
        let opening = block.find('\n').map_or(block.len(), |at| at + 1);
        let is_fence = |line: &str| {
            let line = line.trim_start_matches([' ', '\t', '>']).trim_end();
            line.len() >= 3 && line.bytes().all(|byte| byte == b'`')
        };
        let last = block.rfind('\n').filter(|at| block.get(at + 1..).is_some_and(is_fence));
        let closing = last.map_or(block.len(), |at| at.max(opening));
        let is_markdown = matches!(info.to_ascii_lowercase().as_str(), "markdown" | "md");
        if !is_markdown && self.keeps_marks(block.get(opening..closing).unwrap_or_default()) {
            return;
        }
        let line = self.slice(0..range.start).rfind('\n').map_or(0, |at| at + 1);
        let is_blank = self.slice(line..range.start).trim().is_empty();
        self.edits.delete(if is_blank { line } else { range.start }..range.start + opening);
        self.edits.delete(range.start + closing..range.end);
    }

    /// Code within a line.
    fn code(&mut self, range: Range<usize>) {
        let marked = self.slice(range.clone());
        let marks = marked.bytes().take_while(|byte| *byte == b'`').count();
        let code = marked.get(marks..marked.len().saturating_sub(marks)).unwrap_or_default();
        if code.trim().is_empty() || self.keeps_marks(code) {
            return;
        }
        // One blank on each side belongs to the marks.
        let marks = marks + usize::from(code.starts_with(' ') && code.ends_with(' '));
        self.edits.delete(range.start..range.start + marks);
        self.edits.delete(range.end.saturating_sub(marks)..range.end);
    }

    /// Whether code keeps its marks, because without them it would be read as markdown.
    fn keeps_marks(&self, code: &str) -> bool {
        !self.is_code && !Walk::over(code, true).edits.is_empty()
    }

    /// Emphasis, by marks of this length at both ends: of words, and beside no letter or digit, so
    /// that `2*3*4` and `*_*` stay. Bold may end within a word (`**API**s`), and some scripts have
    /// no blanks between words.
    fn emphasis(&mut self, range: Range<usize>, marks: usize) {
        let (opening, closing) = (range.start..range.start + marks, range.end.saturating_sub(marks)..range.end);
        let is_word = |beside: char| beside.is_alphanumeric() && category(beside) != GeneralCategory::OtherLetter;
        let has_words = self
            .slice(opening.end..closing.start)
            .chars()
            .any(|inner| inner.is_alphanumeric() || (marks == 2 && !inner.is_ascii()));
        let begins = !self.slice(0..range.start).ends_with(is_word);
        let ends = marks == 2 || !self.slice(range.end..self.text.len()).starts_with(is_word);
        let is_of_address = self.is_in_address(&opening) || self.is_in_address(&closing);
        if has_words && begins && ends && !is_of_address {
            self.edits.delete(opening);
            self.edits.delete(closing);
        }
    }

    fn is_in_address(&self, range: &Range<usize>) -> bool {
        let addresses = self.addresses.get_or_init(|| links::addresses(self.text));
        let after = addresses.partition_point(|address| address.start <= range.start);
        after.checked_sub(1).and_then(|at| addresses.get(at)).is_some_and(|address| address.end > range.start)
    }

    fn end_link(&mut self, range: Range<usize>) {
        let Some(OpenLink { address: Some(address), inner, words }) = self.links.pop() else { return };
        if !self.slice(inner.end..range.end).trim_start().starts_with("](") {
            return;
        }
        let shown = ["mailto:", "tel:"].iter().find_map(|scheme| address.strip_prefix(scheme));
        let shown = shown.unwrap_or(&address);
        if self.slice(inner.clone()).trim().is_empty() || bare(words.trim()) == bare(shown) {
            self.edits.replace(range, shown.to_owned());
        } else {
            self.edits.delete(range.start..inner.start);
            self.edits.replace(inner.end..range.end, format!(" ({shown})"));
        }
    }

    fn trimmed(&self, cell: Range<usize>) -> Range<usize> {
        let text = self.slice(cell.clone());
        let start = cell.start + text.len() - text.trim_start().len();
        start..start + text.trim().len()
    }

    /// A row of a table: its cells with ` | ` between them.
    fn row(&mut self, range: Range<usize>) {
        let is_gap = |gap: &str| gap.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'|'));
        let mut at = range.start;
        let filled = self.cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        for (n, cell) in std::mem::take(&mut self.cells).into_iter().take(filled).enumerate() {
            let gap = at..cell.start.max(at);
            if is_gap(self.slice(gap.clone())) {
                match n {
                    0 => self.edits.delete(gap),
                    _ if gap.len() > 3 => self.edits.replace(gap, " | "),
                    _ => {}
                }
            }
            at = cell.end.max(at);
        }
        let end = range.start + self.slice(range).trim_end_matches(['\r', '\n']).len();
        if is_gap(self.slice(at..end)) {
            self.edits.delete(at..end);
        }
    }

    /// The line of hyphens below the head of a table, which ends at `head`.
    fn rule_of_table(&mut self, head: usize) {
        let rest = self.slice(head..self.text.len());
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let is_rule = line.bytes().all(|byte| matches!(byte, b'|' | b':' | b'-' | b'>' | b' ' | b'\t' | b'\r' | b'\n'));
        if is_rule && line.contains('-') {
            // At the end of the text the line end before it goes with it.
            let start =
                if line.ends_with('\n') { head } else { self.slice(0..head).trim_end_matches(['\r', '\n']).len() };
            self.edits.delete(start..head + line.len());
        }
    }
}

impl OpenLink {
    const fn without_address(at: usize) -> Self {
        Self { address: None, inner: at..at, words: String::new() }
    }

    /// Only an address that is written in the link, and looks like one, is told: `a[i](j)` is no
    /// link.
    fn at(at: usize, link_type: LinkType, address: &str) -> Self {
        let is_address = address.contains(['.', '/', ':', '#']) && !address.trim().is_empty();
        let address = (link_type == LinkType::Inline && is_address).then(|| address.to_owned());
        Self { address, ..Self::without_address(at) }
    }
}

impl OpenLists {
    /// An item of the innermost list. `asterisk`: where it begins, if that is its mark.
    fn item(&mut self, asterisk: Option<usize>) {
        if let Some(items) = self.items.last_mut() {
            *items += 1;
            self.is_list |= *items >= 2;
        }
        self.asterisks.extend(asterisk);
    }

    /// Ends the innermost list. Returns where asterisks mark items, when the outermost list ends.
    fn end(&mut self, is_code: bool) -> Vec<usize> {
        self.items.pop();
        if !self.items.is_empty() {
            return Vec::new();
        }
        let Self { asterisks, is_list, .. } = std::mem::take(self);
        if is_list || is_code { asterisks } else { Vec::new() }
    }
}

/// How many bytes the marks of a heading have at the beginning of a line, with the blanks around
/// them.
fn heading_marks(line: &str) -> usize {
    let mut rest = line;
    loop {
        let after = rest.trim_start_matches([' ', '\t']);
        let words = after.trim_start_matches('#');
        let is_mark = (1..=6).contains(&(after.len() - words.len())) && words.starts_with([' ', '\t']);
        if !is_mark {
            break if rest.len() == line.len() { 0 } else { line.len() - after.len() };
        }
        rest = words;
    }
}

/// Where the marks of a block quote begin and end in a line, with one blank after them. An empty
/// range if there are none.
fn quote_marks(line: &str) -> (usize, usize) {
    let start = line.len() - line.trim_start_matches([' ', '\t']).len();
    let rest = line.get(start..).unwrap_or_default();
    let marks = rest.trim_start_matches(['>', ' ', '\t']);
    let run = rest.get(..rest.len() - marks.len()).unwrap_or_default();
    match run.rfind('>') {
        Some(last) => {
            (start, start + last + 1 + usize::from(run.get(last + 1..).is_some_and(|after| after.starts_with(' '))))
        }
        None => (start, start),
    }
}

/// An address without what people leave out when they tell it.
fn bare(address: &str) -> String {
    let address = address.to_ascii_lowercase();
    let address = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")).unwrap_or(&address);
    address.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests;
