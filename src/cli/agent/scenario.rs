//! The scenarios of an agent in YAML: what a contact says, and what must come of it.
//!
//! ```yaml
//! name: books an appointment
//! given: {state: {name: Ada}}
//! turns:
//!   - user: Monday please
//!     expect: {contains: "9:00", tool: {name: free_slots, args: {day: monday}}}
//! ```

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Map, Value};

use super::chat::CONTACT;
use super::document::{self, Content, Fields, Node, text_of};
use super::folder::{FileFault, read_text};
use crate::agents::script::check::Fault;
use crate::domain::session::Channel;
use crate::jobs::turns::rehearsal;

/// How often a scenario may run.
const MOST_RUNS: u64 = 100;

/// The most segments that a message can have.
const MOST_SEGMENTS: u64 = 1000;

/// A conversation and what must come of it.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) file: PathBuf,
    pub(super) name: String,
    pub(super) channel: Channel,
    pub(super) contact: String,
    /// The state before the first turn.
    pub(super) state: Map<String, Value>,
    pub(super) turns: Vec<Turn>,
    /// How often it runs.
    pub(super) repeat: u64,
}

/// What a contact says, and what must come of it.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) line: usize,
    /// Texts that come together.
    pub(super) user: Vec<String>,
    pub(super) expect: Expect,
}

/// What must come of a turn. All of it must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Expect {
    /// Each stands in one of the messages.
    pub(super) contains: Vec<String>,
    /// None stands in any of the messages.
    pub(super) not_contains: Vec<String>,
    /// The messages, one after the other.
    pub(super) equals: Option<Vec<String>>,
    /// Each finds something in one of the messages.
    pub(super) matches: Vec<Regex>,
    /// How many segments a message has at most.
    pub(super) max_segments: Option<u64>,
    /// Each was called.
    pub(super) tools: Vec<ExpectedCall>,
    /// No tool was called, or none of these names.
    pub(super) no_tool: Option<Vec<String>>,
    pub(super) hangup: Option<bool>,
    /// What the state has after the turn; null is what it has not.
    pub(super) state: Map<String, Value>,
}

/// A call of a tool that must have been made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExpectedCall {
    pub(super) name: String,
    /// Among its arguments.
    pub(super) args: Map<String, Value>,
}

/// The scenarios in files: of a folder all `.yaml` files, in the order of their names.
pub(super) fn read_all(path: &Path) -> Result<Vec<Scenario>, FileFault> {
    let mut files = Vec::new();
    if !path.exists() && path.file_name().is_some_and(|name| name == "tests") {
        let what =
            "there are no scenarios; write them into tests/*.yaml of the agent's folder, or name them with --tests";
        return Err(FileFault::of_file(path, what.to_owned()));
    }
    if path.is_dir() {
        let entries = std::fs::read_dir(path)
            .map_err(|error| FileFault::of_file(path, format!("this can't be read: {error}")))?;
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"));
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let mut scenarios = Vec::new();
    for file in files {
        let parsed = document::read(&read_text(&file)?).and_then(|node| of_file(&file, &node));
        scenarios.extend(parsed.map_err(|fault| FileFault::at(&file, fault))?);
    }
    Ok(scenarios)
}

/// A file has one scenario, or a list of them.
fn of_file(file: &Path, node: &Node) -> Result<Vec<Scenario>, Fault> {
    match &node.content {
        Content::List(items) => items.iter().map(|item| Scenario::of(file, item)).collect(),
        Content::Map(_) | Content::Scalar(_) => Ok(vec![Scenario::of(file, node)?]),
    }
}

impl Scenario {
    fn of(file: &Path, node: &Node) -> Result<Self, Fault> {
        let known = ["name", "channel", "contact", "given", "turns", "repeat"];
        let fields = Fields::of(node, "a scenario", &known)?;
        let name = text_of(fields.required("name")?, "name")?.to_owned();
        let channel = match (fields.text("channel")?, fields.get("channel")) {
            (Some(given), Some(node)) => {
                let unknown = || node.position.fault(format!("channel must be one of {}", Channel::WORDS.join(", ")));
                given.parse().map_err(|_| unknown())?
            }
            _ => rehearsal::default_channel(),
        };
        let state = match fields.get("given") {
            Some(given) => Fields::of(given, "given", &["state"])?.map("state")?.unwrap_or_default(),
            None => Map::new(),
        };
        let turns = fields.required("turns")?;
        let Content::List(listed) = &turns.content else {
            return Err(turns.position.fault(format!("turns must be a list, not {}", turns.kind())));
        };
        if listed.is_empty() {
            return Err(turns.position.fault("turns is empty; write what the contact says"));
        }
        Ok(Self {
            file: file.to_owned(),
            name,
            channel,
            contact: fields.text("contact")?.unwrap_or(CONTACT).to_owned(),
            state,
            turns: listed.iter().map(Turn::of).collect::<Result<_, _>>()?,
            repeat: fields.whole("repeat", (1, MOST_RUNS))?.unwrap_or(1),
        })
    }
}

impl Turn {
    fn of(node: &Node) -> Result<Self, Fault> {
        let fields = Fields::of(node, "a turn", &["user", "expect"])?;
        fields.required("user")?;
        let user = fields.texts("user")?.unwrap_or_default();
        let expect = fields.get("expect").map(Expect::of).transpose()?.unwrap_or_default();
        Ok(Self { line: node.position.line, user, expect })
    }
}

impl Expect {
    fn of(node: &Node) -> Result<Self, Fault> {
        let known =
            ["contains", "not_contains", "equals", "matches", "max_segments", "tool", "no_tool", "hangup", "state"];
        let fields = Fields::of(node, "expect", &known)?;
        let matches = fields.texts("matches")?.unwrap_or_default();
        let pattern = |text: &String| {
            let position = fields.get("matches").map(|node| node.position).unwrap_or_default();
            Regex::new(text).map_err(|error| {
                let what = error.to_string();
                let what = what.lines().last().unwrap_or_default();
                position.fault(format!("{text:?} is no regular expression: {what}"))
            })
        };
        Ok(Self {
            contains: fields.texts("contains")?.unwrap_or_default(),
            not_contains: fields.texts("not_contains")?.unwrap_or_default(),
            equals: fields.texts("equals")?,
            matches: matches.iter().map(pattern).collect::<Result<_, _>>()?,
            max_segments: fields.whole("max_segments", (1, MOST_SEGMENTS))?,
            tools: fields.get("tool").map(calls).transpose()?.unwrap_or_default(),
            no_tool: no_tool(&fields)?,
            hangup: fields.boolean("hangup")?,
            state: fields.map("state")?.unwrap_or_default(),
        })
    }
}

/// One call, or a list of them. A name alone stands for a call with any arguments.
fn calls(node: &Node) -> Result<Vec<ExpectedCall>, Fault> {
    match &node.content {
        Content::List(items) => items.iter().map(expected_call).collect(),
        Content::Map(_) | Content::Scalar(_) => Ok(vec![expected_call(node)?]),
    }
}

fn expected_call(node: &Node) -> Result<ExpectedCall, Fault> {
    if let Content::Scalar(Value::String(name)) = &node.content {
        return Ok(ExpectedCall { name: name.clone(), args: Map::new() });
    }
    let fields = Fields::of(node, "tool", &["name", "args"])?;
    let name = text_of(fields.required("name")?, "name")?.to_owned();
    Ok(ExpectedCall { name, args: fields.map("args")?.unwrap_or_default() })
}

/// `true` stands for all tools.
fn no_tool(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Fault> {
    let Some(node) = fields.get("no_tool") else { return Ok(None) };
    match &node.content {
        Content::Scalar(Value::Bool(true)) => Ok(Some(Vec::new())),
        Content::Scalar(Value::Bool(false)) => Ok(None),
        Content::Scalar(_) | Content::List(_) | Content::Map(_) => fields.texts("no_tool"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scenarios(text: &str) -> Result<Vec<Scenario>, Fault> {
        document::read(text).and_then(|node| of_file(Path::new("a.yaml"), &node))
    }

    #[test]
    fn a_scenario_is_read_with_what_it_leaves_out() {
        let text = "name: books\nchannel: voice\ngiven: {state: {name: Ada}}\nrepeat: 3\nturns:\n  - user: [Hi, Monday]\n    expect:\n      contains: \"9:00\"\n      tool: [free, {name: book, args: {day: monday}}]\n      no_tool: true\n      state: {day: monday}\n  - user: bye\n";
        let all = scenarios(text).expect("read");
        let scenario = &all[0];
        assert_eq!((scenario.channel, scenario.contact.as_str(), scenario.repeat), (Channel::Voice, CONTACT, 3));
        assert_eq!(Value::Object(scenario.state.clone()), json!({"name": "Ada"}));
        let [first, second] = &scenario.turns[..] else { panic!("two turns") };
        assert_eq!((first.line, first.user.len(), second.line), (6, 2, 12));
        assert_eq!(first.expect.contains, ["9:00"]);
        let names: Vec<&str> = first.expect.tools.iter().map(|call| call.name.as_str()).collect();
        assert_eq!((names, first.expect.no_tool.as_deref()), (vec!["free", "book"], Some(&[] as &[String])));
        assert_eq!(
            scenarios("- {name: a, turns: [{user: x}]}\n- {name: b, turns: [{user: x}]}\n").expect("two").len(),
            2
        );
    }

    #[test]
    fn what_can_t_be_read_is_told_with_its_line() {
        for (text, line, told) in [
            ("turns: [{user: x}]\n", 1, "name is missing"),
            ("name: a\nturn: []\n", 2, "turn is not known in a scenario; did you mean turns?"),
            ("name: a\nturns: []\n", 2, "turns is empty"),
            ("name: a\nturns:\n  - users: x\n", 3, "did you mean user?"),
            ("name: a\nturns:\n  - user: 5\n", 3, "write \"5\" in quotes"),
            ("name: a\nturns:\n  - user: x\n    expect:\n      contain: y\n", 5, "did you mean contains?"),
            ("name: a\nturns:\n  - user: x\n    expect: {matches: '('}\n", 4, "no regular expression"),
            ("name: a\nturns:\n  - user: x\n    expect:\n      tool: {nam: y}\n", 5, "did you mean name?"),
            ("name: a\nchannel: fax\nturns: [{user: x}]\n", 2, "channel must be one of"),
            ("name: a\nrepeat: 0\nturns: [{user: x}]\n", 2, "from 1 to 100"),
            ("name: a\nturns:\n  - user: x\n    expect: {hangup: maybe}\n", 4, "true or false"),
        ] {
            let fault = scenarios(text).expect_err(text);
            assert!(fault.line == line && fault.message.contains(told), "{text}: {fault:?}");
        }
    }
}
