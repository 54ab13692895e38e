//! Tests the backfill of inbound messages whose webhook never came.

use reqwest::Method;
use serde_json::json;

use crate::harness::{ADA, ECHO, NUMBER, TestApp, bodies};

impl TestApp {
    /// Lets the carrier's list be read now.
    pub(crate) async fn backfill(&self) {
        self.sql("update number set backfill_at = now() where backfill_at is not null").await;
        assert_eq!(self.workers.backfill.step().await.expect("numbers"), 1);
        self.run_jobs().await;
    }
}

#[tokio::test]
async fn missed_messages_are_backfilled_in_order_and_answered_once() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    // The carrier's clock counts whole seconds: these come in the second after the number was
    // attached.
    app.sql("update number set attached_at = attached_at - interval '2 seconds'").await;
    app.answers(ADA, "heard").await;
    app.simulator.lose_webhooks(true);
    for text in ["missed one", "missed two"] {
        assert!(app.simulator.say(ADA, NUMBER, text).await.error.is_some());
    }
    app.simulator.lose_webhooks(false);
    for _ in 0..2 {
        app.backfill().await;
        assert_eq!(app.simulator.received(ADA, NUMBER), ["1: heard", "2: missed one\nmissed two"]);
    }
    let session = app.sessions().await.remove(0);
    assert_eq!(bodies(&app.messages(&session).await, "inbound"), ["heard", "missed one", "missed two"]);
}

#[tokio::test]
async fn a_missed_picture_is_backfilled_with_its_url() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.sql("update number set attached_at = attached_at - interval '2 seconds'").await;
    app.simulator.lose_webhooks(true);
    let picture = "https://pictures.example/cat.jpg";
    let text = json!({"from": ADA, "to": NUMBER, "body": "look", "media_urls": [picture]});
    let texted = app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    app.simulator.lose_webhooks(false);
    app.backfill().await;
    let session = app.sessions().await.remove(0);
    let message = &app.messages(&session).await[0];
    let medium = &message["media"][0];
    assert_eq!((&message["body"], &medium["content_type"]), (&json!("look"), &json!("image/jpeg")));
    let address = medium["url"].as_str().expect("an address");
    assert!(address.contains(&format!("/Messages/{}/Media/ME", texted.sid)), "{address}");
    let asking = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let answer = asking.get(address).send().await.expect("an answer");
    assert_eq!(answer.headers()["location"], picture);
}

#[tokio::test]
async fn what_came_before_the_number_was_attached_is_not_ours() {
    let app = TestApp::new().await;
    assert!(app.simulator.say(ADA, NUMBER, "long ago").await.error.is_some(), "the number has no webhook yet");
    app.attach(ECHO, json!({"first_message": "process"})).await;
    // It came a minute before, by the carrier's clock, which counts whole seconds.
    app.sql("update number set attached_at = attached_at + interval '1 minute'").await;
    app.backfill().await;
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    assert_eq!(app.ok(Method::GET, "/v1/sessions", None).await["items"], json!([]));
}

#[tokio::test]
async fn a_number_is_backfilled_only_at_its_interval() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.workers.backfill.step().await.expect("numbers"), 1, "at once when it is attached");
    assert_eq!(app.workers.backfill.step().await.expect("numbers"), 0, "then after five minutes");
}

#[tokio::test]
async fn a_picture_that_cannot_be_listed_holds_up_no_other_text() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.sql("update number set attached_at = attached_at - interval '5 seconds', backfilled_until = backfilled_until - interval '5 seconds'").await;
    app.simulator.lose_webhooks(true);
    let text = json!({"from": ADA, "to": NUMBER, "body": "look", "media_urls": ["https://pictures.example/cat.jpg"]});
    app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    app.simulator.say("+14155550102", NUMBER, "hi").await;
    app.simulator.lose_webhooks(false);
    app.simulator.refuse_media(Some(503));
    app.backfill().await;
    assert_eq!(app.simulator.received("+14155550102", NUMBER), ["1: hi"]);
    assert!(app.simulator.received(ADA, NUMBER).is_empty(), "it is tried again");
    // Then the carrier has deleted it: the words are answered all the same.
    app.simulator.refuse_media(Some(404));
    app.backfill().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: look"]);
}
