//! Another carrier than Twilio, behind the same trait: messages come in, are answered, reported,
//! found and backfilled.

use reqwest::Method;
use serde_json::{Value, json};
use textback::carriers::Carriers;

use crate::harness::{ADA, ECHO, NUMBER, TestApp};
use crate::memory_carrier::{Fate, MemoryCarrier};

/// An app whose number is at the carrier in memory.
async fn app() -> (TestApp, MemoryCarrier) {
    let carrier = MemoryCarrier::default();
    let app = TestApp::with_carriers(|_| Carriers::new(std::sync::Arc::new(carrier.clone()))).await;
    app.attach(ECHO, json!({"first_message": "process"})).await;
    (app, carrier)
}

impl TestApp {
    /// A person texts, the carrier calls the webhook that was set on the number, and everything
    /// happens.
    async fn text_at(&self, carrier: &MemoryCarrier, body: &str) {
        let arrival = carrier.receive(ADA, NUMBER, body);
        let answer = carrier.post(&carrier.webhooks().messages, &arrival).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({"thanks": true}));
        self.run_jobs().await;
    }
}

#[tokio::test]
async fn a_message_is_answered_at_another_carrier_and_its_report_moves_the_delivery() {
    let (app, carrier) = app().await;
    app.text_at(&carrier, "hi").await;
    assert_eq!(carrier.said_to(ADA), ["1: hi"]);
    assert_eq!(app.statuses().await, ["accepted"]);
    let reply = carrier.sent().remove(0);
    for (phase, status) in [("on its way", "sent"), ("arrived", "delivered"), ("on its way", "delivered")] {
        let report = json!({"ticket": reply.id, "phase": phase});
        assert_eq!(carrier.post(&reply.status_url, &report).await.status(), 200);
        assert_eq!(app.statuses().await, [status], "{phase}");
    }
    // The same arrival once more, as by a carrier that did not hear our answer.
    let again = json!({"ticket": "in1", "sender": ADA, "recipient": NUMBER, "words": "hi"});
    assert_eq!(carrier.post(&carrier.webhooks().fallback, &again).await.status(), 200);
    app.run_jobs().await;
    assert_eq!(carrier.said_to(ADA), ["1: hi"]);
    let number = app.ok(Method::GET, "/v1/numbers", None).await["items"][0].clone();
    assert_eq!((&number["webhook"], &number["carrier_id"]), (&json!("ok"), &json!("line14155550199")));
}

#[tokio::test]
async fn keywords_that_a_carrier_does_not_act_on_are_answered_by_textback() {
    let (app, carrier) = app().await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"opt_out_message": "Stopped.", "opt_in_message": "Back."}))).await;
    for (body, expected) in [("STOP", "Stopped."), ("hi", "Stopped."), ("START", "Back."), ("hi", "1: hi")] {
        app.text_at(&carrier, body).await;
        assert_eq!(carrier.said_to(ADA).pop().as_deref(), Some(expected), "{body}");
    }
}

#[tokio::test]
async fn only_the_carriers_stamp_opens_its_webhook() {
    let (app, carrier) = app().await;
    let url = carrier.webhooks().messages;
    let arrival = carrier.receive(ADA, NUMBER, "hi");
    let unstamped = app.http.post(&url).body(arrival.to_string()).send().await.expect("an answer");
    assert_eq!(unstamped.status(), 403);
    let broken = app.http.post(&url).header("memory-stamp", "0").body(arrival.to_string());
    assert_eq!(broken.send().await.expect("an answer").status(), 403);
    app.run_jobs().await;
    assert!(carrier.sent().is_empty());
}

#[tokio::test]
async fn a_refusal_of_another_carrier_has_our_class() {
    let (app, carrier) = app().await;
    carrier.plan(Fate::Refuse("nobody-there"));
    app.text_at(&carrier, "hi").await;
    assert_eq!(app.count("select count(*) from delivery where error_class = 'permanent_recipient'").await, 1);
    carrier.plan(Fate::Refuse("left-us-alone-please"));
    app.text_at(&carrier, "hello").await;
    assert_eq!(app.count("select count(*) from consent where kind = 'opted_out' and source = 'carrier'").await, 1);
}

/// The carrier may have sent such a message, so it is not sent again.
#[tokio::test]
async fn a_message_with_an_id_that_cannot_be_its_own_is_sent_once_and_failed() {
    let (app, carrier) = app().await;
    app.text_at(&carrier, "hi").await;
    let known = carrier.sent().remove(0).id;
    assert_eq!(known, "out2");
    for (text, id) in [("again", "out2"), ("nothing", "\0"), ("once more", "out2")] {
        carrier.plan(Fate::AcceptAs(id));
        app.text_at(&carrier, text).await;
        app.sql("update delivery set due_at = now() where due_at is not null").await;
        app.run_jobs().await;
    }
    assert_eq!(carrier.sent().len(), 4);
    let failed = "select count(*) from delivery where status = 'failed' and error_class = 'ambiguous' and error_detail like '%can''t be its own%'";
    assert_eq!((app.count(failed).await, app.count("select count(*) from delivery").await), (3, 4));
}

#[tokio::test]
async fn an_unsure_sending_is_found_in_the_carriers_list_and_a_missed_message_too() {
    let (app, carrier) = app().await;
    carrier.plan(Fate::LoseAnswer);
    app.text_at(&carrier, "hi").await;
    assert_eq!(app.statuses().await, ["unknown"]);
    app.later(5).await;
    assert_eq!(app.statuses().await, ["accepted"]);
    carrier.receive(ADA, NUMBER, "missed");
    app.backfill().await;
    assert_eq!(carrier.said_to(ADA), ["1: hi", "2: missed"]);
}
