//! Tests scripts whose functions are tools of a language model: what is refused when they are
//! saved, and what their functions get and give.

use serde_json::{Value as Json, json};

use super::check::check;
use super::functions::Purpose;
use super::interpret::Script;
use super::protocol::{Call, Output, Run};
use super::tests::{answered, conversation, replying, with_state};
use crate::agents::tool::{ToolAnswer, ToolCall, ToolOutcome};
use crate::agents::{AgentError, Conversation, MessageBody};

fn purpose(tools: &[&str]) -> Purpose {
    Purpose::Tools(tools.iter().map(|name| (*name).to_owned()).collect())
}

/// What is told of a script when it is saved, if the given functions are its tools.
fn told(source: &str, tools: &[&str]) -> Vec<String> {
    check(source, &purpose(tools)).iter().map(ToString::to_string).collect()
}

/// A tool `f` with these parameters behind conv, and the lines of its body.
fn tool(parameters: &str, body: &str) -> String {
    let body: Vec<String> = body.lines().map(|line| format!("    {line}\n")).collect();
    format!("def f(conv{parameters}):\n    \"\"\"Does it.\"\"\"\n{}", body.concat())
}

fn run(source: &str, name: &str, arguments: &Json, conversation: Conversation) -> Result<ToolAnswer, AgentError> {
    let script = Script::compile_for(source, &purpose(&["f"]))?;
    let call = ToolCall {
        name: name.to_owned(),
        arguments: arguments.as_object().expect("an object").clone(),
        call_id: "turn:1:0".to_owned(),
        texts: vec!["one".to_owned(), "two".to_owned()],
    };
    match script.run(Run { conversation, call: Call::Tool(call) })? {
        Output::Tool(answer) => Ok(answer),
        Output::Answer(answer) => panic!("it is of no tool: {answer:?}"),
    }
}

/// What the tool gives to the model.
fn content(parameters: &str, body: &str, arguments: &Json) -> Json {
    let answer = run(&tool(parameters, body), "f", arguments, conversation("sms"));
    match answer.unwrap_or_else(|error| panic!("{body}: {error}")).outcome {
        ToolOutcome::Content(content) => content,
        other @ ToolOutcome::Utterance { .. } => panic!("{other:?}"),
    }
}

#[test]
fn a_script_of_tools_needs_neither_start_nor_reply() {
    let tools = tool(", x: str", "return x");
    assert_eq!(told(&tools, &["f"]), Vec::<String>::new());
    assert_eq!(told("x = 1", &[]), Vec::<String>::new());
    assert_eq!(told(&format!("{tools}def start(conv): return \"hi\""), &["f"]), Vec::<String>::new());
    assert_eq!(told(&format!("{tools}def replay(conv, text): return text"), &["f"]), Vec::<String>::new());
    let answers = check(&tools, &Purpose::Answers);
    assert!(answers.iter().any(|fault| fault.fatal && fault.message.contains("neither")), "{answers:?}");
}

#[test]
fn what_can_be_no_tool_is_refused_when_it_is_saved() {
    for (source, what) in [
        ("def f(conv, x): \"\"\"Does it.\"\"\"", "1:13: x has no type"),
        ("def g(conv): \"\"\"Does it.\"\"\"", "the script defines no function \"f\" for a tool"),
        ("x = 1 + \"a\"\ndef f(conv): return 1", "2:5: f has no docstring"),
        ("x = 1 + \"a\"\ndef f(conv): return 1", "1:5: Operation `+` not supported"),
        ("def f(conv): return 1\ndef start(): pass", "2:1: start is called with (conv)"),
    ] {
        let told = told(source, &["f"]);
        assert!(told.iter().any(|fault| fault.contains(what)), "{source}: {told:?}");
        assert!(Script::compile_for(source, &purpose(&["f"])).is_err(), "{source}");
        assert!(check(source, &purpose(&["f"])).iter().any(|fault| fault.fatal), "{source}");
    }
}

#[test]
fn conv_is_followed_into_a_tool_and_its_arguments_are_left() {
    for (source, what) in [
        (tool(", x: str", "return conv.stat"), "3:17: conv has no attribute stat; did you mean state?"),
        (tool("", "conv.say(5)"), "3:5: Type of parameter `text` doesn't match, expected `str`, actual `int`"),
        (
            tool("", "return conv.channel_type.uper()"),
            "3:30: Object of type `string` has no attribute `uper`, did you mean `upper`?",
        ),
        (format!("{}def g(c): return c.stat", tool("", "return g(conv)")), "conv has no attribute stat"),
    ] {
        let told_of_tool = told(&source, &["f"]);
        assert!(told_of_tool.iter().any(|fault| fault.contains(what)), "{source}: {told_of_tool:?}");
        assert_eq!(told(&source, &[]), Vec::<String>::new(), "{source}: only functions that are named are tools");
    }
    for source in [
        tool(", text: int", "return text + 1"),
        tool(", x: int", "return x.bit_length if hasattr(x, \"bit_length\") else 5"),
        tool("", "return conv.call_id or [1]"),
    ] {
        assert_eq!(told(&source, &["f"]), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn a_tool_gets_its_arguments_by_name_in_the_types_that_it_names() {
    for (parameters, body, arguments, expected) in [
        (", x: str, y: int", "return [x, y]", json!({"y": 2, "x": "a"}), json!(["a", 2])),
        (", x: int", "return type(x) + str(x)", json!({"x": 5.0}), json!("int5")),
        (", x: float", "return type(x) + str(x)", json!({"x": 5}), json!("float5.0")),
        (", x: bool", "return not x", json!({"x": true}), json!(false)),
        (", x: int", "return x + 1", json!({"x": 9_007_199_254_740_993_i64}), json!(9_007_199_254_740_994_i64)),
        (", x: list[str]", "return \",\".join(x)", json!({"x": ["a", "b"]}), json!("a,b")),
        (", x: str | None", "return x == None", json!({}), json!(true)),
        (", x: str = \"b\"", "return x", json!({"x": null}), json!("b")),
        (", x: str = \"b\"", "return x", json!({}), json!("b")),
        (", x: str = \"b\"", "return x", json!({"x": "c"}), json!("c")),
        (", *, x: str", "return x", json!({"x": "a"}), json!("a")),
        ("", "return [conv.call_id, conv.messages]", json!({}), json!(["turn:1:0", ["one", "two"]])),
        ("", "return (1, {\"a\": None})", json!({}), json!([1, {"a": null}])),
        ("", "pass", json!({}), json!(null)),
    ] {
        assert_eq!(content(parameters, body, &arguments), expected, "{parameters}: {body}");
    }
    let call_id = Script::compile("def reply(conv, text): return str(conv.call_id)").expect("compiles");
    assert_eq!(answered(&call_id, replying(conversation("sms"), &["hi"])).expect("runs").texts, ["None"]);
}

#[test]
fn a_tool_changes_the_conversation_as_a_reply_does() {
    let body = "conv.state.count += 1\nconv.language = \"de\"\nconv.say(\"One moment\")\nconv.say(\" \")\n\
                conv.send_sms(\"+14155550102\", None, \"booked\")\nconv.log.info(\"booked\", n = 1)\n\
                return {\"utterance\": \"Done\", \"hangup\": True, \"content\": 7}";
    let answer = run(&tool("", body), "f", &json!({}), with_state(json!({"count": 1}))).expect("an answer");
    let expected = ToolOutcome::Utterance { text: "Done".to_owned(), hangup: true, content: Some(json!(7)) };
    assert_eq!(answer.outcome, expected);
    let answer = answer.answer;
    assert_eq!((Json::Object(answer.state), answer.language.as_deref()), (json!({"count": 2}), Some("de")));
    assert_eq!((answer.texts, answer.hangup), (vec!["One moment".to_owned()], false));
    assert_eq!(answer.sends.len(), 1);
    assert_eq!(answer.sends[0].body, MessageBody::Text("booked".to_owned()));
    assert_eq!(answer.log.len(), 1);
}

#[test]
fn what_a_model_can_act_on_is_told() {
    for (source, name, arguments, what) in [
        (
            tool(", x: str", ""),
            "f",
            json!({}),
            "f can't be called with these arguments: x is missing; it must be a text",
        ),
        (tool(", x: str", ""), "f", json!({"x": 5}), "x is a number; it must be a text"),
        (tool("", ""), "ff", json!({}), "ff is no tool; did you mean f?"),
        (format!("{}def secret(conv): return 1", tool("", "")), "secret", json!({}), "secret is no tool"),
        (tool("", "x = 1\nreturn x + \"a\""), "f", json!({}), "f: line 4, column 12: Operation `+` not supported"),
        (tool(", x: str", "fail(\"no \" + x)"), "f", json!({"x": "table"}), "f: line 3, column 5: fail: no table"),
        (tool("", "return len"), "f", json!({}), "f returned a value that is no JSON: a function can't be stored"),
        (tool("", "return {\"utterance\": 5}"), "f", json!({}), "f returned a dict with utterance that is a number"),
        (tool("", "conv.state.x = len"), "f", json!({}), "conv.state can't be stored: conv.state[\"x\"]"),
    ] {
        let error = run(&source, name, &arguments, conversation("sms")).expect_err("it fails");
        assert!(matches!(&error, AgentError::Failed(told) if told.contains(what)), "{source}: {error:?}");
    }
    let deep = run(&tool("", "return f(conv)"), "f", &json!({}), conversation("sms"));
    assert_eq!(deep, Err(AgentError::OverLimit("f called itself over 64 deep".to_owned())));
}

#[test]
fn a_name_that_begins_with_an_underscore_is_one_like_others() {
    let script = Script::compile_for("def _f(conv):\n    \"\"\"Does it.\"\"\"\n    return 5", &purpose(&["_f"]));
    let call = ToolCall { name: "_f".to_owned(), arguments: Default::default(), call_id: String::new(), texts: vec![] };
    let output = script.expect("compiles").run(Run { conversation: conversation("sms"), call: Call::Tool(call) });
    assert!(matches!(output, Ok(Output::Tool(answer)) if answer.outcome == ToolOutcome::Content(json!(5))));
}
