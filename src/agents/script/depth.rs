//! Refuses scripts whose expressions are nested so deep that the interpreter would run out of
//! stack.
//!
//! The interpreter recurses into every operator, call and bracket. In debug builds a level takes
//! over 5 kB of stack, and a stack overflow ends the process.

/// The most operators, names and brackets that one expression may chain or nest.
const MOST_LINKS: usize = 1_000;
/// The most `elif` branches of a script: each is nested in the one before.
const MOST_ELIFS: usize = 1_000;
/// The most blanks before a statement.
const MOST_INDENT: usize = 200;

/// The contents of one open bracket, or of the top level.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// Operators, names and brackets since the last comma between siblings.
    links: usize,
    /// Lambdas whose parameter lists are open. The commas of a parameter list come before the
    /// lambda's body.
    lambdas: usize,
    /// Whether a comprehension has begun. Each `for` is nested in the one before, and its targets
    /// contain commas.
    is_comprehension: bool,
}

/// Reads a script character by character.
struct Reader<'s> {
    rest: std::iter::Peekable<std::str::Chars<'s>>,
    line: usize,
    elifs: usize,
    /// The open brackets, the outermost first. The sum of their links is the depth.
    levels: Vec<Level>,
    /// The indentation of the current line, while the line has only blanks.
    indent: Option<usize>,
}

/// The line and the fault of the first expression that is nested too deep.
pub fn too_deep(source: &str) -> Option<(usize, String)> {
    let mut reader =
        Reader { rest: source.chars().peekable(), line: 1, elifs: 0, levels: vec![Level::default()], indent: Some(0) };
    while let Some(letter) = reader.rest.next() {
        reader.read(letter);
        let what = reader.fault();
        if what.is_some() {
            return what.map(|what| (reader.line, what));
        }
    }
    None
}

impl Reader<'_> {
    fn fault(&self) -> Option<String> {
        if self.indent.is_some_and(|blanks| blanks > MOST_INDENT) {
            return Some(format!("a statement is indented by over {MOST_INDENT} blanks"));
        }
        if self.levels.iter().map(|level| level.links).sum::<usize>() > MOST_LINKS {
            return Some(format!("an expression chains over {MOST_LINKS} names, operators and brackets"));
        }
        (self.elifs > MOST_ELIFS).then(|| format!("the script has over {MOST_ELIFS} elif branches"))
    }

    fn read(&mut self, letter: char) {
        if let Some(blanks) = self.indent.as_mut()
            && matches!(letter, ' ' | '\t')
        {
            *blanks += 1;
            return;
        }
        let at_start = self.indent.take().is_some();
        match letter {
            '\n' => self.end_line(),
            '#' => while self.rest.next_if(|next| *next != '\n').is_some() {},
            '"' | '\'' => self.pass_quoted(letter),
            '(' | '[' | '{' => {
                self.link();
                self.levels.push(Level::default());
            }
            ')' | ']' | '}' => {
                if self.levels.len() > 1 {
                    self.levels.pop();
                }
            }
            ',' | ';' => self.separate(),
            // The expression continues on the next line.
            '\\' => {
                self.rest.next_if_eq(&'\r');
                self.line += usize::from(self.rest.next_if_eq(&'\n').is_some());
            }
            ' ' | '\t' | '\r' => {}
            _ if letter.is_alphanumeric() || letter == '_' => self.read_word(letter, at_start),
            _ => {
                self.link();
                if letter == ':'
                    && let Some(level) = self.levels.last_mut()
                {
                    level.lambdas = level.lambdas.saturating_sub(1);
                }
            }
        }
    }

    fn end_line(&mut self) {
        self.line += 1;
        if self.levels.len() == 1 {
            self.levels = vec![Level::default()];
            self.indent = Some(0);
        }
    }

    /// An item after a comma between siblings is no deeper than the item before.
    fn separate(&mut self) {
        if let Some(level) = self.levels.last_mut()
            && level.lambdas == 0
            && !level.is_comprehension
        {
            level.links = 0;
        }
    }

    fn read_word(&mut self, first: char, at_start: bool) {
        let mut word = String::from(first);
        while let Some(next) = self.rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
            word.push(next);
        }
        self.link();
        self.elifs += usize::from(at_start && word == "elif");
        let is_in_brackets = self.levels.len() > 1;
        if let Some(level) = self.levels.last_mut() {
            level.lambdas += usize::from(word == "lambda");
            level.is_comprehension |= is_in_brackets && word == "for";
        }
    }

    fn pass_quoted(&mut self, quote: char) {
        let mut quotes = 1;
        while quotes < 3 && self.rest.next_if_eq(&quote).is_some() {
            quotes += 1;
        }
        if quotes != 2 {
            self.line += pass_string(&mut self.rest, quote, quotes);
        }
        self.link();
    }

    fn link(&mut self) {
        if let Some(innermost) = self.levels.last_mut() {
            innermost.links += 1;
        }
    }
}

/// Skips to the end of a string and counts its lines.
fn pass_string(rest: &mut std::iter::Peekable<std::str::Chars>, quote: char, quotes: usize) -> usize {
    let (mut lines, mut closing) = (0, 0);
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => lines += usize::from(rest.next() == Some('\n')),
            '\n' if quotes == 1 => return lines + 1,
            '\n' => lines += 1,
            _ => {}
        }
        closing = if letter == quote { closing + 1 } else { 0 };
        if closing == quotes {
            break;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_script_is_not_deep() {
        let table = format!("x = [\n{}]\n", "    {\"a\": 1, \"b\": (2, 3)},\n".repeat(5_000));
        let text = format!("x = \"\"\"{}\"\"\"\ny = '{}'\n", "((((\n".repeat(1_000), "[".repeat(2_000));
        let lines = "if x:\n    y = 1 + 2\n".repeat(2_000);
        let lambdas = format!("x = [\n{}]\n", "    lambda a, b: a + b,\n    [a for a, b in c],\n".repeat(5_000));
        let continued = "x = 1 + \\\n    2\n".repeat(2_000);
        for source in [table, text, lines, lambdas, continued] {
            assert_eq!(too_deep(&source), None);
        }
    }

    #[test]
    fn a_deep_expression_is_reported_with_its_line() {
        for deep in
            ["(".repeat(2_000), "-".repeat(2_000), "not ".repeat(2_000), "f()".repeat(2_000), "1 + ".repeat(2_000)]
        {
            assert_eq!(too_deep(&format!("# one\nx = {deep}1")).map(|(line, _)| line), Some(2), "{}", &deep[..8]);
        }
        for (before, deep) in [
            ("", "- \\\n"),
            ("", "- \\\r\n"),
            ("", "lambda a, b: "),
            ("", "lambda a=1, *b, **c: "),
            ("[", "lambda a, b: "),
            ("[x for x in y ", "for a, b in c "),
            ("f(lambda a, b: ", "f(lambda a, b: "),
            ("{1: ", "lambda a, b: {1: "),
        ] {
            assert!(too_deep(&format!("x = {before}{}1", deep.repeat(100_000))).is_some(), "{deep}");
        }
        assert!(too_deep(&format!("if a:\n    b\n{}", "elif c:\n    d\n".repeat(2_000))).is_some());
    }
}
