//! Refuses scripts whose expressions lie so deep in each other that the interpreter would run out of stack; it does not parse them.
//!
//! The interpreter recurses into every operator, call and bracket, in debug builds with over
//! 5 kB a level, and a thread that runs out of stack takes the process with it.

/// Operators, names and brackets that one expression may chain or nest.
const MOST_LINKS: usize = 1_000;
/// Branches that one script may chain: each `elif` lies within the one before.
const MOST_ELIFS: usize = 1_000;
/// Blanks before a statement.
const MOST_INDENT: usize = 200;

/// What is too deep, with its line, or nothing.
pub fn too_deep(source: &str) -> Option<(usize, String)> {
    let mut line = 1;
    let mut elifs = 0;
    // The links of each bracket that is open, the outermost first: their sum is the depth.
    let mut links = vec![0_usize];
    let mut indent = Some(0_usize);
    let mut rest = source.chars().peekable();
    while let Some(letter) = rest.next() {
        let at_start = indent.is_some();
        if let Some(blanks) = indent.as_mut()
            && matches!(letter, ' ' | '\t')
        {
            *blanks += 1;
            if *blanks > MOST_INDENT {
                return Some((line, format!("a statement is indented by over {MOST_INDENT} blanks")));
            }
            continue;
        }
        indent = None;
        match letter {
            '\n' => {
                line += 1;
                if links.len() == 1 {
                    links = vec![0];
                    indent = Some(0);
                }
            }
            '#' => while rest.next_if(|next| *next != '\n').is_some() {},
            '"' | '\'' => {
                let mut quotes = 1;
                while quotes < 3 && rest.next_if_eq(&letter).is_some() {
                    quotes += 1;
                }
                if quotes != 2 {
                    line += skip_string(&mut rest, letter, quotes);
                }
                link(&mut links);
            }
            '(' | '[' | '{' => {
                link(&mut links);
                links.push(0);
            }
            ')' | ']' | '}' => {
                if links.len() > 1 {
                    links.pop();
                }
            }
            ',' | ';' => {
                if let Some(innermost) = links.last_mut() {
                    *innermost = 0;
                }
            }
            ' ' | '\t' | '\r' | '\\' => {}
            _ if letter.is_alphanumeric() || letter == '_' => {
                let mut word = String::from(letter);
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    word.push(next);
                }
                link(&mut links);
                if at_start && word == "elif" {
                    elifs += 1;
                }
            }
            _ => link(&mut links),
        }
        if links.iter().sum::<usize>() > MOST_LINKS {
            return Some((line, format!("an expression chains over {MOST_LINKS} names, operators and brackets")));
        }
        if elifs > MOST_ELIFS {
            return Some((line, format!("the script has over {MOST_ELIFS} elif branches")));
        }
    }
    None
}

fn link(links: &mut [usize]) {
    if let Some(innermost) = links.last_mut() {
        *innermost += 1;
    }
}

/// Skips to the end of a string and counts its lines.
fn skip_string(rest: &mut std::iter::Peekable<std::str::Chars>, quote: char, quotes: usize) -> usize {
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
    fn long_is_not_deep() {
        let table = format!("x = [\n{}]\n", "    {\"a\": 1, \"b\": (2, 3)},\n".repeat(5_000));
        let text = format!("x = \"\"\"{}\"\"\"\ny = '{}'\n", "((((\n".repeat(1_000), "[".repeat(2_000));
        let lines = "if x:\n    y = 1 + 2\n".repeat(2_000);
        for source in [table, text, lines] {
            assert_eq!(too_deep(&source), None);
        }
    }

    #[test]
    fn deep_is_told_with_its_line() {
        for deep in
            ["(".repeat(2_000), "-".repeat(2_000), "not ".repeat(2_000), "f()".repeat(2_000), "1 + ".repeat(2_000)]
        {
            assert_eq!(too_deep(&format!("# one\nx = {deep}1")).map(|(line, _)| line), Some(2), "{}", &deep[..8]);
        }
        assert!(too_deep(&format!("if a:\n    b\n{}", "elif c:\n    d\n".repeat(2_000))).is_some());
    }
}
