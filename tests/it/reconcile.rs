//! Tests unknown deliveries: each message arrives exactly once, whatever the carrier answers.

use serde_json::json;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::delivery;
use twilio_simulator::Fault;

use crate::harness::{ADA, ECHO, NUMBER, TestApp};

/// An app whose carrier reports nothing, so that only its list of messages tells.
async fn silent_app() -> TestApp {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.simulator.report_statuses(false);
    app
}

impl TestApp {
    /// Lets the database's clock be so many seconds later for everything that is under way.
    pub(crate) async fn later(&self, seconds: i32) {
        sqlx::query("update delivery set due_at = due_at - make_interval(secs => $1), attempted_at = attempted_at - make_interval(secs => $1)")
            .bind(f64::from(seconds))
            .execute(self.storage.pool())
            .await
            .expect("moved");
        self.run_jobs().await;
    }

    pub(crate) async fn statuses(&self) -> Vec<String> {
        sqlx::query_scalar("select status from delivery order by seq")
            .fetch_all(self.storage.pool())
            .await
            .expect("statuses")
    }
}

#[tokio::test]
async fn a_text_that_was_taken_under_an_error_is_found_and_not_sent_again() {
    for fault in [Fault::AcceptThen500, Fault::AcceptThenGarbage] {
        let app = silent_app().await;
        app.simulator.plan_faults([fault]);
        assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
        assert_eq!(app.statuses().await, ["unknown"], "{fault:?}");
        app.later(5).await;
        assert_eq!(app.statuses().await, ["accepted"]);
        app.later(500).await;
        assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
    }
}

#[tokio::test]
async fn a_text_that_was_not_taken_is_sent_again_once_that_is_certain() {
    let app = silent_app().await;
    app.simulator.plan_faults([Fault::Fail500]);
    app.answers(ADA, "hi").await;
    app.later(5).await;
    app.later(60).await;
    assert_eq!(app.statuses().await, ["unknown"], "it might still show up");
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    app.later(60).await;
    assert_eq!(app.statuses().await, ["accepted"]);
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn a_worker_that_died_in_the_middle_of_a_call_leaves_one_text_either_way() {
    for taken in [true, false] {
        let app = silent_app().await;
        app.text(ADA, "hi").await;
        while app.workers.turns.step().await.expect("turns") > 0 {}
        let claim = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
        if taken {
            let url = format!(
                "http://{}/2010-04-01/Accounts/{}/Messages.json",
                app.simulator_address,
                crate::harness::ACCOUNT_SID
            );
            let form = [("From", claim.from.as_str()), ("To", &claim.to), ("Body", &claim.body)];
            let request = app
                .http
                .post(url)
                .basic_auth(crate::harness::ACCOUNT_SID, Some(crate::harness::AUTH_TOKEN))
                .form(&form);
            assert_eq!(request.send().await.expect("an answer").status(), 201);
        }
        app.sql("update delivery set leased_until = now() - interval '1 second'").await;
        app.run_jobs().await;
        app.later(200).await;
        assert_eq!(app.statuses().await, ["accepted"], "taken: {taken}");
        assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"], "taken: {taken}");
    }
}

#[tokio::test]
async fn texts_that_are_alike_are_not_taken_for_each_other() {
    let script = "def reply(conv, text): return \"ok\"";
    let app = TestApp::with_agent(script, json!({"first_message": "process"})).await;
    app.simulator.report_statuses(false);
    app.answers(ADA, "one").await;
    app.simulator.plan_faults([Fault::Fail500]);
    app.answers(ADA, "two").await;
    assert_eq!(app.statuses().await, ["accepted", "unknown"]);
    app.later(5).await;
    assert_eq!(app.statuses().await, ["accepted", "unknown"], "the first one's message is the first one's");
    app.later(200).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["ok", "ok"]);
}

#[tokio::test]
async fn what_follows_an_unsure_text_waits_for_it() {
    let app = silent_app().await;
    app.simulator.plan_faults([Fault::Fail500]);
    app.answers(ADA, "one").await;
    app.answers(ADA, "two").await;
    assert_eq!(app.statuses().await, ["unknown", "planned"]);
    app.later(200).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one", "2: two"]);
}

#[tokio::test]
async fn a_storm_of_refusals_ends_with_each_text_once() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let storm = [
        Fault::TooManyRequests,
        Fault::AcceptThen500,
        Fault::Fail500,
        Fault::TooManyRequests,
        Fault::AcceptThenGarbage,
        Fault::Fail500,
    ];
    app.simulator.plan_faults(storm);
    let phones: Vec<String> = (0..8).map(|n| format!("+1415555020{n}")).collect();
    for phone in &phones {
        app.text(phone, "hi").await;
    }
    app.run_jobs().await;
    for _ in 0..4 {
        app.later(200).await;
    }
    for phone in &phones {
        assert_eq!(app.simulator.received(phone, NUMBER), ["1: hi"], "{phone}");
    }
    assert_eq!(app.count("select count(*) from delivery where status <> 'delivered'").await, 0);
}

#[tokio::test]
async fn a_text_that_the_carrier_stumbles_over_each_time_is_given_up_and_the_next_one_leaves() {
    let app = silent_app().await;
    app.simulator.plan_faults([Fault::Fail500; 4]);
    app.answers(ADA, "poison").await;
    app.text(ADA, "harmless").await;
    for _ in 0..4 {
        app.later(500).await;
    }
    assert_eq!(app.statuses().await, ["failed", "accepted"]);
    assert_eq!(app.simulator.received(ADA, NUMBER), ["2: harmless"]);
}
