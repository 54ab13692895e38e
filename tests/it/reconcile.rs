//! An unsure carrier: each text arrives exactly once, whatever the carrier says to us about it.

use serde_json::json;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::delivery;
use twilio_simulator::Fault;

use crate::harness::{ADA, ECHO, NUMBER, World};

/// A world whose carrier reports nothing, so that only its list of messages tells.
async fn silent_world() -> World {
    let world = World::with_agent(ECHO, json!({"first_message": "process"})).await;
    world.simulator.report_statuses(false);
    world
}

impl World {
    /// Lets the database's clock be so many seconds later for everything that is under way.
    async fn later(&self, seconds: i32) {
        sqlx::query("update delivery set due_at = due_at - make_interval(secs => $1), attempted_at = attempted_at - make_interval(secs => $1)")
            .bind(f64::from(seconds))
            .execute(self.storage.pool())
            .await
            .expect("moved");
        self.settle().await;
    }

    async fn statuses(&self) -> Vec<String> {
        sqlx::query_scalar("select status from delivery order by seq")
            .fetch_all(self.storage.pool())
            .await
            .expect("statuses")
    }
}

#[tokio::test]
async fn a_text_that_was_taken_under_an_error_is_found_and_not_sent_again() {
    for fault in [Fault::AcceptThen500, Fault::AcceptThenGarbage] {
        let world = silent_world().await;
        world.simulator.plan_faults([fault]);
        assert_eq!(world.answers(ADA, "hi").await, ["1: hi"]);
        assert_eq!(world.statuses().await, ["unknown"], "{fault:?}");
        world.later(5).await;
        assert_eq!(world.statuses().await, ["accepted"]);
        world.later(500).await;
        assert_eq!(world.simulator.received(ADA, NUMBER), ["1: hi"]);
    }
}

#[tokio::test]
async fn a_text_that_was_not_taken_is_sent_again_once_that_is_certain() {
    let world = silent_world().await;
    world.simulator.plan_faults([Fault::Fail500]);
    world.answers(ADA, "hi").await;
    world.later(5).await;
    world.later(60).await;
    assert_eq!(world.statuses().await, ["unknown"], "it might still show up");
    assert!(world.simulator.received(ADA, NUMBER).is_empty());
    world.later(60).await;
    assert_eq!(world.statuses().await, ["accepted"]);
    assert_eq!(world.simulator.received(ADA, NUMBER), ["1: hi"]);
}

#[tokio::test]
async fn a_worker_that_died_in_the_middle_of_a_call_leaves_one_text_either_way() {
    for taken in [true, false] {
        let world = silent_world().await;
        world.text(ADA, "hi").await;
        while world.workers.turns.step().await.expect("turns") > 0 {}
        let claim = delivery::claim(&world.storage, ClaimLimits::of(10), 30).await.expect("claims").remove(0);
        if taken {
            let url = format!(
                "http://{}/2010-04-01/Accounts/{}/Messages.json",
                world.simulator_address,
                crate::harness::ACCOUNT_SID
            );
            let form = [("From", claim.from.as_str()), ("To", &claim.to), ("Body", &claim.body)];
            let request = world
                .http
                .post(url)
                .basic_auth(crate::harness::ACCOUNT_SID, Some(crate::harness::AUTH_TOKEN))
                .form(&form);
            assert_eq!(request.send().await.expect("an answer").status(), 201);
        }
        world.sql("update delivery set leased_until = now() - interval '1 second'").await;
        world.settle().await;
        world.later(200).await;
        assert_eq!(world.statuses().await, ["accepted"], "taken: {taken}");
        assert_eq!(world.simulator.received(ADA, NUMBER), ["1: hi"], "taken: {taken}");
    }
}

#[tokio::test]
async fn texts_that_are_alike_are_not_taken_for_each_other() {
    let script = "def reply(conv, text): return \"ok\"";
    let world = World::with_agent(script, json!({"first_message": "process"})).await;
    world.simulator.report_statuses(false);
    world.answers(ADA, "one").await;
    world.simulator.plan_faults([Fault::Fail500]);
    world.answers(ADA, "two").await;
    assert_eq!(world.statuses().await, ["accepted", "unknown"]);
    world.later(5).await;
    assert_eq!(world.statuses().await, ["accepted", "unknown"], "the first one's message is the first one's");
    world.later(200).await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["ok", "ok"]);
}

#[tokio::test]
async fn what_follows_an_unsure_text_waits_for_it() {
    let world = silent_world().await;
    world.simulator.plan_faults([Fault::Fail500]);
    world.answers(ADA, "one").await;
    world.answers(ADA, "two").await;
    assert_eq!(world.statuses().await, ["unknown", "planned"]);
    world.later(200).await;
    assert_eq!(world.simulator.received(ADA, NUMBER), ["1: one", "2: two"]);
}

#[tokio::test]
async fn a_storm_of_refusals_ends_with_each_text_once() {
    let world = World::with_agent(ECHO, json!({"first_message": "process"})).await;
    let storm = [
        Fault::TooManyRequests,
        Fault::AcceptThen500,
        Fault::Fail500,
        Fault::TooManyRequests,
        Fault::AcceptThenGarbage,
        Fault::Fail500,
    ];
    world.simulator.plan_faults(storm);
    let phones: Vec<String> = (0..8).map(|n| format!("+1415555020{n}")).collect();
    for phone in &phones {
        world.text(phone, "hi").await;
    }
    world.settle().await;
    for _ in 0..4 {
        world.later(200).await;
    }
    for phone in &phones {
        assert_eq!(world.simulator.received(phone, NUMBER), ["1: hi"], "{phone}");
    }
    assert_eq!(world.count("select count(*) from delivery where status <> 'delivered'").await, 0);
}

#[tokio::test]
async fn a_text_that_the_carrier_stumbles_over_each_time_is_given_up_and_the_next_one_leaves() {
    let world = silent_world().await;
    world.simulator.plan_faults([Fault::Fail500; 4]);
    world.answers(ADA, "poison").await;
    world.text(ADA, "harmless").await;
    for _ in 0..4 {
        world.later(500).await;
    }
    assert_eq!(world.statuses().await, ["failed", "accepted"]);
    assert_eq!(world.simulator.received(ADA, NUMBER), ["2: harmless"]);
}
