//! Tests the documents: their links, what they list, and their words.

mod catalogues;
mod states;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::tidy::files;
use crate::words;

/// A file of the project, by its path from the root.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All documents, by their paths.
fn pages() -> Vec<(String, String)> {
    let mut all = files("docs", "md");
    all.extend(["README.md", "ARCHITECTURE.md"].map(|path| (path.to_owned(), read(path))));
    all
}

/// The lines of a page outside its blocks of code, with the numbers of the lines.
fn lines_outside_blocks(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    page.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    })
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The targets of the links and pictures of a page.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, line) in lines_outside_blocks(page) {
        let line = without_code(line);
        for rest in line.split("](").skip(1) {
            found.push(rest.split(')').next().expect("a link").to_owned());
        }
    }
    found
}

/// The anchors of a page's headings, as Git hosts and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in lines_outside_blocks(page).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let letters = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        let anchor: String = letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let times = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

/// A path without its `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn each_link_leads_to_a_file_and_an_anchor_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut faults, mut checked) = (Vec::new(), 0);
    for (path, page) in pages() {
        for link in links(&page).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            checked += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => PathBuf::from(&path),
                file => normal(&Path::new(&path).parent().expect("a folder").join(file)),
            };
            if !root.join(&target).exists() {
                faults.push(format!("{path} links to {link}, which is not there"));
            } else if !anchor.is_empty() && !anchors(&read(&target.display().to_string())).contains(anchor) {
                faults.push(format!("{path} links to {link}, which has no such heading"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(checked > 150, "{checked}");
}

#[test]
fn each_document_that_the_code_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = [("src", "rs"), ("tests", "rs"), ("sql", "sql"), ("migrations", "sql"), ("deploy", "yaml")];
    let mut named = 0;
    for (path, text) in sources.into_iter().flat_map(|(folder, ending)| files(folder, ending)) {
        for (at, _) in text.match_indices("docs/") {
            let before = text[..at].chars().next_back().unwrap_or(' ');
            // Other sites have documents too.
            if matches!(before, '/' | '-') || before.is_alphanumeric() {
                continue;
            }
            let is_of_path = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '.' | '-' | '_');
            let name: String = text[at..].chars().take_while(is_of_path).collect();
            let name = name.trim_end_matches(['.', '/']);
            if name.len() > "docs/".len() {
                let is_number = name.rsplit('/').next().is_some_and(|last| last.len() == 3);
                let is_there = root.join(name).exists()
                    || (is_number && files("docs", "md").iter().any(|(page, _)| page.starts_with(name)));
                assert!(is_there, "{path} names {name}, which is not there");
                named += 1;
            }
        }
    }
    assert!(named > 40, "{named}");
}

#[test]
fn the_readme_and_the_architecture_are_short() {
    for (path, most) in [("README.md", 150), ("ARCHITECTURE.md", 100)] {
        let lines = read(path).lines().count();
        assert!(lines <= most, "{path} has {lines} lines; at most {most} are allowed, so move something to docs/");
    }
}

#[test]
fn the_summary_of_the_book_lists_each_page_once() {
    let listed = links(&read("docs/SUMMARY.md"));
    let mut of_docs: BTreeSet<String> = files("docs", "md").into_iter().map(|(path, _)| path).collect();
    of_docs.remove("docs/SUMMARY.md");
    for link in &listed {
        let path = normal(&Path::new("docs").join(link)).display().to_string();
        assert!(
            of_docs.remove(&path) || path == "ARCHITECTURE.md",
            "docs/SUMMARY.md lists {link} twice, or it is not there"
        );
    }
    assert!(of_docs.is_empty(), "docs/SUMMARY.md does not list {of_docs:?}");
}

#[test]
fn each_decision_has_its_parts_and_a_number_of_its_own() {
    let mut numbers = BTreeSet::new();
    for (path, page) in files("docs/decisions", "md").into_iter().filter(|(path, _)| !path.ends_with("/README.md")) {
        let name = path.rsplit('/').next().expect("a name");
        let number = &name[..3];
        assert!(number.parse::<u16>().is_ok() && numbers.insert(number.to_owned()), "{path} has no number of its own");
        assert!(page.starts_with(&format!("# {number}: ")), "{path} does not begin with its number");
        // The first record describes dependencies and not a decision.
        for part in ["## Context", "## Decision", "## Consequences"].iter().filter(|_| number != "001") {
            assert!(page.contains(&format!("\n{part}\n")), "{path} lacks {part}");
        }
    }
    assert!(numbers.len() >= 42, "{numbers:?}");
}

/// Phrases with a retired word that have no other meaning here.
const PHRASES: [&str; 1] = ["by hand"];

#[test]
fn no_prose_has_a_retired_word() {
    let retired = words::retired();
    let mut faults = Vec::new();
    for (path, page) in pages().into_iter().filter(|(path, _)| path != "docs/glossary.md") {
        for (number, line) in lines_outside_blocks(&page) {
            let line = PHRASES.iter().fold(without_code(line).to_lowercase(), |line, phrase| line.replace(phrase, ""));
            let words: Vec<&str> =
                line.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
            let spread = format!("_{}_", words.join("_"));
            let found = retired.iter().filter(|(word, _)| spread.contains(&format!("_{word}_")));
            faults.extend(found.map(|(word, instead)| format!("{path}:{}: {word:?}; write {instead}", number + 1)));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn each_file_that_a_checklist_names_is_there() {
    let page = read("docs/contributing.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for kind in ["SQL statement", "operation", "table", "kind of job", "channel", "carrier", "kind of agent"] {
        assert!(
            page.contains(&format!("\n## Add a {kind}")) || page.contains(&format!("\n## Add an {kind}")),
            "{kind}"
        );
    }
    let named = page.split('`').skip(1).step_by(2);
    let paths: Vec<&str> =
        named.filter(|name| name.contains('/') && !name.contains(['<', ' ']) && !name.starts_with("target/")).collect();
    for path in &paths {
        assert!(root.join(path).exists(), "docs/contributing.md names {path}, which is not there");
    }
    assert!(paths.len() > 40, "{paths:?}");
}

#[test]
fn links_and_anchors_are_found() {
    let page = "# A `b`: c, d\n\n[x](y.md#z) and [`code`](w.md)\n\n```sh\n[not](this.md)\n```\n\n`[nor](that.md)`\n\n## A b c\n## A b c\n";
    assert_eq!(links(page), ["y.md#z", "w.md"]);
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), ["a-b-c", "a-b-c-1", "a-b-c-d"]);
}
