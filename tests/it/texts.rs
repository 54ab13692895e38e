//! Tests message bodies: length, segments, media, and that every character is transmitted.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, bodies};

#[tokio::test]
async fn every_message_tells_its_alphabet_and_its_segments() {
    let app =
        TestApp::with_agent("def reply(conv, text): return text + \" 🎉\"", json!({"first_message": "process"})).await;
    app.answers(ADA, &"a".repeat(161)).await;
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    let cost = |message: &Value| (message["encoding"].clone(), message["segments"].clone());
    assert_eq!(cost(&messages[0]), (json!("gsm7"), json!(2)));
    assert_eq!(cost(&messages[1]), (json!("ucs2"), json!(3)));
}

#[tokio::test]
async fn a_reply_over_1600_characters_leaves_in_ordered_parts_with_an_id_each() {
    let app = TestApp::with_agent(
        "def reply(conv, text): return \" \".join([str(n) for n in range(1000)])",
        json!({"first_message": "process"}),
    )
    .await;
    let received = app.answers(ADA, "count").await;
    let whole: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(received.join(" "), whole.join(" "), "between words, in order, nothing lost");
    assert!(received.len() == 3 && received.iter().all(|part| part.chars().count() <= 1600));
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    let sids: std::collections::HashSet<&str> = messages
        .iter()
        .filter(|message| message["direction"] == "outbound")
        .filter_map(|message| message["carrier_id"].as_str())
        .collect();
    assert_eq!(sids.len(), 3);
}

#[tokio::test]
async fn an_agent_may_limit_what_its_texts_cost_and_spare_typographic_characters() {
    let agent = "def reply(conv, text): return \"“It’s fine” – \" + \"word \" * 200";
    let settings = json!({"first_message": "process", "max_segments": 2, "smart_encoding": true,
                          "inactivity": {"warning": "Still there…?"}});
    let app = TestApp::with_agent(agent, settings).await;
    let received = app.answers(ADA, "hi").await;
    assert!(received[0].starts_with("\"It's fine\" - word") && received[0].ends_with("word..."), "{received:?}");
    let session = app.sessions().await.remove(0);
    let reply = app.messages(&session).await.remove(1);
    assert_eq!((&reply["segments"], &reply["encoding"]), (&json!(2), &json!("gsm7")));
    assert_eq!((&reply["truncated"], &reply["truncated_characters"]), (&json!(true), &json!(716)));
}

/// Sends the words and emoji of the collection through the webhook and the agent back to a phone.
#[tokio::test]
async fn every_body_of_the_collection_gets_through_unharmed() {
    let app = TestApp::with_agent("def reply(conv, text): return text", json!({"first_message": "process"})).await;
    app.without_rate_limits().await;
    let file = include_str!("../fixtures/twilio-webhooks.jsonl");
    let mut texts = 0;
    for line in file.lines() {
        let body: Value = serde_json::from_str(line).expect("JSON");
        if body["kind"] != "inbound" {
            continue;
        }
        let text = body["params"].as_array().expect("pairs").iter().find(|pair| pair[0] == "Body").map(|pair| &pair[1]);
        let Some(text) = text.and_then(Value::as_str) else { continue };
        if textback::domain::keyword::Keyword::of(text).is_some() || text.trim().is_empty() {
            continue;
        }
        texts += 1;
        let phone = format!("+1415777{texts:04}");
        let received = app.answers(&phone, text).await;
        // A phone's screen trims nothing, and neither do we but around a part's end.
        assert_eq!(received.concat(), text.replace('\0', "\u{fffd}"), "{}", body["name"]);
        let session = app.sessions().await.remove(0);
        assert_eq!(bodies(&app.messages(&session).await, "inbound"), [text.replace('\0', "\u{fffd}")]);
    }
    assert!(texts >= 15, "{texts}");
}

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

async fn picture(app: &TestApp, url: &str) -> Value {
    let text = json!({"from": ADA, "to": NUMBER, "body": "look", "media_urls": [url]});
    app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    app.run_jobs().await;
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    let message = messages.iter().rfind(|message| message["direction"] == "inbound").expect("it came");
    message["media"][0].clone()
}

#[tokio::test]
async fn a_picture_is_seen_by_the_agent_and_fetched_with_the_accounts_credentials() {
    let agent = "def reply(conv, text): return conv.media[0][\"content_type\"] if conv.media else \"no picture\"";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    let medium = picture(&app, PIXEL).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["image/png"]);
    assert_eq!((&medium["content_type"], &medium["bytes"]), (&json!("image/png"), &Value::Null));
    let path = format!("/v1/media/{}", medium["id"].as_str().expect("an id"));
    let url = format!("http://{}{path}", app.api);
    let answer = app.http.get(&url).bearer_auth(&app.key).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].as_bytes()), (200, &b"image/png"[..]));
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let bytes = answer.bytes().await.expect("bytes");
    assert!(bytes.starts_with(b"\x89PNG"));
    let session = app.sessions().await.remove(0);
    let measured = app.messages(&session).await.remove(0)["media"][0]["bytes"].clone();
    assert_eq!(measured, json!(bytes.len()));
    let stranger = crate::harness::create_project(&app.storage, "other").await.expect("a project").1;
    assert_eq!(app.call(&stranger, Method::GET, &path, None).await.0, 404);
}

#[tokio::test]
async fn a_medium_that_leads_elsewhere_or_is_no_medium_is_not_fetched() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let huge = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![0; (16 << 20) + 1]);
    let huge = format!("data:image/png;base64,{huge}");
    for (url, code) in [
        (huge.as_str(), "medium_too_large"),
        ("http://169.254.169.254/latest/meta-data", "medium_elsewhere"),
        ("https://pictures.example/cat.jpg", "medium_elsewhere"),
        ("data:text/html;base64,PGh0bWw+", "medium_type_refused"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "medium_type_refused"),
        ("data:image/png;base64,%%%", "medium_gone"),
    ] {
        let medium = picture(&app, url).await;
        let path = format!("/v1/media/{}", medium["id"].as_str().expect("an id"));
        let (status, answer) = app.call(&app.key, Method::GET, &path, None).await;
        assert!(status.is_client_error() || status.is_server_error());
        assert_eq!(answer["code"], code, "{}", url.get(..60).unwrap_or(url));
    }
    // An address in a webhook that is not the carrier's own: signed, but a medium there would get
    // our credentials.
    let form = format!(
        "AccountSid={}&MessageSid=MM77&From=%2B14155550101&To=%2B14155550199&Body=x&NumMedia=1&MediaUrl0=https%3A%2F%2Fevil.example%2F1&MediaContentType0=image%2Fpng",
        crate::harness::ACCOUNT_SID
    );
    app.post("messages", &form, AUTH_TOKEN).await;
    let id: uuid::Uuid = sqlx::query_scalar("select id from attachment where url like 'https://evil%'")
        .fetch_one(app.storage.pool())
        .await
        .expect("a row");
    let (_, answer) = app.call(&app.key, Method::GET, &format!("/v1/media/{id}"), None).await;
    assert_eq!(answer["code"], "medium_elsewhere");
}

#[tokio::test]
async fn pictures_go_out_with_a_text_or_without_one() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let urls = ["https://pictures.example/1.jpg", "https://pictures.example/2.jpg"];
    let sent = app.ok(Method::POST, "/v1/messages", Some(json!({"to": ADA, "media_urls": urls}))).await;
    app.run_jobs().await;
    let path = format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id"));
    let message = app.ok(Method::GET, &path, None).await;
    assert_eq!((&message["status"], &message["media"][1]["url"]), (&json!("delivered"), &json!(urls[1])));
    let sid = message["carrier_id"].as_str().expect("a sid");
    let at_the_carrier = format!(
        "http://{}/2010-04-01/Accounts/{}/Messages/{sid}.json",
        app.simulator_address,
        crate::harness::ACCOUNT_SID
    );
    let held = app
        .http
        .get(at_the_carrier)
        .basic_auth(crate::harness::ACCOUNT_SID, Some(AUTH_TOKEN))
        .send()
        .await
        .expect("an answer");
    assert_eq!(held.json::<Value>().await.expect("JSON")["num_media"], "2");
    let eleven = vec![urls[0]; 11];
    assert_eq!(app.refused(Method::POST, "/v1/messages", Some(json!({"to": ADA, "media_urls": eleven}))).await.0, 400);
}

#[tokio::test]
async fn a_message_tells_the_whole_history_of_its_delivery() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.simulator.plan_faults([twilio_simulator::Fault::TooManyRequests]);
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    app.sql("update delivery set due_at = now() where due_at is not null").await;
    app.run_jobs().await;
    let session = app.sessions().await.remove(0);
    let reply = app.messages(&session).await.remove(1);
    let path = format!("/v1/messages/{}", reply["id"].as_str().expect("an id"));
    let traced = app.ok(Method::GET, &path, None).await;
    let steps: Vec<(&str, &str)> = traced["history"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| (step["status"].as_str().unwrap_or_default(), step["by"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(steps[..3], [("sending", ""), ("planned", "carrier"), ("sending", "")]);
    assert!(steps.contains(&("delivered", "report")), "{steps:?}");
    assert_eq!(traced["history"][1]["code"], 20429);
    assert_eq!((&traced["number"], &traced["contact"]), (&json!(NUMBER), &json!(ADA)));
}
