//! Tests faults of the carrier and messages that kill their worker, with real processes.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use twilio_simulator::{Account, Fault};

use crate::harness::{ADA, AUTH_TOKEN, NUMBER, id};
use crate::process_harness::{ExpectedReplies, ProcessHarness, Texted};

/// Texts by a phone, noted for the verdict.
async fn say(harness: &ProcessHarness, expected_replies: &mut ExpectedReplies, phone: &str, body: &str) {
    let texted = harness.simulator.say(phone, NUMBER, body).await;
    let acknowledged = texted.webhook_status == Some(200);
    expected_replies.note(Texted { from: phone.to_owned(), body: body.to_owned(), acknowledged });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_takes_a_text_and_hangs_gets_it_once() {
    for reports in [true, false] {
        let mut harness = ProcessHarness::start(&format!("hang-{reports}")).await;
        harness.open(2, ProcessHarness::echo()).await;
        harness.simulator.report_statuses(reports);
        // Longer than a call may take under a lease of three seconds.
        harness.simulator.plan_faults([Fault::AcceptThenHang(6_000)]);
        let mut expected_replies = ExpectedReplies::default();
        say(&harness, &mut expected_replies, ADA, "hi").await;
        say(&harness, &mut expected_replies, ADA, "and this").await;
        let verdict = expected_replies.verdict(&harness).await;
        println!("accept, then hang, {}: {verdict}", if reports { "with reports" } else { "and no report" });
        verdict.must_be_clean("accept, then hang");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_too_many_requests_delays_texts_and_loses_none() {
    let mut harness = ProcessHarness::start("storm-429").await;
    harness.open(2, ProcessHarness::echo()).await;
    harness.simulator.plan_faults([Fault::TooManyRequests; 9]);
    let mut expected_replies = ExpectedReplies::default();
    for n in 0..20 {
        say(&harness, &mut expected_replies, &format!("+14155551{n:03}"), &format!("text {n}")).await;
    }
    let verdict = expected_replies.verdict(&harness).await;
    println!("9 times too many requests in a row: {verdict}");
    assert_eq!(verdict.acknowledged, 20);
    verdict.must_be_clean("too many requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_calls_hang_slows_nobody_elses() {
    let mut harness = ProcessHarness::start("neighbours").await;
    harness.variables.push(("TEXTBACK_DELIVERY_SLOTS", "4".to_owned()));
    // So long a lease that what hangs, hangs through the whole test.
    harness.variables.push(("TEXTBACK_LEASE_SECONDS", "60".to_owned()));
    harness.open(1, ProcessHarness::echo()).await;
    let (sid, number) = ("ACffffffffffffffffffffffffffffffff", "+14155550188");
    harness.simulator.add_account(Account::new(sid, AUTH_TOKEN));
    harness.simulator.add_number(sid, number);
    let storage = harness.storage();
    harness.key = crate::harness::create_project(&storage, "neighbour").await.expect("a project").1;
    storage.close().await;
    harness.call(Method::PUT, "carrier", json!({"account_sid": sid, "auth_token": AUTH_TOKEN})).await;
    let agent = harness.call(Method::POST, "agents", ProcessHarness::echo()).await;
    harness.call(Method::POST, "numbers", json!({"number": number, "agent_id": id(&agent["id"])})).await;

    harness.simulator.plan_faults([Fault::AcceptThenHang(14_000); 6]);
    for n in 0..6 {
        harness.simulator.say(&format!("+14155552{n:03}"), NUMBER, "hangs").await;
    }
    // All that the hanging account may hold is on its way.
    while harness.simulator.faults_left() > 3 {
        tokio::task::yield_now().await;
    }
    harness.simulator.clear_faults();
    let began = Instant::now();
    for n in 1..=5 {
        harness.simulator.say(ADA, number, &format!("quick {n}")).await;
        harness.simulator.until_received(ADA, number, n).await;
    }
    println!("five texts beside an account that hangs: answered within {:.2} s", began.elapsed().as_secs_f64());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_kills_every_worker_is_set_aside_and_the_session_goes_on() {
    let mut harness = ProcessHarness::start("killer").await;
    harness.open(0, ProcessHarness::echo()).await;
    assert_eq!(harness.simulator.say(ADA, NUMBER, "poison").await.webhook_status, Some(200));
    for n in 1..=8 {
        let dying = harness.start_work(&[("TEXTBACK_FAILPOINT", "turn.in_agent:1:0")]);
        assert!(dying.aborts_within(Duration::from_secs(20)).await, "worker {n} lives");
        // Time passes: its lease is over.
        harness.sql("update turn set leased_until = now() - interval '1 second'").await;
    }
    harness.work.push(harness.start_work(&[]));
    let until = Instant::now() + Duration::from_secs(20);
    let messages = loop {
        let sessions = harness.call(Method::GET, "sessions", Value::Null).await;
        let session = sessions["items"][0]["id"].as_str().expect("an id").to_owned();
        let messages = harness.call(Method::GET, &format!("sessions/{session}/messages"), Value::Null).await;
        if messages["items"][0]["status"] != "waiting" {
            break messages;
        }
        assert!(Instant::now() < until, "{messages}");
    };
    let poison = &messages["items"][0];
    assert_eq!((&poison["status"], &poison["reason"]), (&json!("skipped"), &json!("worker_lost")));
    assert_eq!(harness.simulator.say(ADA, NUMBER, "harmless").await.webhook_status, Some(200));
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["harmless"], "the session goes on");
    let agents = harness.call(Method::GET, "agents", Value::Null).await;
    assert_eq!(agents["items"][0]["last_error"]["code"], "worker_lost", "{agents}");
}
