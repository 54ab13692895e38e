//! Tests reactions that arrive as texts, and messages that a project sends to itself.

use reqwest::Method;
use serde_json::json;

use crate::harness::{ACCOUNT_SID, ADA, ECHO, NUMBER, TestApp};

#[tokio::test]
async fn a_reaction_to_our_message_is_shown_as_one_and_no_turn_answers_it() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "book a table").await;
    let session = app.sessions().await.remove(0);
    let reply = app.messages(&session).await.remove(1);
    assert_eq!(reply["body"], "1: book a table");
    assert_eq!(app.answers(ADA, "Liked “1: book a table”").await.len(), 1);
    assert_eq!(app.answers(ADA, "Removed 👍 from “ 1: book a… ”").await.len(), 1);
    let messages = app.messages(&session).await;
    let expected = |emoji, is_removed| json!({"emoji": emoji, "is_removed": is_removed, "message_id": reply["id"]});
    for (message, reaction) in [(&messages[2], expected("👍", false)), (&messages[3], expected("👍", true))] {
        assert_eq!((&message["kind"], &message["status"]), (&json!("reaction"), &json!("skipped")));
        assert_eq!((&message["skip_reason"], &message["reaction"]), (&json!("reaction"), &reaction));
        let id = message["id"].as_str().expect("an id");
        let shown = app.ok(Method::GET, &format!("/v1/messages/{id}"), None).await;
        assert_eq!(shown["reaction"], reaction);
    }

    // What quotes nothing of ours is a text.
    assert_eq!(app.answers(ADA, "Liked “The Hobbit”").await.pop().as_deref(), Some("2: Liked “The Hobbit”"));
    assert_eq!(app.messages(&session).await[4]["kind"], "text");
    assert!(app.messages(&session).await[4].get("reaction").is_none());
}

#[tokio::test]
async fn a_reaction_is_known_after_the_session_has_ended() {
    let agent = "def reply(conv, text): return {\"utterance\": \"Goodbye, Ada.\", \"hangup\": True}";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.answers(ADA, "bye").await;
    assert_eq!(app.answers(ADA, "❤️ to “Goodbye, Ada.”").await.len(), 1);
    assert_eq!(app.count("select count(*) from message where kind = 'reaction'").await, 1);
}

#[tokio::test]
async fn an_agent_that_wants_reactions_answers_them() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process", "reactions": "answer"})).await;
    let agent = app.ok(Method::GET, "/v1/agents", None).await;
    assert_eq!(agent["items"][0]["reactions"], "answer");
    app.answers(ADA, "hi").await;
    assert_eq!(app.answers(ADA, "Liked “1: hi”").await.pop().as_deref(), Some("2: Liked “1: hi”"));
    let reaction = app.messages(&app.sessions().await[0]).await.remove(2);
    assert_eq!((&reaction["kind"], &reaction["status"]), (&json!("reaction"), &json!("handled")));
    assert_eq!(reaction["reaction"]["emoji"], "👍");
}

#[tokio::test]
async fn a_message_to_the_number_that_it_comes_from_is_held() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    for text in ["hi", "STOP", "HELP"] {
        let texted = app.simulator.say(NUMBER, NUMBER, text).await;
        assert_eq!(texted.webhook_status, Some(200));
    }
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from delivery").await, 0);
    assert_eq!(app.count("select count(*) from consent").await, 0);
    for message in app.messages(&app.sessions().await[0]).await {
        assert_eq!((&message["status"], &message["skip_reason"]), (&json!("held"), &json!("to_is_from")));
    }

    let itself = json!({"to": NUMBER, "from": NUMBER, "body": "hi"});
    assert_eq!(app.refused(Method::POST, "/v1/messages", Some(itself)).await, (422, "to_is_from".to_owned()));
    let tomorrow = chrono::Utc::now() + chrono::TimeDelta::days(1);
    let later = json!({"to": NUMBER, "body": "hi", "send_at": tomorrow.to_rfc3339()});
    assert_eq!(app.refused(Method::POST, "/v1/messages", Some(later)).await, (422, "to_is_from".to_owned()));
}

#[tokio::test]
async fn two_numbers_of_a_project_do_not_talk_to_each_other() {
    let app = TestApp::new().await;
    let agent = app.attach(ECHO, json!({"first_message": "process"})).await;
    let other = "+14155550198";
    app.simulator.add_number(ACCOUNT_SID, other);
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": other, "agent_id": agent}))).await;
    app.simulator.say(other, NUMBER, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from delivery").await, 0);
    let message = app.messages(&app.sessions().await[0]).await.remove(0);
    assert_eq!((&message["status"], &message["skip_reason"]), (&json!("held"), &json!("from_own_number")));

    // A number that was detached may be somebody else's by now.
    app.sql("update number set check_at = null, backfill_at = null where number = '+14155550198'").await;
    app.simulator.say(other, NUMBER, "hi again").await;
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from delivery").await, 1);
}

#[tokio::test]
async fn an_agent_cannot_text_its_own_number() {
    let agent = format!("def reply(conv, text): conv.send_sms({NUMBER:?}, None, \"hello, me\")\n");
    let app = TestApp::with_agent(&agent, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    assert_eq!(app.count("select count(*) from scheduled_message where refusal_reason = 'to_is_from'").await, 1);
    assert_eq!(app.count("select count(*) from delivery").await, 0);
}
