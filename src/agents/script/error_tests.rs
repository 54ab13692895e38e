//! Tests that what operators see of a script's error has no text of a contact.

use proptest::prelude::*;

use super::functions::Purpose;
use super::interpret::{Script, on_own_thread};
use super::tests::{answered, conversation, replying};
use crate::agents::AgentError;
use crate::domain::agent_error::shown;

/// Ways to mishandle a text, and what operators see of the error.
const MISHANDLED: [(&str, &str); 26] = [
    ("int(text)", "Cannot parse `…` as an integer in base 10"),
    ("int(text, 36)", "Cannot parse `…` as an integer in base 36"),
    ("float(text)", "… is not a valid number: …"),
    ("fail(text)", "fail: …"),
    ("fail(\"bad input:\", text, [text])", "fail: …"),
    ("{}[text]", "Key `…` was not found"),
    ("{text: 1}.pop(text + \"x\")", "Key `…` not found in dictionary `…`"),
    ("[text].index(\"\")", "Element '…' not found in '…'"),
    ("[text].remove(\"\")", "Element '…' not found in list '…'"),
    ("text.index(\"¶\")", "Substring '…' not found in '…'"),
    ("[1][text]", "Expected `int`, but got `…`"),
    ("text + 1", "Operation `+` not supported for types `string` and `int`"),
    ("1 in text", "Type of parameters mismatch, expected `str`, actual `…`"),
    ("(text + \"{}\").format()", "Not enough parameters in format string"),
    ("(\"{\" + text + \"}\").format()", "Key `…` was not found"),
    ("getattr(conv, text)", "Operation `…` not supported on type `conv`"),
    ("getattr(struct(), text)", "Operation `…` not supported on type `struct`"),
    ("json.decode(text)", "…"),
    ("conv.state[text]", "conv.state has no key …; conv.state.get(…) gives None instead"),
    ("conv.send_sms(text, text)", "Missing parameter `…` for call to …"),
    ("(lambda: 1)(**{text: 1})", "Found `…` extra named parameter(s) for call to …"),
    ("range(text)", "Type of parameter `…` doesn't match, expected `int`, actual `…`"),
    ("ord(text)", "…"),
    ("dict([text])", "Operation `(iter)` not supported on type `string`"),
    ("text % text", "Too many arguments for format string"),
    ("[a for a, b in [[text]]]", "Unpacked 1 values but expected 2"),
];

fn mishandled(expression: &str, text: String) -> Result<String, AgentError> {
    let source = format!("def reply(conv, text):\n    return str({expression})");
    on_own_thread(move || {
        let script = Script::compile_here(&source, &Purpose::Answers)?;
        let run = answered(&script, replying(conversation("sms"), &[&text]));
        Ok(run.map_or_else(|error| error.to_string(), |_| String::new()))
    })
}

#[test]
fn operators_see_why_a_script_failed_and_no_text_of_the_contact() {
    let mut wrong = String::new();
    for (expression, expected) in MISHANDLED {
        let error = mishandled(expression, "my wife Jane has cancer".to_owned()).expect(expression);
        let shown = shown(&error);
        let words = shown.split_once(", column ").and_then(|(_, rest)| rest.split_once(": ")).unwrap_or_default().1;
        if words != expected {
            wrong.push_str(&format!("{expression}: {error} is shown as {words}\n"));
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn what_a_script_leaves_in_its_state_or_returns_is_not_shown_either() {
    for body in
        ["conv.state[text] = set()", "conv.state.a = {text: set()}", "return {text: 1}", "return {(text, 1): 1}"]
    {
        let source = format!("def reply(conv, text):\n    {body}");
        let script = Script::compile(&source).expect("compiles");
        let run = answered(&script, replying(conversation("sms"), &["my wife Jane"]));
        let error = shown(&run.expect_err(body).to_string());
        assert!(!error.contains("Jane") && error.len() > 20, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_text_that_a_script_mishandles_is_never_shown(
        text in "[\\PC`\"“”':{}%\n]{0,60}Zq[\\PC`\"“”':{}%\n]{0,60}",
        which in 0..MISHANDLED.len(),
    ) {
        let error = mishandled(MISHANDLED[which].0, text).expect("the script compiles");
        prop_assert!(!shown(&error).contains("Zq"), "{}", shown(&error));
    }
}

#[test]
fn a_word_of_python_that_is_missing_is_told_with_what_to_write_instead() {
    for (source, hint) in [
        ("import datetime\n", "what needs them is a service"),
        ("def reply(conv, text):\n    while True:\n        pass\n", "loop with for and range"),
        ("def reply(conv, text):\n    try:\n        pass\n", "look before you call"),
        ("class A:\n    pass\n", "use a dict"),
        ("def reply(conv, text):\n    return text is None\n", "compare with =="),
        ("async def reply(conv, text):\n    pass\n", "Starlark lacks this word"),
    ] {
        let faults = super::check::check(source, &Purpose::Answers);
        assert!(faults.first().is_some_and(|fault| fault.fatal && fault.message.contains(hint)), "{faults:?}");
    }
}
