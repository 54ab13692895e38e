//! A carrier that hangs, storms and stumbles, and a text that kills its worker: through real processes, one fault a story.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use twilio_simulator::{Account, Fault};

use crate::harness::{ADA, AUTH_TOKEN, NUMBER, id};
use crate::stage::{Stage, Tally, Texted};

/// Texts by a phone, noted for the verdict.
async fn say(stage: &Stage, tally: &mut Tally, phone: &str, body: &str) {
    let texted = stage.simulator.say(phone, NUMBER, body).await;
    let acknowledged = texted.webhook_status == Some(200);
    tally.note(Texted { from: phone.to_owned(), body: body.to_owned(), acknowledged });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_takes_a_text_and_hangs_gets_it_once() {
    for reports in [true, false] {
        let mut stage = Stage::set(&format!("hang-{reports}")).await;
        stage.open(2, Stage::echo()).await;
        stage.simulator.report_statuses(reports);
        // Longer than a call may take under a lease of three seconds.
        stage.simulator.plan_faults([Fault::AcceptThenHang(6_000)]);
        let mut tally = Tally::default();
        say(&stage, &mut tally, ADA, "hi").await;
        say(&stage, &mut tally, ADA, "and this").await;
        let verdict = tally.verdict(&stage).await;
        println!("accept, then hang, {}: {verdict}", if reports { "with reports" } else { "and no report" });
        verdict.must_be_clean("accept, then hang");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_too_many_requests_delays_texts_and_loses_none() {
    let mut stage = Stage::set("storm-429").await;
    stage.open(2, Stage::echo()).await;
    stage.simulator.plan_faults([Fault::TooManyRequests; 9]);
    let mut tally = Tally::default();
    for n in 0..20 {
        say(&stage, &mut tally, &format!("+14155551{n:03}"), &format!("text {n}")).await;
    }
    let verdict = tally.verdict(&stage).await;
    println!("9 times too many requests in a row: {verdict}");
    assert_eq!(verdict.acknowledged, 20);
    verdict.must_be_clean("too many requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_calls_hang_slows_nobody_elses() {
    let mut stage = Stage::set("neighbours").await;
    stage.variables.push(("TEXTBACK_DELIVERY_SLOTS", "4".to_owned()));
    // So long a lease that what hangs, hangs through the whole story.
    stage.variables.push(("TEXTBACK_LEASE_SECONDS", "60".to_owned()));
    stage.open(1, Stage::echo()).await;
    let (sid, number) = ("ACffffffffffffffffffffffffffffffff", "+14155550188");
    stage.simulator.add_account(Account::new(sid, AUTH_TOKEN));
    stage.simulator.add_number(sid, number);
    let storage = stage.storage();
    stage.key = crate::harness::create_project(&storage, "neighbour").await.expect("a project").1;
    storage.close().await;
    stage.ask(Method::PUT, "carrier", json!({"account_sid": sid, "auth_token": AUTH_TOKEN})).await;
    let agent = stage.ask(Method::POST, "agents", Stage::echo()).await;
    stage.ask(Method::POST, "numbers", json!({"number": number, "agent_id": id(&agent["id"])})).await;

    stage.simulator.plan_faults([Fault::AcceptThenHang(14_000); 6]);
    for n in 0..6 {
        stage.simulator.say(&format!("+14155552{n:03}"), NUMBER, "hangs").await;
    }
    // All that the hanging account may hold is on its way.
    while stage.simulator.faults_left() > 3 {
        tokio::task::yield_now().await;
    }
    stage.simulator.clear_faults();
    let began = Instant::now();
    for n in 1..=5 {
        stage.simulator.say(ADA, number, &format!("quick {n}")).await;
        stage.simulator.until_received(ADA, number, n).await;
    }
    println!("five texts beside an account that hangs: answered within {:.2} s", began.elapsed().as_secs_f64());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_kills_every_worker_is_set_aside_and_the_session_goes_on() {
    let mut stage = Stage::set("killer").await;
    stage.open(0, Stage::echo()).await;
    assert_eq!(stage.simulator.say(ADA, NUMBER, "poison").await.webhook_status, Some(200));
    for n in 1..=8 {
        let dying = stage.start_work(&[("TEXTBACK_FAILPOINT", "turn.in_agent:1:0")]);
        assert!(dying.aborts_within(Duration::from_secs(20)).await, "worker {n} lives");
        // Time passes: its lease is over.
        stage.sql("update turn set leased_until = now() - interval '1 second'").await;
    }
    stage.work.push(stage.start_work(&[]));
    let until = Instant::now() + Duration::from_secs(20);
    let messages = loop {
        let sessions = stage.ask(Method::GET, "sessions", Value::Null).await;
        let session = sessions["items"][0]["id"].as_str().expect("an id").to_owned();
        let messages = stage.ask(Method::GET, &format!("sessions/{session}/messages"), Value::Null).await;
        if messages["items"][0]["status"] != "waiting" {
            break messages;
        }
        assert!(Instant::now() < until, "{messages}");
    };
    let poison = &messages["items"][0];
    assert_eq!((&poison["status"], &poison["reason"]), (&json!("skipped"), &json!("worker_lost")));
    assert_eq!(stage.simulator.say(ADA, NUMBER, "harmless").await.webhook_status, Some(200));
    assert_eq!(stage.simulator.until_received(ADA, NUMBER, 1).await, ["harmless"], "the session goes on");
}
