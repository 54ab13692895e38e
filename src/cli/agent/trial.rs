//! `textback agent test`: runs the scenarios of an agent and tells what is not as expected.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::model::Recordings;
use super::player::{PlayOptions, Played, Player};
use super::scenario::{self, Expect, ExpectedCall, Scenario};
use super::show;
use crate::cli::{Done, print};
use crate::jobs::turns::rehearsal::Rehearsal;

/// The options of `textback agent test`.
#[derive(Args)]
pub struct TestOptions {
    /// The folder of the agent, or its file
    path: PathBuf,
    /// The scenarios: a file, or a folder of .yaml files [default: tests beside the agent]
    #[arg(long)]
    tests: Option<PathBuf>,
    /// Let recorded answers take the model's part: a file, or a folder of .json files
    #[arg(long, value_name = "PATH", conflicts_with = "record")]
    replay: Option<PathBuf>,
    /// Write the model's answers to a file (.json) or a folder, for --replay
    #[arg(long, value_name = "PATH")]
    record: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    play: PlayOptions,
}

/// What came of all scenarios.
#[derive(Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    scenarios: Vec<Tried>,
}

/// What came of one scenario.
#[derive(Serialize)]
struct Tried {
    file: String,
    name: String,
    runs: u64,
    failures: Vec<Failure>,
}

/// What was not as expected.
#[derive(Serialize)]
struct Failure {
    /// From 1.
    run: u64,
    /// From 1.
    turn: usize,
    line: usize,
    user: Vec<String>,
    expected: String,
    got: String,
}

/// Runs `textback agent test`. The exit code is 1 if a scenario fails.
pub(super) async fn run(options: TestOptions) -> Done {
    let TestOptions { path, tests, replay, record, json, play } = options;
    let folder = if path.is_dir() { path.clone() } else { path.parent().unwrap_or(&path).to_owned() };
    let tests = tests.unwrap_or_else(|| folder.join("tests"));
    let scenarios = scenario::read_all(&tests)?;
    if scenarios.is_empty() {
        return Err(format!("{} has no scenarios; write one into a .yaml file there", tests.display()).into());
    }
    let recordings = match (replay, record) {
        (Some(path), _) => Recordings::Replay(path),
        (None, Some(path)) => Recordings::Record(path),
        (None, None) => Recordings::None,
    };
    let player = Player::open(&path, play, recordings).await?;
    if let Some(notice) = player.notice().filter(|_| !json) {
        print(notice)?;
    }
    let mut report = Report { passed: 0, failed: 0, scenarios: Vec::new() };
    for scenario in &scenarios {
        let tried = tried(&player, scenario).await;
        let has_passed = tried.failures.is_empty();
        report.passed += usize::from(has_passed);
        report.failed += usize::from(!has_passed);
        if !json {
            print(&tried.to_string())?;
        }
        report.scenarios.push(tried);
    }
    match json {
        true => print(&serde_json::to_string_pretty(&report)?)?,
        false => print(&format!("{} passed, {} failed", report.passed, report.failed))?,
    };
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a scenario as often as it says.
async fn tried(player: &Player, scenario: &Scenario) -> Tried {
    let mut failures = Vec::new();
    for run in 1..=scenario.repeat {
        let mut session = Rehearsal::new(scenario.channel, &scenario.contact, scenario.state.clone());
        for (n, turn) in scenario.turns.iter().enumerate() {
            let failure = |(expected, got): (String, String)| Failure {
                run,
                turn: n + 1,
                line: turn.line,
                user: turn.user.clone(),
                expected,
                got,
            };
            if session.has_ended() {
                let told = ("the conversation goes on".to_owned(), "the agent had ended it".to_owned());
                failures.push(failure(told));
                break;
            }
            let played = player.turn(&mut session, &turn.user).await;
            let told = differences(&turn.expect, &played);
            let is_over = played.error.is_some();
            failures.extend(told.into_iter().map(failure));
            if is_over {
                break;
            }
        }
    }
    let file = scenario.file.display().to_string();
    Tried { file, name: scenario.name.clone(), runs: scenario.repeat, failures }
}

/// What was expected and is not so, and what is so instead.
fn differences(expect: &Expect, played: &Played) -> Vec<(String, String)> {
    if let Some(error) = &played.error {
        return vec![("an answer".to_owned(), format!("the agent failed: {error}"))];
    }
    let texts: Vec<&str> = played.messages.iter().map(|message| message.body()).collect();
    let said = || if texts.is_empty() { "no message".to_owned() } else { format!("{:?}", texts.join("\n")) };
    let has = |part: &String| texts.iter().any(|text| text.contains(part.as_str()));
    let mut told = Vec::new();
    told.extend(expect.contains.iter().filter(|part| !has(part)).map(|part| (format!("contains {part:?}"), said())));
    told.extend(
        expect.not_contains.iter().filter(|part| has(part)).map(|part| (format!("not_contains {part:?}"), said())),
    );
    if let Some(equal) = expect.equals.as_ref().filter(|equal| **equal != texts) {
        told.push((format!("equals {:?}", equal.join("\n")), said()));
    }
    let unmatched = expect.matches.iter().filter(|pattern| !texts.iter().any(|text| pattern.is_match(text)));
    told.extend(unmatched.map(|pattern| (format!("matches {:?}", pattern.as_str()), said())));
    let costs = played.messages.iter().filter_map(|message| message.segmentation());
    let most = costs.map(|cost| u64::from(cost.segments.unsigned_abs())).max().unwrap_or_default();
    if let Some(limit) = expect.max_segments.filter(|limit| most > *limit) {
        told.push((format!("max_segments {limit}"), format!("{most} segments: {}", said())));
    }
    if let Some(hangup) = expect.hangup.filter(|hangup| *hangup != played.hangup) {
        told.push((format!("hangup {hangup}"), format!("hangup {}", played.hangup)));
    }
    told.extend(tool_differences(expect, played));
    told.extend(state_differences(expect, played));
    told
}

fn tool_differences(expect: &Expect, played: &Played) -> Vec<(String, String)> {
    let calls = || {
        let deeds: Vec<String> =
            played.calls.iter().map(|call| format!("{}({})", call.name, show::short(&call.args))).collect();
        if deeds.is_empty() { "no tool call".to_owned() } else { deeds.join(", ") }
    };
    let was_made = |expected: &ExpectedCall| {
        let fits = |args: &Value| expected.args.iter().all(|(name, value)| args.get(name) == Some(value));
        played.calls.iter().any(|call| call.name == expected.name && fits(&call.args))
    };
    let missing = expect.tools.iter().filter(|call| !was_made(call));
    let mut told: Vec<(String, String)> = missing
        .map(|call| (format!("tool {}({})", call.name, show::short(&Value::Object(call.args.clone()))), calls()))
        .collect();
    if let Some(names) = &expect.no_tool {
        let is_refused = |name: &String| names.is_empty() || names.contains(name);
        if played.calls.iter().any(|call| is_refused(&call.name)) {
            let of = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
            told.push((format!("no_tool{of}"), calls()));
        }
    }
    told
}

fn state_differences(expect: &Expect, played: &Played) -> Vec<(String, String)> {
    let [_, after] = &played.states;
    let differs = |(name, value): (&String, &Value)| {
        let found = after.get(name).unwrap_or(&Value::Null);
        (found != value).then(|| (format!("state.{name} = {}", show::short(value)), show::short(found)))
    };
    expect.state.iter().filter_map(differs).collect()
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, name, runs, failures } = self;
        let times = if *runs > 1 { format!(" ({runs} runs)") } else { String::new() };
        if failures.is_empty() {
            return write!(f, "ok    {name}{times}");
        }
        write!(f, "FAIL  {name}{times}")?;
        for Failure { run, turn, line, user, expected, got } in failures {
            let of_run = if *runs > 1 { format!(" of run {run}") } else { String::new() };
            write!(f, "\n      {file}:{line}: turn {turn}{of_run}, after {:?}", user.join("\n"))?;
            write!(f, "\n        expected: {expected}\n        got:      {got}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::player::ShownCall;
    use super::*;
    use crate::domain::channel::Capabilities;

    fn played(texts: &[&str]) -> Played {
        let segments = Capabilities { segments: true, ..Capabilities::NONE };
        let message = |text: &&str| segments.outbound((*text).to_owned(), false);
        let call = ShownCall { name: "book".to_owned(), args: json!({"day": "monday", "n": 1}), result: Ok(json!(1)) };
        let after = json!({"name": "Ada"}).as_object().cloned().unwrap_or_default();
        Played {
            messages: texts.iter().map(message).collect(),
            calls: vec![call],
            states: [Default::default(), after],
            ..Played::default()
        }
    }

    #[test]
    fn each_expectation_that_does_not_hold_is_told_with_what_came() {
        let long = "x".repeat(161);
        for (expect, texts, told) in [
            ("{contains: Hi, not_contains: Bye, equals: Hi Ada, matches: '^Hi', hangup: false}", "Hi Ada", None),
            ("{tool: {name: book, args: {day: monday}}, state: {name: Ada, gone: null}}", "Hi", None),
            ("{no_tool: cancel, max_segments: 1}", "Hi", None),
            ("{contains: Bye}", "Hi", Some(("contains \"Bye\"", "\"Hi\""))),
            ("{not_contains: i}", "Hi", Some(("not_contains \"i\"", "\"Hi\""))),
            ("{equals: [Hi, there]}", "Hi", Some(("equals \"Hi\\nthere\"", "\"Hi\""))),
            ("{matches: '\\d'}", "Hi", Some(("matches", "\"Hi\""))),
            ("{max_segments: 1}", long.as_str(), Some(("max_segments 1", "2 segments"))),
            ("{hangup: true}", "Hi", Some(("hangup true", "hangup false"))),
            ("{tool: cancel}", "Hi", Some(("tool cancel", "book("))),
            ("{tool: {name: book, args: {day: friday}}}", "Hi", Some(("friday", "monday"))),
            ("{no_tool: true}", "Hi", Some(("no_tool", "book("))),
            ("{no_tool: [book]}", "Hi", Some(("no_tool book", "book("))),
            ("{state: {name: Ben}}", "Hi", Some(("state.name = \"Ben\"", "\"Ada\""))),
        ] {
            let text = format!("name: a\nturns: [{{user: x, expect: {expect}}}]\n");
            let file = std::env::temp_dir().join(format!("textback-expect-{}.yaml", std::process::id()));
            std::fs::write(&file, text).expect("written");
            let scenarios = scenario::read_all(&file).expect("read");
            std::fs::remove_file(&file).expect("removed");
            let found = differences(&scenarios[0].turns[0].expect, &played(&[texts]));
            match told {
                None => assert!(found.is_empty(), "{expect}: {found:?}"),
                Some((expected, got)) => {
                    assert!(
                        found.len() == 1 && found[0].0.contains(expected) && found[0].1.contains(got),
                        "{expect}: {found:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_agent_that_failed_has_no_answer() {
        let failed = Played { error: Some("line 3: oh".to_owned()), ..Played::default() };
        let told = differences(&Expect::default(), &failed);
        assert_eq!(told, [("an answer".to_owned(), "the agent failed: line 3: oh".to_owned())]);
    }
}
