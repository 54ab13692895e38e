//! What is taken out of the texts of an agent before they become messages: what a language model
//! thought, the marks of markdown, and links and phone numbers that nobody gave it. The channel
//! does the rest: typographic characters, the limits of length, and where a text is cut.
//!
//! docs/decisions/046-reply-filter.md has the reasons.

mod edits;
mod links;
mod markdown;
mod phone_numbers;
mod removal;
pub mod think;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use url::Host;

use super::words::words;
use links::{Link, Target};
use phone_numbers::PhoneNumber;

words! {
    /// What becomes of markdown in the texts of an agent. Without it, `keep`.
    pub enum Markdown {
        /// It becomes plain text: without the marks of headings, emphasis and code, and with the
        /// address of a link behind its words.
        Plain = "plain",
        /// It stays as it is.
        Keep = "keep",
    }
}

words! {
    /// Which links and phone numbers the texts of an agent may have. Without it, `any`.
    pub enum Links {
        /// All.
        Any = "any",
        /// Only those to a host of `allowed_link_hosts`, those of `allowed_phone_numbers`, and
        /// those that were in the session before. Others are removed.
        Listed = "listed",
    }
}

/// The settings of the filter in a version of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSettings {
    /// What becomes of markdown.
    pub markdown: Markdown,
    /// Which links and phone numbers stay.
    pub links: Links,
    /// Hosts whose links stay, and those of their subdomains: see [`allowed_host`].
    pub allowed_link_hosts: Vec<String>,
    /// Phone numbers that stay, in E.164 or a short code.
    pub allowed_phone_numbers: Vec<String>,
}

/// How often a text is filtered: until nothing changes, but no text may take a worker for long. A
/// second time is needed where what is taken out leaves a mark between two halves.
const MOST_ROUNDS: usize = 16;
/// The same for a text of more bytes than a turn can send.
const MOST_ROUNDS_OF_LONG: usize = 2;
const LONG_BYTES: usize = 100_000;

/// Filters the texts of an agent in one turn.
#[derive(Debug, Clone)]
pub struct ReplyFilter {
    markdown: Markdown,
    /// `None`: all links and phone numbers stay.
    known: Option<Known>,
}

/// A text without what is not for its contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// The text. It may be blank.
    pub text: String,
    /// What was removed of it.
    pub removed: Removed,
}

/// How much was removed because it is not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub links: usize,
    pub phone_numbers: usize,
}

impl Removed {
    /// Whether nothing was removed.
    pub const fn is_nothing(self) -> bool {
        self.links == 0 && self.phone_numbers == 0
    }
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.links += other.links;
        self.phone_numbers += other.phone_numbers;
    }
}

impl ReplyFilter {
    /// A filter that allows no link and no phone number but those of the settings, unless they
    /// allow any.
    pub fn new(settings: &FilterSettings) -> Self {
        let known = match settings.links {
            Links::Any => None,
            Links::Listed => Some(Known::listed(settings)),
        };
        Self { markdown: settings.markdown, known }
    }

    /// Allows the links and the phone numbers of a text that the agent got, such as a message of
    /// the contact or the result of a tool.
    pub fn saw(&mut self, text: &str) {
        if let Some(known) = &mut self.known {
            known.add(text);
        }
    }

    /// The text as its contact gets it. Filtered again, it stays the same.
    pub fn apply(&self, text: &str) -> Filtered {
        let mut filtered = Filtered { text: text.to_owned(), removed: Removed::default() };
        let most = if text.len() > LONG_BYTES { MOST_ROUNDS_OF_LONG } else { MOST_ROUNDS };
        for _ in 0..most {
            let Some((text, removed)) = self.round(&filtered.text) else { break };
            filtered.text = text;
            filtered.removed += removed;
        }
        filtered
    }

    /// The text after one round. `None`: it stays as it is.
    fn round(&self, text: &str) -> Option<(String, Removed)> {
        let spoken = think::cut(text);
        let plain = match self.markdown {
            Markdown::Plain => markdown::flatten(&spoken),
            Markdown::Keep => Cow::Borrowed(&*spoken),
        };
        let (allowed, removed) = match &self.known {
            Some(known) => known.filter(&plain),
            None => (Cow::Borrowed(&*plain), Removed::default()),
        };
        (allowed != text).then(|| (allowed.into_owned(), removed))
    }
}

/// The links and the phone numbers that stay.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Hosts whose links all stay, with those of their subdomains.
    hosts: Vec<String>,
    seen_hosts: HashSet<String>,
    seen_links: HashSet<Target>,
    /// The digits of phone numbers, by the last of them.
    numbers: HashMap<String, Vec<String>>,
}

impl Known {
    fn listed(settings: &FilterSettings) -> Self {
        let mut known = Self { hosts: settings.allowed_link_hosts.clone(), ..Self::default() };
        settings.allowed_phone_numbers.iter().for_each(|number| known.add_number(number.trim_start_matches('+')));
        known
    }

    fn add(&mut self, text: &str) {
        let links = links::links(text);
        let ranges: Vec<Range<usize>> = links.iter().map(|link| link.range.clone()).collect();
        for PhoneNumber { digits, .. } in phone_numbers::phone_numbers(text, &ranges) {
            self.add_number(&digits);
        }
        for target in links.into_iter().filter_map(|link| link.target) {
            self.seen_hosts.insert(target.host.clone());
            self.seen_links.insert(target);
        }
    }

    fn add_number(&mut self, digits: &str) {
        let known = self.numbers.entry(last_digits(digits)).or_default();
        if !known.iter().any(|number| number == digits) {
            known.push(digits.to_owned());
        }
    }

    /// The text without what is not known. A link that was seen stays with its path, and so does
    /// the bare name of its host: another path may lead to somebody else.
    fn filter<'a>(&self, text: &'a str) -> (Cow<'a, str>, Removed) {
        let links = links::links(text);
        let ranges: Vec<Range<usize>> = links.iter().map(|link| link.range.clone()).collect();
        let numbers = phone_numbers::phone_numbers(text, &ranges);
        let links: Vec<Range<usize>> =
            links.into_iter().filter(|link| !self.allows_link(link)).map(|link| link.range).collect();
        let numbers: Vec<Range<usize>> = numbers
            .into_iter()
            .filter(|number| !self.allows_number(&number.digits))
            .map(|number| number.range)
            .collect();
        let removed = Removed { links: links.len(), phone_numbers: numbers.len() };
        if removed.is_nothing() {
            return (Cow::Borrowed(text), removed);
        }
        let mut parts = links;
        parts.extend(numbers);
        parts.sort_by_key(|part| part.start);
        (Cow::Owned(removal::without(text, &parts)), removed)
    }

    fn allows_link(&self, link: &Link) -> bool {
        let Some(target) = &link.target else { return false };
        let is_listed = |listed: &String| {
            target.host.strip_suffix(listed.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.seen_links.contains(target)
            || (target.rest.is_empty() && self.seen_hosts.contains(&target.host))
            || self.hosts.iter().any(is_listed)
    }

    fn allows_number(&self, digits: &str) -> bool {
        let known = self.numbers.get(&last_digits(digits)).into_iter().flatten();
        known.into_iter().any(|known| phone_numbers::is_same(digits, known))
    }
}

/// The last digits of a phone number, which are the same with its country and without.
fn last_digits(digits: &str) -> String {
    digits.get(digits.len().saturating_sub(7)..).unwrap_or_default().to_owned()
}

/// Where the link of a text begins that goes on at a position.
pub fn link_around(text: &str, at: usize) -> Option<usize> {
    links::addresses(text).into_iter().find(|link| link.start < at && at < link.end).map(|link| link.start)
}

/// A host of `allowed_link_hosts` in the form in which links are compared: in small letters,
/// without `www.`, and other letters than those of ASCII as DNS has them. `None`: it is no host
/// name, such as an address with a path, a pattern or an IP address.
pub fn allowed_host(given: &str) -> Option<String> {
    let is_name = |character: char| character.is_alphanumeric() || matches!(character, '.' | '-' | '_');
    if !given.chars().all(is_name) || !given.contains('.') {
        return None;
    }
    let Host::Domain(name) = Host::parse(given).ok()? else { return None };
    let name = name.to_lowercase();
    let name = name.strip_prefix("www.").unwrap_or(&name);
    let is_name = name.contains('.') && name.len() <= 253 && !name.split('.').any(str::is_empty);
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
