//! Tests contacts that the carrier called landlines: the next message is refused, until the contact
//! texts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

impl TestApp {
    /// Sends to Ada, and the carrier reports a failure with a code.
    async fn send_and_fail(&self, code: i32) {
        self.ok(Method::POST, "/v1/messages", to_ada(json!({}))).await;
        self.run_jobs().await;
        self.sql("update delivery set status = 'sent' where status = 'delivered'").await;
        let sid: String = sqlx::query_scalar("select carrier_id from delivery order by seq desc limit 1")
            .fetch_one(self.storage.pool())
            .await
            .expect("a delivery");
        let report = format!("AccountSid={ACCOUNT_SID}&MessageSid={sid}&MessageStatus=undelivered&ErrorCode={code}");
        assert_eq!(self.post("status", &report, AUTH_TOKEN).await.status(), 200);
    }
}

fn to_ada(more: Value) -> Option<Value> {
    let mut message = json!({"to": ADA, "body": "Hello", "on_active_session": "join"});
    message.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    Some(message)
}

#[tokio::test]
async fn who_was_called_a_landline_is_told_before_the_next_send() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    // Planned before anybody knew.
    let soon = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    let planned = app.ok(Method::POST, "/v1/messages", to_ada(json!({"send_at": soon}))).await;
    app.send_and_fail(30006).await;

    let landline = (409, "contact_is_landline".to_owned());
    assert_eq!(app.refused(Method::POST, "/v1/messages", to_ada(json!({}))).await, landline);
    assert_eq!(app.refused(Method::POST, "/v1/messages", to_ada(json!({"send_at": soon}))).await, landline);
    let from_elsewhere = json!({"to": "+14155550102", "body": "Hello"});
    app.ok(Method::POST, "/v1/messages", Some(from_elsewhere)).await;

    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    let path = format!("/v1/messages/{}", planned["message_id"].as_str().expect("an id"));
    assert_eq!(app.ok(Method::GET, &path, None).await["refusal_reason"], "contact_is_landline");

    // Who insists sends, now and later.
    app.ok(Method::POST, "/v1/messages", to_ada(json!({"even_to_landline": true}))).await;
    let insisted =
        app.ok(Method::POST, "/v1/messages", to_ada(json!({"even_to_landline": true, "send_at": soon}))).await;
    app.sql("update scheduled_message set due_at = now() where due_at is not null").await;
    app.run_jobs().await;
    let path = format!("/v1/messages/{}", insisted["message_id"].as_str().expect("an id"));
    assert_eq!(app.ok(Method::GET, &path, None).await["status"], "delivered");

    // Who texts has no landline.
    app.answers(ADA, "hi").await;
    app.ok(Method::POST, "/v1/messages", to_ada(json!({}))).await;
}

#[tokio::test]
async fn only_a_landline_is_remembered() {
    for (code, is_landline) in [(30006, true), (21614, true), (30005, false), (30003, false), (30007, false)] {
        let app = TestApp::with_agent(ECHO, json!({})).await;
        app.send_and_fail(code).await;
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/messages", to_ada(json!({}))).await;
        assert_eq!(status == 409 && answer["code"] == "contact_is_landline", is_landline, "{code}: {answer}");
        app.end().await;
    }
}

#[tokio::test]
async fn an_agent_sends_nothing_to_a_landline() {
    let script = format!("def reply(conv, text):\n    conv.send_sms('{ADA}', None, 'hello')\n    return 'ok'\n");
    let app = TestApp::with_agent(&script, json!({"first_message": "process"})).await;
    app.send_and_fail(30006).await;
    assert_eq!(app.answers("+14155550107", "call her").await, ["ok"]);
    let refused = app.ok(Method::GET, "/v1/scheduled-messages", None).await;
    assert_eq!(refused["items"][0]["reason"], "contact_is_landline", "{refused} {NUMBER}");
}
