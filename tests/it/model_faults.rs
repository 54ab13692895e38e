//! Kills a process at each step of the turns of a language model that calls tools. Each text must
//! be answered once, and each tool must take effect once.
//!
//! `make test` runs one seed, `make chaos` more (TEXTBACK_FAILPOINT_SEEDS).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use textback::failpoint::{MODEL_POINTS, POINTS};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::harness::NUMBER;
use crate::llm_agents::{calls, says};
use crate::process_harness::{ExpectedReplies, ProcessHarness, Rng, setting};

/// Whom the tool texts at each call.
const DESK: &str = "+14155569999";

const TOOLS: &str = r#"
def note(conv, what: str):
    """Notes what the person wants.

    Args:
        what: What it is.
    """
    conv.state["notes"] = conv.state.get("notes", 0) + 1
    conv.send_sms("+14155569999", None, "noted " + conv.call_id)
    return "|".join(conv.messages)
"#;

/// A model that calls the tool twice, one time after the other, and then says what the tool said.
struct Notes;

impl Respond for Notes {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let messages = body["messages"].as_array().expect("messages");
        let results: Vec<&Value> = messages.iter().rev().take_while(|message| message["role"] != "user").collect();
        let results: Vec<_> = results.iter().filter(|message| message["role"] == "tool").collect();
        match results.as_slice() {
            [] => calls(&[("note", json!({"what": "first"}))]),
            [_] => calls(&[("note", json!({"what": "second"}))]),
            [newest, ..] => says(newest["content"].as_str().expect("a text")),
        }
    }
}

/// Lets one process with workers die at one point, and starts it again.
async fn die_at(harness: &mut ProcessHarness, point: &'static str, rng: &mut Rng) {
    let micros = [0, 200, 500, 900][usize::try_from(rng.below(4)).expect("small")];
    let failpoint = format!("{point}:{}:{micros}", 1 + rng.below(4));
    harness.work.truncate(1);
    let dying = harness.start_work(&[("TEXTBACK_FAILPOINT", failpoint.as_str())]);
    assert!(dying.aborts_within(Duration::from_secs(30)).await, "{failpoint} was not reached");
    harness.work.push(harness.start_work(&[]));
}

async fn run(seed: u64) {
    println!("model faults seed {seed} begins");
    let mut rng = Rng::of(seed);
    let model = MockServer::start().await;
    Mock::given(path("/v1/chat/completions")).respond_with(Notes).mount(&model).await;
    let mut harness = ProcessHarness::start(&format!("model-faults-{seed}")).await;
    harness.variables.push(("TEXTBACK_ALLOW_HOSTS", "127.0.0.0/8".to_owned()));
    let llm =
        json!({"base_url": format!("{}/v1", model.uri()), "model": "small", "prompt": "You note.", "tools": ["note"]});
    let agent = json!({"name": "notes", "kind": "llm", "source": TOOLS, "llm": llm, "first_message": "process",
                       "markdown": "keep", "error_message": ""});
    harness.open(2, agent).await;
    let mut told = harness.phones(6, 10_000, Duration::from_millis(150));
    let of_turns = POINTS.iter().copied().filter(|point| point.starts_with("turn."));
    let mut points: Vec<&str> = MODEL_POINTS.iter().copied().chain(of_turns).collect();
    let count = points.len();
    while !points.is_empty() {
        let next = usize::try_from(rng.below(points.len() as u64)).expect("small");
        die_at(&mut harness, points.swap_remove(next), &mut rng).await;
    }
    told.close();
    let mut expected_replies = ExpectedReplies::default();
    while let Some(texted) = told.recv().await {
        expected_replies.note(texted);
    }
    let verdict = expected_replies.verdict(&harness).await;

    let storage = harness.storage();
    let number =
        async |sql: &'static str| -> i64 { sqlx::query_scalar(sql).fetch_one(storage.pool()).await.expect("a count") };
    let turns = number("select count(distinct turn_id) from tool_call").await;
    let notes = number("select coalesce(sum((state ->> 'notes')::bigint), 0)::bigint from session").await;
    let calls = number("select count(*) from tool_call").await;
    let repeated = number("select count(*) from model_request where attempt > 1").await;
    storage.close().await;
    let texts = harness.simulator.received(DESK, NUMBER);
    let different: BTreeSet<&String> = texts.iter().collect();
    println!(
        "model faults seed {seed}: died at {count} points; {verdict}; {turns} turns, {calls} calls, {} texts to the desk, {repeated} requests of later attempts",
        texts.len()
    );
    verdict.must_be_clean(&format!("seed {seed}"));
    assert_eq!((calls, notes), (2 * turns, 2 * turns), "each turn has two calls, and each counted once");
    assert_eq!(
        (texts.len(), different.len()),
        (usize::try_from(calls).expect("a count"), texts.len()),
        "each call texted once"
    );
    assert!(repeated > 0, "no attempt went on after a crash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_in_a_turn_of_a_model_repeats_no_tool_and_no_answer() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    for seed in first..first + setting("TEXTBACK_FAILPOINT_SEEDS", 1) {
        run(seed).await;
    }
}
