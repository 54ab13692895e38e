//! Finds the links of a text, as phones do, and says where each leads.

use std::borrow::Cow;
use std::ops::Range;

use icu_properties::props::GeneralCategory;
use url::Url;

use crate::domain::characters::{category, is_invisible};
use crate::domain::web_address::is_called_as_written;

/// The endings of host names that phones make a link of without a scheme, `www.` or a path. Those
/// of most countries are left out, because `Done.in` and `ask.me` are words.
const ENDINGS: [&str; 20] = [
    "com", "net", "org", "info", "biz", "edu", "gov", "io", "ai", "app", "dev", "co", "xyz", "online", "site", "shop",
    "store", "link", "click", "top",
];

/// A longer word before `://` is no scheme, and a longer name is none of a host (RFC 1035, 2.3.4).
const MOST_BYTES_OF_SCHEME: usize = 32;
const MOST_BYTES_OF_HOST: usize = 253;

/// Characters that are no part of an address, besides white space.
const ENDS_ADDRESS: &str = "<>\"`“”„«»‹›…。，、；：！？（）「」『』【】《》";

/// What follows an address and is no part of it.
const AFTER_ADDRESS: [char; 19] =
    ['.', ',', ';', ':', '!', '?', '\'', '’', '‘', '*', '_', '~', '(', '[', '{', '|', '^', '\\', '$'];

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// The host, in small letters and without `www.`.
    pub(super) host: String,
    /// The port, the path and what follows, without a slash at the end.
    pub(super) rest: String,
}

/// A link of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) range: Range<usize>,
    /// `None`: programs do not agree where it leads, or it leads nowhere.
    pub(super) target: Option<Target>,
}

/// The links of a text, in order.
pub(super) fn links(text: &str) -> Vec<Link> {
    let link = |range: Range<usize>| {
        let target = target(text.get(range.clone()).unwrap_or_default());
        Link { range, target }
    };
    addresses(text).into_iter().map(link).collect()
}

/// Where the links of a text are: addresses with a scheme, host names that begin with `www.`, and
/// host names with a path or with one of the [`ENDINGS`].
pub(super) fn addresses(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for piece in text.split_inclusive(ends_address) {
        // What ends a piece is its last character.
        let chunk = piece.trim_end_matches(ends_address);
        if chunk.contains(['.', ':']) {
            found.extend(addresses_in(chunk).into_iter().map(|range| at + range.start..at + range.end));
        }
        at += piece.len();
    }
    found
}

/// Whether a character is never part of an address.
fn ends_address(character: char) -> bool {
    is_invisible(character) || ENDS_ADDRESS.contains(character)
}

/// The addresses in a piece of text without blanks.
fn addresses_in(chunk: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut before, mut run) = (None, NameRun::default());
    for (at, character) in chunk.char_indices() {
        if at >= run.stop {
            run = NameRun::at(chunk, at);
        }
        let begins = before.is_none_or(|before| may_begin_between(before, character));
        before = Some(character);
        if !begins || found.last().is_some_and(|last| at < last.end) {
            continue;
        }
        let rest = chunk.get(at..).unwrap_or_default();
        let name = chunk.get(at..run.end).filter(|_| run.ends_like_a_host).unwrap_or_default();
        if let Some(length) = length_with_scheme(rest).or_else(|| length_with_name(rest, name)) {
            found.push(at..at + length);
        }
    }
    found
}

/// Characters of host names without others between. All names that begin in it end where it ends.
#[derive(Default)]
struct NameRun {
    /// Where it ends, without the punctuation behind it.
    end: usize,
    /// Where other characters begin.
    stop: usize,
    ends_like_a_host: bool,
}

impl NameRun {
    fn at(chunk: &str, at: usize) -> Self {
        let is_of_name = |character: char| character.is_alphanumeric() || matches!(character, '.' | '-' | '_');
        let run = chunk.get(at..).unwrap_or_default();
        let run = run.get(..run.len() - run.trim_start_matches(is_of_name).len()).unwrap_or_default();
        let name = run.trim_end_matches(['.', '-', '_']);
        let ending = name.rsplit('.').next().unwrap_or_default();
        let is_word = ending.chars().count() >= 2 && ending.chars().all(char::is_alphabetic);
        Self { end: at + name.len(), stop: at + run.len(), ends_like_a_host: is_word || ending.starts_with("xn--") }
    }
}

/// Whether an address may begin between two characters. Behind an `@` stands the host of an e-mail
/// address. Words of a script without blanks may stand right before an address.
fn may_begin_between(before: char, first: char) -> bool {
    first.is_alphanumeric() && before != '@' && (!before.is_alphanumeric() || (!before.is_ascii() && first.is_ascii()))
}

/// The length of the address with a scheme that a text begins with.
fn length_with_scheme(text: &str) -> Option<usize> {
    let scheme = scheme(text)?;
    Some(whole_address(text)).filter(|length| *length > scheme)
}

/// The length of the address without a scheme that a text begins with. `name`: what may be its host
/// name.
fn length_with_name(text: &str, name: &str) -> Option<usize> {
    if !is_host_name(name) {
        return None;
    }
    let rest = text.get(name.len()..)?;
    let has_port = rest.strip_prefix(':').is_some_and(|port| port.starts_with(|first: char| first.is_ascii_digit()));
    if has_port || rest.starts_with(['/', '?', '#']) {
        return Some(whole_address(text));
    }
    let ending = name.rsplit('.').next()?;
    let is_www = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")) && name.matches('.').count() > 1;
    let is_known = ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    // Before an `@` stands the name of a mailbox.
    ((is_known || is_www) && !rest.starts_with('@')).then_some(name.len())
}

/// The length of the scheme that a text begins with, and of `://`.
fn scheme(text: &str) -> Option<usize> {
    let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-".contains(byte);
    let length = text.bytes().take(MOST_BYTES_OF_SCHEME).take_while(is_of_scheme).count();
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
    (begins && text.get(length..)?.starts_with("://")).then_some(length + 3)
}

/// Whether characters of a host name are one, of two labels at least.
fn is_host_name(name: &str) -> bool {
    // In a script without blanks, the words before a name would be taken for a part of it.
    let is_mixed = |label: &str| {
        label.contains(|letter: char| letter.is_ascii_alphanumeric())
            && label.contains(|letter| category(letter) == GeneralCategory::OtherLetter)
    };
    name.len() <= MOST_BYTES_OF_HOST
        && name.contains('.')
        && !name.split('.').any(|label| label.is_empty() || is_mixed(label))
}

/// The length of an address that goes on to the end of a text, to a bracket that was opened before
/// it, or to the punctuation that ends its sentence.
fn whole_address(text: &str) -> usize {
    let mut open = Vec::new();
    let mut end = text.len();
    for (at, character) in text.char_indices() {
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(character) => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    text.get(..end).unwrap_or_default().trim_end_matches(AFTER_ADDRESS).len()
}

/// Where an address leads, by the rules of browsers.
pub(super) fn target(address: &str) -> Option<Target> {
    let called = match scheme(address) {
        Some(_) => Cow::Borrowed(address),
        None => Cow::Owned(format!("https://{address}")),
    };
    let url = Url::parse(&called).ok().filter(|_| is_called_as_written(&called))?;
    let host = url.host_str()?.to_lowercase();
    let mut rest = url.port().map_or_else(String::new, |port| format!(":{port}"));
    rest.push_str(url.path());
    for (mark, part) in [('?', url.query()), ('#', url.fragment())] {
        if let Some(part) = part {
            rest.push(mark);
            rest.push_str(part);
        }
    }
    rest.truncate(rest.trim_end_matches('/').len());
    Some(Target { host: host.strip_prefix("www.").unwrap_or(&host).to_owned(), rest })
}
