//! Tests scripts: the functions that authors write, and the limits that they meet.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::check::{self, Fault};
use super::functions::Purpose;
use super::interpret::{Limits, OF_A_RUN, Script};
use super::protocol::{Call, Output, Run};
use crate::agents::{AgentError, Answer, Conversation, HistoryEntry};
use crate::domain::bounds;

/// The start function of the page that the product began from, to the letter.
const SEED: &str = include_str!("../../../examples/agents/seed.star");

pub(super) fn conversation(channel: &str) -> Conversation {
    Conversation {
        id: "018f0000-0000-7000-8000-000000000000".to_owned(),
        channel_type: channel.to_owned(),
        caller_number: "+14155550101".to_owned(),
        callee_number: "+14155550199".to_owned(),
        env: "live".to_owned(),
        language: None,
        state: Map::new(),
        history: vec![HistoryEntry {
            role: "user".to_owned(),
            text: "before".to_owned(),
            at: chrono::DateTime::UNIX_EPOCH,
        }],
        media: Vec::new(),
    }
}

/// The faults of a script that answers.
pub(super) fn check(source: &str) -> Vec<Fault> {
    check::check(source, &Purpose::Answers)
}

/// What a script answers in a run.
pub(super) fn answered(script: &Script, run: Run) -> Result<Answer, AgentError> {
    script.run(run).map(answer_of)
}

fn answer_of(output: Output) -> Answer {
    match output {
        Output::Answer(answer) => answer,
        Output::Tool(tool) => panic!("it is of a tool: {tool:?}"),
    }
}

/// A run of `reply`.
pub(super) fn replying(conversation: Conversation, texts: &[&str]) -> Run {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    Run { conversation, call: Call::Reply { texts } }
}

fn starting(conversation: Conversation) -> Run {
    Run { conversation, call: Call::Start }
}

pub(super) fn with_state(state: Json) -> Conversation {
    let mut conversation = conversation("sms");
    conversation.state = state.as_object().cloned().expect("an object");
    conversation
}

fn reply(source: &str, text: &str) -> Result<Answer, AgentError> {
    answered(&Script::compile(source)?, replying(conversation("sms"), &[text]))
}

fn texts_of(source: &str, text: &str) -> Vec<String> {
    reply(source, text).expect("an answer").texts
}

#[test]
fn the_seeds_start_function_runs_verbatim() {
    let script = Script::compile(SEED).expect("compiles");
    let start = |channel| answered(&script, starting(conversation(channel))).expect("runs").state;
    assert_eq!(
        start("sms"),
        *json!({"greet_message": "Hi, you've reached [Company]. How can I help?"}).as_object().expect("object")
    );
    assert_eq!(start("voice")["greet_message"], "Thanks for calling. How can I help you today?");
    assert!(start("webchat").is_empty());
}

#[test]
fn start_function_is_start_by_its_other_name() {
    let script = Script::compile("def start_function(conv):\n    return \"hello\"").expect("compiles");
    assert_eq!(script.functions.start, Some("start_function"));
    assert_eq!(answered(&script, starting(conversation("sms"))).expect("runs").texts, ["hello"]);
}

#[test]
fn a_reply_is_a_text_or_a_dict() {
    assert_eq!(texts_of("def reply(conv, text): return text.upper()", "hi"), ["HI"]);
    assert_eq!(texts_of("def reply(conv, text): return None", "hi"), Vec::<String>::new());
    let of = |returned: &str| reply(&format!("def reply(conv, text): return {returned}"), "hi");
    for (returned, texts, hangup) in [
        (r#"{"utterance": "bye", "hangup": True}"#, vec!["bye"], true),
        (r#"{"utterance": "bye", "hangup": None}"#, vec!["bye"], false),
        (r#"{"messages": ["a", "b"], "utterance": None}"#, vec!["a", "b"], false),
        (r#"{"utterance": None}"#, vec![], false),
        (r#"{"hangup": True}"#, vec![], true),
        (r#"{"hangup": text == "bye"}"#, vec![], false),
        (r#"{"hangup": None}"#, vec![], false),
    ] {
        let answer = of(returned).expect("an answer");
        assert_eq!(
            (answer.texts, answer.hangup),
            (texts.into_iter().map(str::to_owned).collect(), hangup),
            "{returned}"
        );
    }
    for (returned, words) in [
        ("5", "a int"),
        ("{}", "an empty dict"),
        (r#"{"uterance": "x"}"#, "uterance"),
        (r#"{"state": {}}"#, "state"),
        (r#"{"hangup": "yes"}"#, "hangup that is a text; it must be true, false or null"),
        (r#"{"utterance": 5}"#, "utterance that is a number; it must be a text or null"),
        (r#"{"utterance": len}"#, "no JSON"),
        (r#"{"utterance": "a", "messages": ["b"]}"#, "an utterance and messages"),
    ] {
        let error = of(returned).expect_err("refused").to_string();
        assert!(error.contains(words), "{returned}: {error}");
    }
}

#[test]
fn what_is_said_on_the_way_comes_before_what_is_returned() {
    let source = "def reply(conv, text):\n    conv.say(\"one\")\n    conv.say(\"two\")\n    return \"three\"";
    assert_eq!(texts_of(source, "hi"), ["one", "two", "three"]);
}

#[test]
fn conv_tells_who_talks_and_what_was_said() {
    let source = "def reply(conv, text):\n    return \",\".join([conv.channel_type, conv.caller_number, conv.callee_number, \
                  conv.env, str(conv.language), conv.history[0].role, conv.history[0].text, str(len(conv.messages))])";
    assert_eq!(texts_of(source, "hi"), ["sms,+14155550101,+14155550199,live,None,user,before,1"]);
}

#[test]
fn state_lasts_and_may_be_changed_in_place() {
    let source = "
def reply(conv, text):
    if conv.state.items_seen == None:
        conv.state.items_seen = []
    conv.state.items_seen.append(text)
    conv.state[\"count\"] = conv.state.get(\"count\", 0) + 1
    conv.language = \"de\"
    return str(conv.state.missing)
";
    let script = Script::compile(source).expect("compiles");
    let first = answered(&script, replying(with_state(json!({})), &["a"])).expect("runs");
    let second = answered(&script, replying(with_state(Json::Object(first.state)), &["b"])).expect("runs");
    assert_eq!(Json::Object(second.state), json!({"items_seen": ["a", "b"], "count": 2}));
    assert_eq!((second.texts, second.language.as_deref()), (vec!["None".to_owned()], Some("de")));
}

#[test]
fn numbers_of_any_size_last() {
    let state = json!({"big": 12345678901234567890_u64, "small": -7, "half": 0.5, "deep": {"list": [1, null, true]}});
    let script = Script::compile("def reply(conv, text): return None").expect("compiles");
    let answer = answered(&script, replying(with_state(state.clone()), &[])).expect("runs");
    assert_eq!(Json::Object(answer.state), state);
}

#[test]
fn a_state_that_json_cannot_say_is_refused_with_its_place() {
    for (value, word) in
        [("lambda: 1", "function"), ("{1: 2}", "key"), ("\"a\\x00b\"", "NUL"), ("float(\"inf\")", "finite")]
    {
        let error = reply(&format!("def reply(conv, text):\n    conv.state.kept = {value}"), "hi")
            .expect_err("refused")
            .to_string();
        assert!(error.contains(r#"conv.state["kept"]"#) && error.contains(word), "{error}");
    }
    let nested =
        "def reply(conv, text):\n    x = []\n    for i in range(5000):\n        x = [x]\n    conv.state.kept = x";
    assert!(reply(nested, "hi").expect_err("refused").to_string().contains("deep"));
}

#[test]
fn a_script_that_never_ends_is_ended() {
    let endless = "def reply(conv, text):\n    for i in range(1000000000):\n        pass";
    assert!(matches!(reply(endless, "hi"), Err(AgentError::OverLimit(_))), "{:?}", reply(endless, "hi"));
    let deep = "def reply(conv, text):\n    return reply(conv, text)";
    assert!(matches!(reply(deep, "hi"), Err(AgentError::OverLimit(_))), "{:?}", reply(deep, "hi"));
    let hungry = "def reply(conv, text):\n    x = []\n    for i in range(1000000):\n        x.append(str(i) * 2000)";
    assert!(matches!(reply(hungry, "hi"), Err(AgentError::OverLimit(_))), "{:?}", reply(hungry, "hi"));
    let top = Script::compile("def reply(conv, text): return None\nfor i in range(1000000000):\n    pass");
    assert!(top.is_err());
}

/// Texts of the interpreter and of ours about runs over a limit.
const VERDICTS: [&str; 7] = [
    "Evaluation cancelled",
    "Execution duration limit of 2000000 ticks has been exceeded",
    "Heap memory limit of 67108864 bytes exceeded.",
    "Heap memory limit of 67108864 bytes exceeded.\nThis error is usually emitted some time after the limit is actually exceeded, so the span may not be informative.",
    "Starlark call stack overflow",
    "the interpreter broke off; most likely a value that the script builds is too large for it, such as list(enumerate(range(1 << 30)))",
    "the script's runner ended, and no script is to blame",
];

#[test]
fn no_words_of_a_script_or_of_who_texts_it_pass_for_a_bound() {
    let bodies = [
        "fail(text)",
        "return {}[text]",
        "return {\"a\": 1}.pop(text)",
        "return [1][text]",
        "return getattr(conv, text)",
        "return int(text)",
        "return \"a\".index(text)",
        "return text.format()[text]",
        "return conv.send_sms(text, None, \"hi\")",
        "conv.state[text] = len",
        "return {text: 1}",
    ];
    for words in VERDICTS {
        for body in bodies {
            let error = reply(&format!("def reply(conv, text):\n    {body}"), words).expect_err("fails");
            assert!(matches!(error, AgentError::Failed(_)), "{body}: {error:?}");
            // The same as the script's own words, in its start and at its top level.
            let script =
                Script::compile(&format!("def start(conv):\n    text = {words:?}\n    {body}")).expect("compiles");
            let error = answered(&script, starting(conversation("sms"))).expect_err("fails");
            assert!(matches!(error, AgentError::Failed(_)), "{body}: {error:?}");
        }
        for body in ["fail(text)", "{}[text]", "int(text)"] {
            let source = format!("def reply(conv, text): pass\ndef f(text):\n    {body}\nf({words:?})");
            let error = Script::compile(&source).expect_err("fails");
            assert!(matches!(error, AgentError::Unusable(_)), "{body}: {error:?}");
            assert!(error.to_string().contains("line 3"), "it is told with its place: {error}");
        }
    }
}

#[test]
fn each_bound_is_told_as_such() {
    // The first allocates nothing in its loop, so that time is its first bound on a fast machine
    // too. The others have all the time they need, because two million rounds take over 3 seconds
    // of a slow machine in a debug build.
    let times = "def reply(conv, text):\n    x = list(range(20000))\n    for i in range(1000000):\n        y = -1 in x";
    let ticks = "def reply(conv, text):\n    for i in range(1000000000):\n        pass";
    let memory = "def reply(conv, text):\n    x = []\n    for i in range(1000000):\n        x.append(str(i) * 2000)";
    let depth = "def reply(conv, text):\n    return reply(conv, text)";
    let patient = Limits { time: Duration::from_secs(3600), ..OF_A_RUN };
    for (source, limits, words) in [
        (times, OF_A_RUN, "reply took over 3 seconds of a processor"),
        (ticks, patient, "reply ran over 2000000 calls and loop rounds"),
        (memory, patient, "reply used over 64 MiB of memory"),
        (depth, patient, "reply called itself over 64 deep"),
    ] {
        let run = replying(conversation("sms"), &["hi"]);
        let ended = Script::compile(source).expect("compiles").run_within(run, &limits).map(answer_of);
        assert_eq!(ended, Err(AgentError::OverLimit(words.to_owned())));
    }
    let top = Script::compile(
        "def reply(conv, text): pass\nx = list(range(20000))\nfor i in range(1000000):\n    y = -1 in x",
    );
    let words = "the script's top level took over 0.5 seconds of a processor";
    assert_eq!(top.expect_err("over a bound"), AgentError::Unusable(words.to_owned()));
}

#[test]
fn a_function_that_is_not_defined_changes_nothing() {
    let mut conversation = with_state(json!({"kept": 1}));
    conversation.language = Some("de".to_owned());
    let greets = Script::compile("def start(conv): return 'hi'").expect("compiles");
    let answer = answered(&greets, replying(conversation.clone(), &["x"])).expect("an answer");
    assert_eq!(answer, Answer::silent(conversation.clone()));
    let replies = Script::compile("def reply(conv, text): return 'hi'").expect("compiles");
    assert_eq!(answered(&replies, starting(conversation.clone())).expect("an answer"), Answer::silent(conversation));
}

#[test]
fn a_script_of_brackets_only_does_not_break_the_process() {
    for source in [
        format!("x = {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("x = {}1", "-".repeat(200_000)),
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("def reply(conv, text):\n    return {}1", "-".repeat(100_000)),
        format!("x = {}1", "- \\\n".repeat(100_000)),
        format!("x = {}1", "lambda a, b: ".repeat(100_000)),
        format!("x = [{}1]", "lambda a, b: ".repeat(100_000)),
        format!("x = [a {}]", "for a, b in c ".repeat(100_000)),
        format!("x = {}1{}", "f(lambda a, b: ".repeat(50_000), ")".repeat(50_000)),
    ] {
        assert!(Script::compile(&source).expect_err("refused").to_string().contains("chains over"));
    }
    assert!(check(&format!("x = {}1", "- \\\n".repeat(100_000))).iter().any(|fault| fault.fatal));
    // Just below the bound the interpreter itself has its say, in good health.
    let _ = Script::compile(&format!("def reply(conv, text):\n    return {}1", "-".repeat(950)));
    let _ = Script::compile(&format!("def reply(conv, text):\n    return {}1{}", "[".repeat(450), "]".repeat(450)));
    let _ = Script::compile(&format!("def reply(conv, text):\n    return 1{}", " + 1".repeat(490)));
    let _ = Script::compile(&format!("def reply(conv, text):\n    return {}1", "lambda a, b: ".repeat(150)));
    let _ = Script::compile(&format!("def reply(conv, text):\n    return [a {}]", "for a, b in c ".repeat(150)));
}

#[test]
fn an_error_names_its_line() {
    let error = reply("def reply(conv, text):\n    x = 1\n    return x + text", "hi").expect_err("fails").to_string();
    assert!(error.contains("reply: line 3"), "{error}");
    let error = reply("def reply(conv, text):\n    conv.caller_number = \"x\"", "hi").expect_err("fails").to_string();
    assert!(error.contains("can't be set"), "{error}");
}

#[test]
fn check_tells_faults_with_line_and_column() {
    let faults = check("def reply(conv, text):\n    return txt\n");
    assert_eq!(
        faults.iter().map(|fault| (fault.line, fault.column, fault.fatal)).collect::<Vec<_>>(),
        [(2, 12, true)],
        "{faults:?}"
    );
    let faults = check("def reply(conv, text)\n    return text\n");
    assert_eq!(faults.iter().map(|fault| (fault.line, fault.fatal)).collect::<Vec<_>>(), [(1, true)], "{faults:?}");
    assert!(check("def greet(conv): pass").iter().any(|fault| fault.fatal && fault.message.contains("neither")));
    assert!(check("import os\n").iter().any(|fault| fault.fatal));
    assert_eq!(check("def reply(conv, text):\n    return text\n"), []);
}

#[test]
fn what_a_script_logs_is_bounded_line_by_line_and_in_all() {
    let lines = reply(
        "
def reply(conv, text):
    for n in range(60):
        conv.log.info('x' * 10000, **{'k' * 1000: 'y' * 10000, 'big': 1 << 70, 'list': list(range(1000)), 'n': n})
",
        "hi",
    )
    .expect("an answer")
    .log;
    let sizes: Vec<usize> =
        lines.iter().map(|line| line.text.len() + Json::from(line.fields.clone()).to_string().len()).collect();
    assert!(sizes.iter().all(|size| *size <= bounds::LOG_LINE_BYTES + 10), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() <= bounds::TURN_LOG_BYTES + bounds::LOG_LINE_BYTES, "{sizes:?}");
    assert!(lines.len() > 5, "{}", lines.len());
    assert_eq!(lines[0].fields.get("big"), Some(&Json::from("1180591620717411303424")));
}
