//! Tests scheduled texts to one contact that are due at once, from a number and from the messaging
//! service that it is in.

use chrono::{Duration, Utc};
use reqwest::Method;
use serde_json::json;

use crate::harness::{ACCOUNT_SID, ECHO, NUMBER, TestApp};

const SECOND: &str = "+14155550188";

/// What an earlier text of the same batch does to a session decides about the number of a later
/// one.
#[tokio::test]
async fn a_text_to_a_service_joins_the_session_of_one_that_is_due_before_it() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let service = app.simulator.service_of(NUMBER).expect("a service").sid;
    app.simulator.add_number(ACCOUNT_SID, SECOND);
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": SECOND, "agent_id": agents["items"][0]["id"]}))).await;
    let soon = |minutes| (Utc::now() + Duration::minutes(minutes)).to_rfc3339();
    for contact in 0..8 {
        for (minutes, from) in [(1, if contact % 2 == 0 { NUMBER } else { SECOND }), (2, &service)] {
            let to = format!("+1415555010{contact}");
            let text =
                json!({"from": from, "to": to, "body": "news", "send_at": soon(minutes), "on_active_session": "join"});
            app.ok(Method::POST, "/v1/messages", Some(text)).await;
        }
    }
    app.sql("update scheduled_message set due_at = due_at - interval '1 hour'").await;
    app.run_jobs().await;
    let sessions = app.sessions().await;
    assert_eq!(sessions.len(), 8, "each contact has one: {sessions:?}");
    assert!(sessions.iter().all(|session| session["pool_id"] == json!(service)), "{sessions:?}");
}
