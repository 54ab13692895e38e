//! Splits Rust and SQL source into tokens, so that tests about names and lengths ignore comments
//! and texts.

/// A token with the number of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A name or a keyword.
    Name(String),
    /// The contents of a string, without its quotes.
    Text(String),
    /// Any other character.
    Mark(char),
}

/// Reads source character by character.
struct Reader {
    letters: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

/// The tokens of Rust source.
pub fn rust(source: &str) -> Vec<Token> {
    let mut reader = Reader::new(source);
    while let Some(letter) = reader.peek(0) {
        match letter {
            '/' if reader.peek(1) == Some('/') => reader.pass_line(),
            '/' if reader.peek(1) == Some('*') => reader.pass_comment(),
            '"' => reader.text('"', true),
            'r' | 'b' | 'c' if reader.raw_string() => {}
            '\'' => reader.character_or_lifetime(),
            _ if letter.is_alphabetic() || letter == '_' => reader.name(),
            _ => reader.mark(),
        }
    }
    reader.tokens
}

/// The tokens of SQL. The body of a function between dollar quotes is code too.
pub fn sql(source: &str) -> Vec<Token> {
    let mut reader = Reader::new(source);
    while let Some(letter) = reader.peek(0) {
        match letter {
            '-' if reader.peek(1) == Some('-') => reader.pass_line(),
            '/' if reader.peek(1) == Some('*') => reader.pass_comment(),
            '\'' => reader.text('\'', false),
            _ if letter.is_alphabetic() || letter == '_' => reader.name(),
            _ => reader.mark(),
        }
    }
    reader.tokens
}

impl Reader {
    fn new(source: &str) -> Self {
        Self { letters: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn pass_line(&mut self) {
        while self.peek(0).is_some_and(|letter| letter != '\n') {
            self.next();
        }
    }

    /// Block comments nest in Rust and in PostgreSQL.
    fn pass_comment(&mut self) {
        let mut depth = 0;
        while let Some(letter) = self.next() {
            match (letter, self.peek(0)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.next();
            if depth == 0 {
                return;
            }
        }
    }

    fn mark(&mut self) {
        let line = self.line;
        match self.next() {
            Some(letter) if !letter.is_whitespace() => self.tokens.push(Token { kind: Kind::Mark(letter), line }),
            _ => {}
        }
    }

    fn name(&mut self) {
        let line = self.line;
        let mut name = String::new();
        while let Some(letter) = self.peek(0).filter(|letter| letter.is_alphanumeric() || *letter == '_') {
            name.push(letter);
            self.next();
        }
        self.tokens.push(Token { kind: Kind::Name(name), line });
    }

    fn text(&mut self, quote: char, has_escapes: bool) {
        let line = self.line;
        let mut text = String::new();
        self.next();
        while let Some(letter) = self.next() {
            match letter {
                '\\' if has_escapes => {
                    self.next();
                }
                _ if letter == quote => break,
                _ => text.push(letter),
            }
        }
        self.tokens.push(Token { kind: Kind::Text(text), line });
    }

    /// A string with a prefix such as `r#` or `b`, if the next characters begin one.
    fn raw_string(&mut self) -> bool {
        let mut ahead = 0;
        while self.peek(ahead).is_some_and(|letter| matches!(letter, 'r' | 'b' | 'c')) && ahead < 2 {
            ahead += 1;
        }
        let is_raw = (0..ahead).any(|n| self.peek(n) == Some('r'));
        let hashes = (0..).take_while(|n| self.peek(ahead + n) == Some('#')).count();
        if self.peek(ahead + hashes) != Some('"') || (hashes > 0 && !is_raw) {
            return false;
        }
        if !is_raw {
            self.at += ahead;
            self.text('"', true);
            return true;
        }
        let line = self.line;
        self.at += ahead + hashes + 1;
        let mut text = String::new();
        while let Some(letter) = self.next() {
            if letter == '"' && (0..hashes).all(|n| self.peek(n) == Some('#')) {
                self.at += hashes;
                break;
            }
            text.push(letter);
        }
        self.tokens.push(Token { kind: Kind::Text(text), line });
        true
    }

    fn character_or_lifetime(&mut self) {
        let is_character = self.peek(1) == Some('\\') || self.peek(2) == Some('\'');
        self.next();
        if !is_character {
            return;
        }
        if self.next() == Some('\\') {
            self.next();
        }
        while self.next().is_some_and(|letter| letter != '\'') {}
    }
}

/// A function of Rust source, with the lines from `fn` to the closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// The functions of Rust source that have a body. Functions within functions are listed too.
pub fn functions(source: &str) -> Vec<Function> {
    let tokens = rust(source);
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [Token { kind: Kind::Name(keyword), line }, Token { kind: Kind::Name(name), .. }] = pair else { continue };
        if keyword != "fn" {
            continue;
        }
        if let Some(end) = end_of_body(&tokens[at..]) {
            found.push(Function { name: name.clone(), line: *line, lines: end - line + 1 });
        }
    }
    found
}

/// The line of the brace that closes the first body, unless a semicolon ends the declaration before
/// it.
fn end_of_body(tokens: &[Token]) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for token in tokens {
        match token.kind {
            Kind::Mark('(' | '[') if braces == 0 => brackets += 1,
            Kind::Mark(')' | ']') if braces == 0 => brackets = brackets.saturating_sub(1),
            Kind::Mark(';') if braces == 0 && brackets == 0 => return None,
            Kind::Mark('{') => braces += 1,
            Kind::Mark('}') => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn comments_and_texts_are_no_names() {
    let names = |tokens: Vec<Token>| -> Vec<String> {
        let name = |token: Token| if let Kind::Name(name) = token.kind { Some(name) } else { None };
        tokens.into_iter().filter_map(name).collect()
    };
    let source = r###"a /* b /* c */ */ 'd' '\'' '\u{e9}' "e \" f" r#"g " h"# b"i" br##"j"## 'k: l // m"###;
    assert_eq!(names(rust(source)), ["a", "k", "l"]);
    assert_eq!(
        names(sql("select a -- b\n 'c' || $$ begin d := 'it''s'; end $$ /* e */")),
        ["select", "a", "begin", "d", "end"]
    );
    assert!(rust(source).iter().any(|token| token.kind == Kind::Text("g \" h".to_owned())));
}

#[test]
fn a_function_is_counted_from_its_name_to_its_last_brace() {
    let source = "trait A { fn a(&self); }\nfn b(x: [u8; 2]) {\n    let y = '{';\n    // }\n    fn c() {\n    }\n    \"}\";\n}\n";
    let found: Vec<_> = functions(source).into_iter().map(|one| (one.name, one.line, one.lines)).collect();
    assert_eq!(found, [("b".to_owned(), 2, 7), ("c".to_owned(), 5, 2)]);
}
