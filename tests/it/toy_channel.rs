//! Another channel than text messages, behind the same trait: it has no carrier, no deliveries, no
//! segments and no keywords.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use textback::channels::{Channel, Channels, Prepared};
use textback::domain::agent::AgentSettings;
use textback::domain::channel::Capabilities;
use textback::domain::keyword::Reading;
use textback::domain::session::Channel as Kind;
use textback::jobs::ingest::Ingest;
use textback::jobs::runtime::job::Job;
use textback::storage::ingest::{self, InboundMessage, IngestOutcome, TurnPermit};
use textback::storage::{project, session};
use uuid::Uuid;

use crate::harness::{ADA, ECHO, TestApp, pooled};

/// Shows each text as one message, in brackets.
struct Toy;

impl Channel for Toy {
    fn kind(&self) -> Kind {
        Kind::Webchat
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { streaming: true, ..Capabilities::NONE }
    }

    fn read(&self, _: &str) -> Reading {
        Reading::Text
    }

    fn prepare(&self, settings: &AgentSettings, text: String, most: usize) -> Prepared {
        match most {
            0 => Prepared { messages: Vec::new(), shortened: 0, cut: text.chars().count() },
            _ => {
                let shown = self.capabilities().outbound(format!("[{text}]"), settings.smart_encoding);
                Prepared { messages: vec![shown], shortened: 0, cut: 0 }
            }
        }
    }
}

/// What both sides said, in order.
fn said(messages: &[Value]) -> Vec<&str> {
    messages.iter().filter_map(|message| message["body"].as_str()).collect()
}

const VISITOR: &str = "visitor-1";

/// An app with an endpoint of the toy channel, that a script answers.
struct ToyApp {
    app: TestApp,
    project_id: Uuid,
    endpoint_id: Uuid,
}

impl ToyApp {
    async fn new(agent: &str, settings: Value) -> Self {
        let mut app = TestApp::new().await;
        app.workers = app.workers_on(Channels::replacing(Arc::new(Toy)));
        let agent_id = app.agent("agent", agent, settings).await;
        let found = project::find_by_name(&mut *pooled(&app.storage).await, "tests").await.expect("an answer");
        let (project_id, endpoint_id) = (found.expect("a project").id, Uuid::now_v7());
        sqlx::query("insert into endpoint (id, project_id, kind, agent_id) values ($1, $2, 'widget', $3)")
            .bind(endpoint_id)
            .bind(project_id)
            .bind(agent_id)
            .execute(app.storage.pool())
            .await
            .expect("an endpoint");
        Self { app, project_id, endpoint_id }
    }

    fn message(&self, from: &str, client_id: &str, body: &str) -> InboundMessage {
        let to = self.endpoint_id.to_string();
        InboundMessage {
            client_id: Some(client_id.to_owned()),
            endpoint_id: Some(self.endpoint_id),
            reading: Toy.read(body),
            ..InboundMessage::of(Toy.facts(), self.project_id, from.to_owned(), to, body.to_owned())
        }
    }

    async fn ingest(&self, ingest: &Ingest, message: InboundMessage) -> IngestOutcome {
        ingest.message(message, Instant::now() + Duration::from_secs(10)).await.expect("stored")
    }

    /// A visitor says something, and everything that follows happens.
    async fn say(&self, from: &str, client_id: &str, body: &str) -> IngestOutcome {
        let ingest = Ingest::new(self.app.storage.clone());
        let outcome = self.ingest(&ingest, self.message(from, client_id, body)).await;
        self.app.run_jobs().await;
        outcome
    }

    async fn newest(&self) -> (Value, Vec<Value>) {
        let session = self.app.sessions().await.remove(0);
        let messages = self.app.messages(&session).await;
        (session, messages)
    }
}

#[tokio::test]
async fn a_message_is_answered_without_a_carrier_a_delivery_and_segments() {
    let toy = ToyApp::new(ECHO, json!({"first_message": "process"})).await;
    toy.say(VISITOR, "c1", "hi").await;
    let (session, messages) = toy.newest().await;
    assert_eq!((&session["channel"], &session["contact"]), (&json!("webchat"), &json!(VISITOR)));
    assert_eq!(session["number"], Value::Null);
    assert_eq!(said(&messages), ["hi", "[1: hi]"]);
    for (message, status) in messages.iter().zip(["handled", "sent"]) {
        assert_eq!(message["status"], status);
        for absent in ["encoding", "segments", "carrier_id"] {
            assert_eq!(message[absent], Value::Null, "{absent}");
        }
        let path = format!("/v1/messages/{}", message["id"].as_str().expect("an id"));
        assert_eq!(toy.app.ok(Method::GET, &path, None).await["status"], status);
    }
    assert_eq!(toy.app.count("select count(*) from delivery").await, 0);
    assert_eq!(toy.app.count("select count(*) from message where client_id = 'c1' and direction = 'inbound'").await, 1);
    assert!(toy.app.simulator.received(VISITOR, crate::harness::NUMBER).is_empty());
    toy.say(VISITOR, "c2", "again").await;
    assert_eq!(said(&toy.newest().await.1)[2..], ["again", "[2: again]"]);
}

#[tokio::test]
async fn a_message_that_a_client_sends_twice_is_one_and_another_visitors_is_another() {
    let toy = ToyApp::new(ECHO, json!({"first_message": "process"})).await;
    let IngestOutcome::Stored { session_id, message_id, .. } = toy.say(VISITOR, "c1", "hi").await else {
        panic!("not stored");
    };
    let again = toy.say(VISITOR, "c1", "hi").await;
    assert_eq!(again, IngestOutcome::Duplicate { session_id, message_id });
    assert!(matches!(toy.say("visitor-2", "c1", "hi").await, IngestOutcome::Stored { .. }));
    assert_eq!(toy.app.count("select count(*) from message where direction = 'inbound'").await, 2);
    assert_eq!(toy.app.count("select count(*) from session").await, 2);
}

#[tokio::test]
async fn a_keyword_of_texts_is_an_ordinary_message() {
    let toy = ToyApp::new(ECHO, json!({"first_message": "process"})).await;
    for (client_id, word) in [("c1", "STOP"), ("c2", "HELP"), ("c3", "START")] {
        assert!(matches!(toy.say(VISITOR, client_id, word).await, IngestOutcome::Stored { .. }), "{word}");
    }
    let expected = ["STOP", "[1: STOP]", "HELP", "[2: HELP]", "START", "[3: START]"];
    assert_eq!(said(&toy.newest().await.1), expected);
    assert_eq!(toy.app.count("select count(*) from consent").await, 0);
    assert_eq!(toy.app.count("select count(*) from message where kind = 'keyword'").await, 0);
}

#[tokio::test]
async fn a_long_answer_is_prepared_by_its_channel() {
    let agent =
        "def reply(conv, text):\n    conv.say(\"“word” \" * 1000)\n    conv.say(\"second\")\n    return \"third\"";
    let settings =
        json!({"first_message": "process", "max_segments": 1, "smart_encoding": true, "max_messages_per_turn": 2});
    let toy = ToyApp::new(agent, settings).await;
    toy.say(VISITOR, "c1", "hi").await;
    let (_, messages) = toy.newest().await;
    assert_eq!(said(&messages)[1..], [format!("[{}]", "“word” ".repeat(1000)).as_str(), "[second]"]);
    assert_eq!(messages[2]["truncated_characters"], 5);
}

#[tokio::test]
async fn an_inactive_session_ends_without_a_warning() {
    let inactivity = json!({"warn_after_seconds": 60, "closing": "Bye"});
    let toy = ToyApp::new(ECHO, json!({"first_message": "process", "inactivity": inactivity})).await;
    toy.say(VISITOR, "c1", "hi").await;
    let (session, _) = toy.newest().await;
    let id = crate::harness::id(&session["id"]);
    assert!(session::skip(&mut *pooled(&toy.app.storage).await, toy.project_id, id, 60).await.expect("an answer"));
    toy.app.run_jobs().await;
    let (session, messages) = toy.newest().await;
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("timed_out")));
    assert_eq!(said(&messages), ["hi", "[1: hi]", "Bye"]);
    assert_eq!(toy.app.count("select count(*) from delivery").await, 0);
}

#[tokio::test]
async fn a_turn_that_is_claimed_as_it_is_stored_is_on_the_channel_too() {
    let toy = ToyApp::new(ECHO, json!({"first_message": "process"})).await;
    toy.say(VISITOR, "c1", "one").await;
    let agent_id = crate::harness::id(&toy.newest().await.0["agent_id"]);
    let permit = Some(TurnPermit { agent_id, lease_seconds: 30 });
    let message = InboundMessage { permit, ..toy.message(VISITOR, "c2", "two") };
    let ingested = ingest::store(&toy.app.storage, message).await.expect("stored");
    let claim = ingested.claim.expect("a claim");
    assert_eq!((claim.channel, claim.address.as_str()), (Kind::Webchat, toy.endpoint_id.to_string().as_str()));
    toy.app.workers.turns.job().run(*claim).await;
    assert_eq!(said(&toy.newest().await.1), ["one", "[1: one]", "two", "[2: two]"]);
    assert_eq!(toy.app.count("select count(*) from delivery").await, 0);
}

#[tokio::test]
async fn a_text_to_somebody_else_needs_a_number_to_leave_from() {
    let agent = format!("def reply(conv, text):\n    conv.send_sms(\"{ADA}\", None, \"hello\")\n    return text");
    let toy = ToyApp::new(&agent, json!({"first_message": "process", "error_message": "Sorry"})).await;
    toy.say(VISITOR, "c1", "hi").await;
    assert_eq!(toy.app.count("select count(*) from scheduled_message").await, 0);
    assert_eq!(toy.app.count("select failures::bigint from turn").await, 1);
}
