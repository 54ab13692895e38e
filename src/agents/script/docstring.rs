//! Reads the docstring of a tool: its first paragraph tells what the function does, and its section
//! `Args:` what each parameter means.

/// The headings of the section about parameters.
const HEADINGS: [&str; 2] = ["Args:", "Arguments:"];

/// What a docstring tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Docstring {
    /// The first paragraph as one line; empty if there is none.
    pub(super) description: String,
    /// The names of parameters with their descriptions, each as one line, in the order of the
    /// section.
    pub(super) parameters: Vec<(String, String)>,
}

impl Docstring {
    pub(super) fn of(text: &str) -> Self {
        let is_blank = |line: &&str| line.trim().is_empty();
        let is_heading = |line: &str| HEADINGS.contains(&line.trim());
        let mut paragraph = text.lines().skip_while(is_blank).take_while(|line| !is_blank(line) && !is_heading(line));
        let mut description = String::new();
        paragraph.by_ref().for_each(|line| append(&mut description, line));
        let mut lines = text.lines().skip_while(|line| !is_heading(line));
        let heading = lines.next().map(indent).unwrap_or_default();
        let section = lines.take_while(|line| is_blank(line) || indent(line) > heading);
        Self { description, parameters: entries(section.filter(|line| !is_blank(line))) }
    }

    /// What is told of a parameter, if anything is.
    pub(super) fn of_parameter(&self, name: &str) -> Option<&str> {
        let told = self.parameters.iter().find(|(parameter, _)| parameter == name).map(|(_, text)| text.as_str());
        told.filter(|text| !text.is_empty())
    }
}

/// The entries of a section. A line that is indented more than the first one continues an entry.
fn entries<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut level = None;
    for line in lines {
        let level = *level.get_or_insert(indent(line));
        match entry(line).filter(|_| indent(line) <= level) {
            Some((name, text)) => entries.push((name.to_owned(), text.trim().to_owned())),
            None => {
                if let Some((_, text)) = entries.last_mut() {
                    append(text, line);
                }
            }
        }
    }
    entries
}

/// The name and the text of a line such as `day: the day` or `day (str): the day`.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (head, text) = line.split_once(':')?;
    let (name, written_type) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
    let name = name.trim_start_matches('*');
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let is_type = written_type.is_empty() || (written_type.starts_with('(') && written_type.ends_with(')'));
    (is_name && is_type).then_some((name, text))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Adds a line to a text that has one line.
fn append(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(line.trim());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_paragraph_and_the_parameters_are_read() {
        for (text, description, parameters) in [
            ("Books a table.", "Books a table.", vec![]),
            ("\n    Books a\n    table.\n\n    More about it.\n", "Books a table.", vec![]),
            ("Books.\r\n\r\n    Args:\r\n        day: the day\r\n", "Books.", vec![("day", "the day")]),
            ("Books.\n    Args:\n        day: the day", "Books.", vec![("day", "the day")]),
            (
                "Books.\n\n    Arguments:\n        day (str): the day,\n            as 2026-01-31\n\n        n: a: b\n    Returns:\n        x: no",
                "Books.",
                vec![("day", "the day, as 2026-01-31"), ("n", "a: b")],
            ),
            (
                "Books.\n\n    Args:\n        day: the day\n        such as Monday\n        *rest: the rest",
                "Books.",
                vec![("day", "the day such as Monday"), ("rest", "the rest")],
            ),
            ("Books.\n\n    Args:\n    day: not in the section", "Books.", vec![]),
            ("Books.\n\n    Args:\n        no entry\n        see https://example.com", "Books.", vec![]),
            ("Args:\n        day: the day", "", vec![("day", "the day")]),
            ("", "", vec![]),
            (" \n\t\n", "", vec![]),
        ] {
            let parameters = parameters.into_iter().map(|(name, what)| (name.to_owned(), what.to_owned())).collect();
            assert_eq!(Docstring::of(text), Docstring { description: description.to_owned(), parameters }, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_docstring_is_read_into_single_lines(text in "([ \t]{0,4}(Args:|[a-z*]{0,3}[: (]{0,2}\\PC{0,6})\r?\n){0,8}") {
            let docstring = Docstring::of(&text);
            prop_assert!(!docstring.description.contains('\n'));
            for (name, description) in docstring.parameters {
                prop_assert!(!name.is_empty() && !description.contains('\n'), "{name:?} {description:?}");
                prop_assert!(text.contains(&name));
            }
        }
    }
}
