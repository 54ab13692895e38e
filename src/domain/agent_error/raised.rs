//! The error of a script's run: how it is written, and what of it may be in a log.
//!
//! The interpreter and `fail` put values into their words, with and without quotation marks, and a
//! value may be a contact's text. So only words that are known stay.

/// The error of a function of a script: where it stopped, with line and column from 1, and why.
pub fn of_run(function: &str, position: Option<(usize, usize)>, words: &str) -> String {
    match position {
        Some((line, column)) => format!("{function}: line {line}, column {column}: {words}"),
        None => format!("{function}: at no line: {words}"),
    }
}

/// The error without what may be of a contact. `None`: the text is not the error of a run.
pub(super) fn shown(error: &str) -> Option<String> {
    let words = words_of(error)?;
    let position = error.strip_suffix(words)?;
    let known = SHAPES.iter().find_map(|shape| filled(shape, words));
    Some(format!("{position}{}", known.as_deref().unwrap_or("…")))
}

/// What follows the function and its line.
fn words_of(error: &str) -> Option<&str> {
    let (function, rest) = error.split_once(": ")?;
    let is_name = !function.is_empty() && function.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !is_name {
        return None;
    }
    if let Some(words) = rest.strip_prefix("at no line: ") {
        return Some(words);
    }
    let (line, rest) = rest.strip_prefix("line ")?.split_once(", column ")?;
    let (column, words) = rest.split_once(": ")?;
    (is_short_number(line) && is_short_number(column)).then_some(words)
}

/// The shape with its places filled from the words, if they have that shape. A place shows what
/// [`is_harmless`], and `…` otherwise.
fn filled(shape: &str, words: &str) -> Option<String> {
    let mut pieces = shape.split("{}");
    let first = pieces.next()?;
    let mut rest = words.strip_prefix(first)?;
    let mut shown = first.to_owned();
    let mut pieces = pieces.peekable();
    while let Some(piece) = pieces.next() {
        // The last piece ends the words: a value may have the piece in it.
        let at = if pieces.peek().is_none() { rest.strip_suffix(piece)?.len() } else { rest.find(piece)? };
        let (value, after) = rest.split_at_checked(at)?;
        shown.push_str(if is_harmless(value) { value } else { "…" });
        shown.push_str(piece);
        rest = after.get(piece.len()..)?;
    }
    rest.is_empty().then_some(shown)
}

fn is_harmless(value: &str) -> bool {
    HARMLESS.contains(&value) || is_short_number(value.strip_prefix('-').unwrap_or(value))
}

/// A number that is no phone number and no code.
fn is_short_number(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// What a place may show: types and operators.
const HARMLESS: [&str; 47] = [
    "NoneType",
    "bool",
    "int",
    "float",
    "string",
    "str",
    "list",
    "tuple",
    "dict",
    "set",
    "range",
    "function",
    "struct",
    "conv",
    "conv.state",
    "conv.log",
    "native_function",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "<",
    ">",
    "<=",
    ">=",
    "==",
    "!=",
    "in",
    "not in",
    "not",
    "compare",
    "[]",
    "[::]",
    "[]=",
    "+=",
    "|",
    "&",
    "^",
    "~",
    "<<",
    ">>",
    ".",
    "()",
    "(iter)",
    "state",
];

/// The errors of a run that are known, with a place for each value.
const SHAPES: [&str; 47] = [
    "fail: {}",
    "Cannot parse `{}` as an integer in base {}",
    "Cannot parse `{}` as an integer",
    "{} is not a valid base, int() base must be >= 2 and <= 36",
    "{} is not a valid number: {}",
    "Float `{}` cannot be represented as exact integer",
    "Floor division by zero: {} // {}",
    "Modulo by zero: {} % {}",
    "float division by zero: {} / {}",
    "Cannot divide by zero",
    "Integer overflow",
    "Negative left shift",
    "Negative right shift",
    "Key `{}` was not found",
    "Key `{}` not found in dictionary `{}`",
    "Index `{}` is out of bound",
    "Element '{}' not found in '{}'",
    "Element '{}' not found in list '{}'",
    "Substring '{}' not found in '{}'",
    "Operation `{}` not supported on type `{}`",
    "Operation `{}` not supported for types `{}` and `{}`",
    "Object of type `{}` has no attribute `{}`, did you mean `{}`?",
    "Object of type `{}` has no attribute `{}`",
    "Type of parameters mismatch, expected `{}`, actual `{}`",
    "Type of parameter `{}` doesn't match, expected `{}`, actual `{}`",
    "Type of parameter `{}` doesn't match",
    "Missing required parameter `{}`",
    "Missing positional-only parameter `{}` for call to {}",
    "Missing named-only parameter `{}` for call to {}",
    "Missing parameter `{}` for call to {}",
    "Found {} extra positional argument(s) for call to {}",
    "Found `{}` extra named parameter(s) for call to {}",
    "Argument `{}` occurs more than once",
    "Wrong number of positional arguments, expected {}, got {}",
    "Immutable",
    "This operation mutates an iterable for an iterator while iterating.",
    "Value of type `{}` is not hashable",
    "Local variable `{}` referenced before assignment",
    "Unpacked {} values but expected {}",
    "Expected `{}`, but got `{}`",
    "Expected value of type `{}` but got `{}`",
    "Too many arguments for format string",
    "Not enough arguments for format string",
    "Not enough parameters in format string",
    "Cannot .popitem() on an empty dictionary",
    "conv.state has no key {}; conv.state.get({}) gives None instead",
    "conv.state has strings as keys, not a {}",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_error_of_a_run_is_shown_without_its_values() {
        for (words, expected) in [
            ("fail: bad input: my wife Jane", "fail: …"),
            ("Cannot parse `my ` wife ` Jane` as an integer in base 10", "Cannot parse `…` as an integer in base 10"),
            ("\"Jane\" is not a valid number: Jane", "… is not a valid number: …"),
            ("Key `\"Jane\"` was not found", "Key `…` was not found"),
            ("Index `3` is out of bound", "Index `3` is out of bound"),
            ("Index `4155550101` is out of bound", "Index `…` is out of bound"),
            (
                "Operation `+` not supported for types `string` and `int`",
                "Operation `+` not supported for types `string` and `int`",
            ),
            ("Object of type `dict` has no attribute `Jane`", "Object of type `dict` has no attribute `…`"),
            ("Element 'a' not found in '[\"b' not found in 'c\"]'", "Element '…' not found in '…'"),
            ("no such words of Jane", "…"),
            ("Immutable Jane", "…"),
        ] {
            let error = of_run("reply", Some((3, 7)), words);
            assert_eq!(shown(&error), Some(format!("reply: line 3, column 7: {expected}")));
            let nowhere = of_run("start", None, words);
            assert_eq!(shown(&nowhere), Some(format!("start: at no line: {expected}")));
        }
    }

    #[test]
    fn the_error_of_no_run_is_left_alone() {
        for error in ["line 1, column 2: Variable `foo` not found", "the agent's service answered with 500", "", ": "] {
            assert_eq!(shown(error), None);
        }
    }

    proptest! {
        #[test]
        fn a_value_in_any_shape_is_hidden(text in "[^0-9…]{1,80}Zq[^0-9…]{0,80}") {
            for shape in SHAPES {
                let words = shape.replace("{}", &text);
                let shown = shown(&of_run("reply", Some((1, 1)), &words)).unwrap_or_default();
                prop_assert!(!shown.contains("Zq"), "{}", shown);
            }
        }
    }
}
