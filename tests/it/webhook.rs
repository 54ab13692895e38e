//! Tests the webhooks: what they accept, what they refuse, and that nothing acknowledged is lost.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use textback::carriers::twilio::form::Form;

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, bodies};

/// A real-looking webhook body. The signatures in the file hold for another address, so each is
/// signed again.
#[derive(Deserialize)]
struct Fixture {
    name: String,
    kind: String,
    form: String,
    params: Vec<(String, String)>,
    signature: String,
    url: String,
    auth_token: String,
}

fn fixtures(kind: &str) -> Vec<Fixture> {
    let lines = include_str!("../fixtures/twilio-webhooks.jsonl").lines();
    let all = lines.map(|line| serde_json::from_str::<Fixture>(line).expect("a fixture"));
    all.filter(|fixture| fixture.kind == kind).collect()
}

fn form(pairs: &[(&str, &str)]) -> String {
    let given = |name: &str| pairs.iter().any(|(given, _)| *given == name);
    let common = [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM1"), ("From", ADA), ("To", NUMBER), ("Body", "hi")];
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(common.iter().filter(|(name, _)| !given(name)));
    form.extend_pairs(pairs.iter());
    form.finish()
}

#[test]
fn every_body_of_the_collection_carries_a_signature_that_we_would_make() {
    for fixture in fixtures("inbound").iter().chain(&fixtures("status")) {
        let token = secrecy::SecretString::from(fixture.auth_token.clone());
        let form = Form::read(fixture.form.as_bytes());
        assert!(
            textback::carriers::twilio::signature::verify([&token], &fixture.url, &form, &fixture.signature),
            "{}",
            fixture.name
        );
        let pairs: Vec<(&[u8], &[u8])> =
            fixture.params.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(form.pairs().collect::<Vec<_>>(), pairs, "{}", fixture.name);
    }
}

#[tokio::test]
async fn every_inbound_body_of_the_collection_is_stored_or_quarantined() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    for fixture in fixtures("inbound") {
        let answer = app.post("messages", &fixture.form, AUTH_TOKEN).await;
        assert_eq!(answer.status(), 200, "{}", fixture.name);
        assert_eq!(answer.headers()["content-type"], "text/xml; charset=utf-8");
        assert_eq!(answer.text().await.expect("a body"), "<Response/>");

        let read = Form::read(fixture.form.as_bytes());
        let sid = read.text("MessageSid").unwrap_or_default();
        let body: Option<String> = sqlx::query_scalar("select body from message where carrier_id = $1")
            .bind(&sid)
            .fetch_optional(app.storage.pool())
            .await
            .expect("an answer");
        match body {
            Some(body) => assert_eq!(body, read.text("Body").unwrap_or_default(), "{}", fixture.name),
            None => {
                let kept: i64 = sqlx::query_scalar("select count(*) from quarantine where form = $1")
                    .bind(fixture.form.as_bytes())
                    .fetch_one(app.storage.pool())
                    .await
                    .expect("an answer");
                assert!(kept >= 1, "{} is in neither place", fixture.name);
            }
        }
    }
    let reasons: Vec<String> = sqlx::query_scalar("select distinct reason from quarantine order by 1")
        .fetch_all(app.storage.pool())
        .await
        .expect("reasons");
    assert_eq!(
        reasons,
        [
            "channel_not_supported",
            "foreign_account",
            "no_message_id",
            "number_not_attached",
            "sender_cannot_be_answered"
        ]
    );
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from turn").await, 0);
}

#[tokio::test]
async fn what_the_carrier_did_not_sign_is_refused_and_leaves_nothing() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let hook = format!("http://{}/webhooks/twilio/{}/messages", app.api, app.webhook_key);
    let forged = app.post("messages", &form(&[]), "another-token").await;
    assert_eq!(forged.status(), 403);
    assert!(
        !forged.headers()["content-type"].to_str().expect("text").starts_with("text/plain"),
        "it would be texted to the person"
    );
    let unsigned = app.http.post(&hook).body(form(&[])).send().await.expect("an answer");
    assert_eq!(unsigned.status(), 403);
    let shared_key = app
        .http
        .post(&hook)
        .header("X-Twilio-Signature", "AAAA")
        .header("X-Twilio-Webhooks-Signature-Settings", "key=SK1,algorithm=HMAC_SHA256")
        .body(form(&[]))
        .send()
        .await
        .expect("an answer");
    assert_eq!(shared_key.status(), 403);
    let unknown =
        app.http.post(hook.replace(&app.webhook_key, "nobody")).body(form(&[])).send().await.expect("an answer");
    assert_eq!(unknown.status(), 404);
    let get = app.http.get(&hook).send().await.expect("an answer");
    assert_eq!(get.status(), 405);
    assert_eq!(app.count("select count(*) from message").await + app.count("select count(*) from quarantine").await, 0);
}

#[tokio::test]
async fn the_signature_covers_the_query_and_every_parameter() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let signed = form(&[("Unheard", "of"), ("Empty", "")]);
    let url = format!("http://{}/webhooks/twilio/{}/messages?x=1&y=%20", app.api, app.webhook_key);
    let token = secrecy::SecretString::from(AUTH_TOKEN.to_owned());
    let signature = textback::carriers::twilio::signature::sign(&token, &url, &Form::read(signed.as_bytes()));
    let post = |url: String, body: String| {
        app.http.post(url).header("X-Twilio-Signature", signature.clone()).body(body).send()
    };
    assert_eq!(post(url.clone(), format!("{signed}&More=1")).await.expect("an answer").status(), 403);
    assert_eq!(post(url.replace("x=1", "x=2"), signed.clone()).await.expect("an answer").status(), 403);
    assert_eq!(post(url, signed).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn both_tokens_count_while_the_token_is_rotated() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let put = |credentials| app.ok(Method::PUT, "/v1/carrier", Some(credentials));
    let both = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "next_auth_token": "the-next"});
    let unknown = app.call(&app.key, Method::PUT, "/v1/carrier", Some(both.clone())).await.1;
    assert!(unknown["detail"].as_str().is_some_and(|told| told.contains("next_auth_token")), "it is tried: {unknown}");
    let mut account = twilio_simulator::Account::new(ACCOUNT_SID, AUTH_TOKEN);
    account.secondary_auth_token = Some("the-next".to_owned());
    app.simulator.add_account(account);
    let wrong_first = json!({"account_sid": ACCOUNT_SID, "auth_token": "wrong", "next_auth_token": "the-next"});
    let refused = app.refused(Method::PUT, "/v1/carrier", Some(wrong_first)).await;
    assert_eq!(refused.1, "credentials_refused", "the next one does not stand in for the first");
    put(both).await;
    assert_eq!(app.post("messages", &form(&[("MessageSid", "SM2")]), "the-next").await.status(), 200);
    assert_eq!(app.post("messages", &form(&[("MessageSid", "SM3")]), AUTH_TOKEN).await.status(), 200);
    // It is promoted at the carrier, and then told here.
    app.simulator.add_account(twilio_simulator::Account::new(ACCOUNT_SID, "the-next"));
    put(json!({"account_sid": ACCOUNT_SID, "auth_token": "the-next"})).await;
    assert_eq!(app.post("messages", &form(&[("MessageSid", "SM4")]), AUTH_TOKEN).await.status(), 403);
    assert_eq!(app.post("messages", &form(&[("MessageSid", "SM5")]), "the-next").await.status(), 200);
}

#[tokio::test]
async fn a_text_that_is_odd_is_stored_and_answered() {
    let app =
        TestApp::with_agent("def reply(conv, text): return \"got it\"", json!({"first_message": "process"})).await;
    let odd = [
        form(&[("MessageSid", "SM10"), ("Body", "")]),
        form(&[
            ("MessageSid", "SM11"),
            ("Body", ""),
            ("NumMedia", "1"),
            ("MediaUrl0", "https://media.example/1"),
            ("MediaContentType0", "image/png"),
        ]),
        form(&[("MessageSid", "SM12")]).replace("Body=hi", "Body=a%00b%FF%FE"),
        form(&[("MessageSid", "SM13"), ("Body", &"ä".repeat(1600))]),
        form(&[("MessageSid", "SM14")]).replace("Body=hi", "Body"),
        form(&[("MessageSid", "SM15")]).replace("Body=hi", "Body=one&Body=two&=x&%zz"),
    ];
    for (n, form) in odd.iter().enumerate() {
        assert_eq!(app.post("messages", form, AUTH_TOKEN).await.status(), 200, "{n}");
    }
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["got it"]);
    let session = app.sessions().await.remove(0);
    let messages = app.messages(&session).await;
    let stored = bodies(&messages, "inbound");
    assert_eq!(stored.len(), odd.len());
    assert_eq!(stored[2], "a\u{fffd}b\u{fffd}\u{fffd}");
    assert_eq!(stored[5], "one");
    let medium = &messages[1]["media"][0];
    assert_eq!((&medium["url"], &medium["content_type"]), (&json!("https://media.example/1"), &json!("image/png")));
}

#[tokio::test]
async fn a_text_to_a_number_that_nobody_attached_waits_in_quarantine_once() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let unattached = form(&[("To", "+14155550777")]);
    for _ in 0..2 {
        assert_eq!(app.post("messages", &unattached, AUTH_TOKEN).await.status(), 200);
    }
    assert_eq!(app.count("select count(*) from quarantine where reason = 'number_not_attached'").await, 1);
    assert_eq!(app.count("select count(*) from message").await, 0);
}

#[tokio::test]
async fn a_body_that_is_no_text_is_refused_by_its_size() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let huge = form(&[("Body", &"x".repeat(70_000))]);
    let answer = app.post("messages", &huge, AUTH_TOKEN).await;
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let just_fits = form(&[("Body", &"x".repeat(60_000))]);
    assert_eq!(app.post("messages", &just_fits, AUTH_TOKEN).await.status(), 200);
}

#[tokio::test]
async fn hostile_values_never_break_the_webhook() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let long = "9".repeat(50_000);
    for (n, pairs) in [
        [("From", long.as_str()), ("MessageSid", "SM20")],
        [("To", long.as_str()), ("MessageSid", "SM21")],
        [("MessageSid", long.as_str()), ("To", NUMBER)],
        [("MessageSid", "' or 1=1 --"), ("To", NUMBER)],
        [("NumMedia", "-1"), ("MessageSid", "SM22")],
        [("NumMedia", "99999999999999999999"), ("MessageSid", "SM23")],
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(app.post("messages", &form(pairs), AUTH_TOKEN).await.status(), 200, "{n}");
    }
    let total = app.count("select (select count(*) from message) + (select count(*) from quarantine)").await;
    assert_eq!(total, 6, "each is somewhere");
}

#[tokio::test]
async fn without_the_database_nothing_is_acknowledged() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    // The account is known for the next seconds; the row can't be written.
    assert_eq!(app.post("messages", &form(&[("MessageSid", "SM30")]), AUTH_TOKEN).await.status(), 200);
    app.storage.close().await;
    let answer = app.post("messages", &form(&[("MessageSid", "SM31")]), AUTH_TOKEN).await;
    assert_eq!(answer.status(), 503);
    let ready = app.http.get(format!("http://{}/readyz", app.api)).send().await.expect("an answer");
    assert_eq!(ready.status(), 503);
    let live = app.http.get(format!("http://{}/livez", app.api)).send().await.expect("an answer");
    assert_eq!(live.status(), 200);
}
