//! Tests that a script's functions are tools of a language model, with real runners.

use serde_json::{Map, Value, json};
use textback::agents::script::runner::Runners;
use textback::agents::script::{Purpose, ScriptAgent, tools};
use textback::agents::tool::{ToolAnswer, ToolCall, ToolOutcome};
use textback::agents::{Agent as _, AgentError, Conversation, MessageBody};
use uuid::Uuid;

use crate::harness::ADA;
use crate::script_runners::{conversation, echo, runners, say_as};
use crate::script_turns::{Program, READY};

/// A script whose functions a language model calls for a restaurant.
const RESTAURANT: &str = r#"
TABLES = {"friday": 1, "saturday": 4}

def start(conv):
    return "Welcome!"

def free_tables(conv, day: str, persons: int = 2):
    """Tells how many tables are free.

    Args:
        day: the day of the week, in lower case
    """
    if day not in TABLES:
        fail("closed on " + day)
    return {"free": TABLES[day], "persons": persons, "call": conv.call_id}

def book(conv, day: str, notes: list[str] | None):
    "Books a table and confirms it to the contact."
    conv.state.booked = conv.state.get("booked", []) + [day]
    conv.say("One moment")
    conv.send_sms("+14155550102", None, "A table is booked for " + day)
    return {"utterance": "Booked for " + day, "content": notes}

def think(conv):
    "Thinks for too long."
    days = list(range(20000))
    for i in range(1000000):
        found = -1 in days

def grow(conv):
    "Takes too much memory."
    l = [1]
    for i in range(60):
        l = l + l

def list_all(conv, times: int):
    "Lists all tables."
    return ["a table"] * times

def wide(conv):
    "Returns what is small until it is written down."
    x = [1]
    for i in range(40):
        x = [x, x]
    return x

def keep(conv):
    "Keeps too much."
    conv.state.all = "x" * 300000

def secret(conv):
    return "no tool"
"#;

const NAMES: [&str; 7] = ["book", "free_tables", "grow", "keep", "list_all", "think", "wide"];

fn names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

fn restaurant(runners: &Runners) -> ScriptAgent {
    let (key, purpose) = (Uuid::now_v7().to_string(), Purpose::Tools(names()));
    ScriptAgent::new(runners.clone(), Uuid::now_v7(), key, RESTAURANT.to_owned(), purpose)
}

/// A call of a tool, repeated while the machine is busy, as a worker would.
async fn call(agent: &ScriptAgent, name: &str, arguments: Value) -> Result<ToolAnswer, AgentError> {
    call_with(agent, name, arguments.as_object().expect("an object").clone()).await
}

async fn call_with(agent: &ScriptAgent, name: &str, arguments: Map<String, Value>) -> Result<ToolAnswer, AgentError> {
    let call = ToolCall {
        name: name.to_owned(),
        arguments,
        call_id: "turn:1:0".to_owned(),
        texts: vec!["a table please".to_owned()],
    };
    let conversation: Conversation = serde_json::from_value(conversation()).expect("a conversation");
    loop {
        match agent.tool(conversation.clone(), call.clone()).await {
            Err(AgentError::Ours(what) | AgentError::Interrupted(what)) => println!("once more: {what}"),
            answer => return answer,
        }
    }
}

#[tokio::test]
async fn a_model_is_told_of_the_tools_and_calls_them_with_typed_arguments() {
    let (runners, project) = (runners(), Uuid::now_v7());
    let told = tools(RESTAURANT, &names()).expect("tools");
    assert_eq!(told.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), NAMES);
    let free = told.iter().find(|tool| tool.name == "free_tables").expect("a tool");
    assert_eq!(free.description, "Tells how many tables are free.");
    assert_eq!(free.parameters["properties"]["day"]["description"], "the day of the week, in lower case");
    assert_eq!(free.parameters["required"], json!(["day", "persons"]));
    assert_eq!(runners.check(project, RESTAURANT, &Purpose::Tools(names())).await, Ok(vec![]));

    let agent = restaurant(&runners);
    for (arguments, persons) in [
        (json!({"day": "friday"}), 2),
        (json!({"day": "friday", "persons": null}), 2),
        (json!({"day": "friday", "persons": 4.0}), 4),
    ] {
        let answer = call(&agent, "free_tables", arguments).await.expect("an answer");
        let content = json!({"free": 1, "persons": persons, "call": "turn:1:0"});
        assert_eq!((answer.outcome, answer.answer.texts), (ToolOutcome::Content(content), Vec::<String>::new()));
    }
    // The same script greets, and has no reply.
    let conversation: Conversation = serde_json::from_value(conversation()).expect("a conversation");
    assert_eq!(agent.start(conversation).await.expect("a greeting").texts, ["Welcome!"]);
    assert_eq!(say_as(&agent, "1", "hi").await.expect("silence").texts, Vec::<String>::new());
    assert!(!agent.replies());
}

#[tokio::test]
async fn a_tool_changes_the_state_says_sends_and_ends_the_turn() {
    let agent = restaurant(&runners());
    let ToolAnswer { outcome, answer } =
        call(&agent, "book", json!({"day": "saturday", "notes": ["by the window"]})).await.expect("an answer");
    let content = Some(json!(["by the window"]));
    assert_eq!(outcome, ToolOutcome::Utterance { text: "Booked for saturday".to_owned(), hangup: false, content });
    assert_eq!(Value::Object(answer.state), json!({"booked": ["saturday"]}));
    assert_eq!(answer.texts, ["One moment"]);
    assert_eq!(answer.sends.len(), 1);
    assert_eq!(answer.sends[0].body, MessageBody::Text("A table is booked for saturday".to_owned()));
    assert_eq!(answer.sends[0].to, "+14155550102");
}

#[tokio::test]
async fn what_a_tool_can_not_do_is_told_in_words_that_a_model_can_act_on() {
    let agent = restaurant(&runners());
    for (name, arguments, what) in [
        ("free_tables", json!({"day": "monday"}), "free_tables: line 14, column 9: fail: closed on monday"),
        (
            "free_tables",
            json!({}),
            "free_tables can't be called with these arguments: day is missing; it must be a text",
        ),
        (
            "free_tables",
            json!({"day": 5, "persons": "two", "dya": ADA}),
            "day is a number; it must be a text. persons is a text; it must be a whole number. dya is no parameter; did you mean day?",
        ),
        ("book", json!({"day": "friday", "notes": "none"}), "notes is a text; it must be a list"),
        ("bok", json!({}), "bok is no tool; did you mean book?"),
        ("secret", json!({}), "secret is no tool; the known ones are book, free_tables"),
        ("start", json!({}), "start is no tool"),
        ("keep", json!({}), "conv.state can't be stored: it is 300011 bytes of JSON"),
    ] {
        let error = call(&agent, name, arguments).await.expect_err(name);
        assert!(matches!(&error, AgentError::Failed(told) if told.contains(what)), "{name}: {error:?}");
        assert!(!error.to_string().contains(ADA), "an error quotes no argument: {error}");
    }
}

/// Lists within one another, this many.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!("x"), |inner, _| Value::Array(vec![inner]))
}

/// A runner that can't read a call would end, and the turn with it.
#[tokio::test]
async fn arguments_that_are_nested_too_deep_are_told_to_the_model() {
    let agent = restaurant(&runners());
    for depth in [65, 100, 119, 120, 121, 127, 128, 129, 500] {
        for name in ["notes", "day", "more"] {
            let arguments = Map::from_iter([(name.to_owned(), nested(depth))]);
            let error = call_with(&agent, "book", arguments).await.expect_err("too deep");
            let AgentError::Failed(told) = &error else { panic!("{depth}: {error:?}") };
            assert!(told.starts_with("book can't be called with these arguments: at "), "{depth}: {told}");
            assert!(told.ends_with("values are nested over 64 deep"), "{depth}: {told}");
        }
    }
    let fits = call(&agent, "book", json!({"day": "friday", "notes": nested(40)})).await.expect_err("no text");
    assert!(fits.to_string().contains("notes[0] is a list; it must be a text"), "{fits}");
    let next = call(&agent, "book", json!({"day": "friday", "notes": ["x"]})).await.expect("an answer");
    assert_eq!(next.answer.texts, ["One moment"], "the runner goes on");
}

#[tokio::test]
async fn a_model_gets_no_more_of_a_tool_than_it_can_read() {
    let agent = restaurant(&runners());
    let small = call(&agent, "list_all", json!({"times": 2})).await.expect("an answer");
    assert_eq!(small.outcome, ToolOutcome::Content(json!(["a table", "a table"])));
    let large = call(&agent, "list_all", json!({"times": 2000})).await.expect("an answer");
    let ToolOutcome::Content(Value::String(text)) = large.outcome else { panic!("{:?}", large.outcome) };
    assert!(text.starts_with("[\"a table\",\"a table\""), "{text}");
    assert!(text.ends_with("… (cut: it has 20001 bytes, and the limit is 8192)"), "{text}");
    assert!(json!(text).to_string().len() <= 8192);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_over_its_bounds_is_ended_and_harms_no_other_call() {
    let runners = runners();
    let agent = restaurant(&runners);
    for (name, what) in
        [("think", "took over 3 seconds of a processor"), ("grow", "too much memory"), ("wide", "too much memory")]
    {
        let (ended, beside) =
            futures::future::join(call(&agent, name, json!({})), call(&agent, "list_all", json!({"times": 0}))).await;
        assert!(matches!(&ended, Err(AgentError::OverLimit(told)) if told.contains(what)), "{name}: {ended:?}");
        assert_eq!(beside.expect("an answer").outcome, ToolOutcome::Content(json!([])));
        assert_eq!(echo(&runners, Uuid::now_v7()).await, ["hi"], "after {name}");
    }
}

/// Something else ends each runner, before it reads the script or while the tool runs. The call has
/// had no effect, so it may be repeated.
#[tokio::test]
async fn a_tool_whose_runners_are_killed_is_interrupted() {
    let conversation: Conversation = serde_json::from_value(conversation()).expect("a conversation");
    let read = r#"read line
echo '{"Read":{"has_start":true,"has_reply":false}}'"#;
    for (name, before) in [("tool-unread", ""), ("tool-killed", read)] {
        let program = Program::new(name, &format!("{READY}\n{before}\nread line\nkill -9 $$"));
        let agent = restaurant(&program.runners());
        let call = ToolCall {
            name: "book".to_owned(),
            arguments: json!({"day": "friday"}).as_object().expect("an object").clone(),
            call_id: "turn:1:0".to_owned(),
            texts: Vec::new(),
        };
        let killed = agent.tool(conversation.clone(), call).await;
        assert!(matches!(&killed, Err(AgentError::Interrupted(what)) if what.contains("SIGKILL")), "{killed:?}");
    }
}
