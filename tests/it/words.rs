//! Refuses the retired words of `docs/glossary.md` in the names of code, tables, metrics and the
//! API.

use std::collections::BTreeSet;

use crate::source::{self, Kind, Token};
use crate::tidy::files;

/// What the third column of the glossary's table says about a retired word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Refused as a word of any identifier.
    Word,
    /// Refused as a whole identifier.
    Name,
    /// Refused as the name of a type.
    Type,
    /// Refused as the name of a function.
    Function,
}

#[derive(Debug)]
struct Retired {
    /// The words, in lower case; the exact name of a type.
    words: String,
    rule: Rule,
    instead: String,
}

/// The glossary's lists: the retired words, and the names that may contain one.
struct Glossary {
    retired: Vec<Retired>,
    allowed: BTreeSet<String>,
}

impl Glossary {
    fn read() -> Self {
        let (_, page) = files("docs", "md").into_iter().find(|(path, _)| path == "docs/glossary.md").expect("the page");
        let section = |heading: &str| -> Vec<Vec<String>> {
            let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the heading");
            let rows = section.split("\n## ").next().expect("a section").lines().filter(|line| line.starts_with("| `"));
            rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
        };
        let quoted = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let mut retired = Vec::new();
        for row in section("Retired words") {
            let [words, instead, rule] = row.as_slice() else { panic!("a row has three cells: {row:?}") };
            let rule = match rule.as_str() {
                "word" => Rule::Word,
                "name" => Rule::Name,
                "type" => Rule::Type,
                "function" => Rule::Function,
                _ => panic!("{rule} is not a rule"),
            };
            retired.extend(quoted(words).into_iter().map(|words| Retired { words, rule, instead: instead.clone() }));
        }
        let allowed = section("Names that may contain a retired word");
        let allowed = allowed.iter().flat_map(|row| quoted(&row[0])).collect();
        Self { retired, allowed }
    }

    /// The retired word in a name, if there is one and the name is not an exception.
    fn refuses(&self, name: &str, is_function: bool) -> Option<&Retired> {
        let spread = format!("_{}_", words_of(name).join("_"));
        let found = self.retired.iter().find(|retired| match retired.rule {
            Rule::Word => spread.contains(&format!("_{}_", retired.words)),
            Rule::Name => spread == format!("_{}_", retired.words),
            Rule::Type => name == retired.words,
            Rule::Function => is_function && name == retired.words,
        });
        found.filter(|_| !self.allowed.contains(name))
    }
}

/// The words of an identifier, split at underscores, at capitals and before digits.
fn words_of(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let ends_capitals = before.is_some_and(|before| before.is_uppercase())
            && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let begins = letter.is_uppercase() && (before.is_some_and(|before| !before.is_uppercase()) || ends_capitals);
        let is_number = letter.is_ascii_digit() && before.is_some_and(|before| !before.is_ascii_digit());
        if *letter == '_' || begins || is_number {
            words.push(String::new());
        }
        if *letter != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The names in a file, and whether each is the name of a function.
fn names_of(path: &str, text: &str) -> Vec<(String, bool)> {
    if path.ends_with(".yaml") {
        return names_of_document(text);
    }
    let tokens = if path.ends_with(".sql") { source::sql(text) } else { source::rust(text) };
    let is_fn = |at: usize| match at.checked_sub(1).and_then(|before| tokens.get(before)) {
        Some(Token { kind: Kind::Name(keyword), .. }) => keyword == "fn",
        _ => false,
    };
    let name = |(at, token): (usize, &Token)| match &token.kind {
        Kind::Name(name) => Some((name.clone(), is_fn(at))),
        // The names of metrics are texts.
        Kind::Text(text)
            if text.starts_with("textback_") && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') =>
        {
            Some((text.clone(), false))
        }
        Kind::Text(_) | Kind::Mark(_) => None,
    };
    let mut names: Vec<_> = tokens.iter().enumerate().filter_map(name).collect();
    // The name of a file is that of a module or a statement.
    let stem = path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or_default();
    names.push((stem.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '_').to_owned(), false));
    names
}

/// The keys of the OpenAPI document, the names of parameters and operations, and the words of
/// paths.
fn names_of_document(text: &str) -> Vec<(String, bool)> {
    let mut names = Vec::new();
    for line in text.lines().map(|line| line.trim_start().trim_start_matches("- ")) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let given = if matches!(key, "name" | "operationId") { value.trim() } else { key };
        let parts = given.split(['/', '{', '}', '-', '"']).filter(|part| !part.is_empty());
        names.extend(parts.filter(|part| !part.contains(' ')).map(|part| (part.to_owned(), false)));
    }
    names
}

/// The retired words that are refused as words of any identifier, with what replaces them. Several
/// words have `_` between them.
pub fn retired() -> Vec<(String, String)> {
    let retired = Glossary::read().retired.into_iter().filter(|retired| retired.rule == Rule::Word);
    retired.map(|retired| (retired.words, retired.instead)).collect()
}

fn all_files() -> Vec<(String, String)> {
    let folders =
        [("src", "rs"), ("tests", "rs"), ("benches", "rs"), ("migrations", "sql"), ("sql", "sql"), ("openapi", "yaml")];
    let mut all: Vec<_> = folders.into_iter().flat_map(|(folder, ending)| files(folder, ending)).collect();
    if std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crates").exists() {
        all.extend(files("crates", "rs"));
    }
    all
}

#[test]
fn no_name_has_a_retired_word() {
    let glossary = Glossary::read();
    let mut refused = BTreeSet::new();
    for (path, text) in all_files() {
        for (name, is_function) in names_of(&path, &text) {
            if let Some(retired) = glossary.refuses(&name, is_function) {
                refused.insert(format!("{path}: {name} has {:?}: {}", retired.words, retired.instead));
            }
        }
    }
    assert!(
        refused.is_empty(),
        "docs/glossary.md retires these words:\n{}",
        refused.into_iter().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn names_are_split_into_words() {
    for (name, words) in [
        ("take_in_together", &["take", "in", "together"][..]),
        ("TakenRow", &["taken", "row"]),
        ("MOST_KEPT", &["most", "kept"]),
        ("HTTPServer2", &["http", "server", "2"]),
        ("_x", &["x"]),
        ("webhookStatus", &["webhook", "status"]),
    ] {
        assert_eq!(words_of(name), words, "{name}");
    }
}

#[test]
fn each_rule_refuses_what_it_says() {
    let retired = |words: &str, rule| Retired { words: words.to_owned(), rule, instead: String::new() };
    let glossary = Glossary {
        retired: vec![
            retired("ledger", Rule::Word),
            retired("take_in", Rule::Word),
            retired("place", Rule::Name),
            retired("Said", Rule::Type),
            retired("word", Rule::Function),
        ],
        allowed: BTreeSet::from(["LedgerNano".to_owned()]),
    };
    for (name, is_function, is_refused) in [
        ("open_ledger", false, true),
        ("Ledger", false, true),
        ("ledgers", false, false),
        ("LedgerNano", false, false),
        ("take_in_together", true, true),
        ("take_inbound", true, false),
        ("place", false, true),
        ("marketplace", false, false),
        ("in_place", false, false),
        ("Said", false, true),
        ("said", false, false),
        ("word", true, true),
        ("word", false, false),
    ] {
        assert_eq!(glossary.refuses(name, is_function).is_some(), is_refused, "{name}");
    }
}
