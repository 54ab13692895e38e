//! Tests the quarantine: what fits no session is listed, read, and processed again once its reason
//! is gone.

use reqwest::Method;
use serde_json::{Value, json};

use crate::commands::{printed, run};
use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

const OTHER: &str = "+14155550177";

impl TestApp {
    /// A text as the carrier posts it.
    async fn post_text(&self, sid: &str, to: &str, body: &str) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([("AccountSid", ACCOUNT_SID), ("From", ADA), ("To", to), ("Body", body)]);
        if !sid.is_empty() {
            form.append_pair("MessageSid", sid);
        }
        assert_eq!(self.post("messages", &form.finish(), AUTH_TOKEN).await.status(), 200);
    }

    async fn quarantine(&self, query: &str) -> Vec<Value> {
        let page = self.ok(Method::GET, &format!("/v1/quarantine?{query}"), None).await;
        page["items"].as_array().cloned().expect("items")
    }

    async fn replay(&self, item: &Value) -> Value {
        let path = format!("/v1/quarantine/{}/replay", item["id"].as_str().expect("an id"));
        self.ok(Method::POST, &path, None).await
    }

    /// Attaches the other number, which the account has from now on.
    async fn attach_other(&self) {
        self.simulator.add_number(ACCOUNT_SID, OTHER);
        let agent_id = self.agent("other", ECHO, json!({"first_message": "process"})).await;
        self.ok(Method::POST, "/v1/numbers", Some(json!({"number": OTHER, "agent_id": agent_id}))).await;
    }
}

#[tokio::test]
async fn a_text_to_a_detached_number_is_answered_after_the_number_was_attached() {
    let app = TestApp::new().await;
    app.post_text("SM1", OTHER, "anybody there? ünter").await;
    let [item] = &app.quarantine("").await[..] else { panic!("one item") };
    assert_eq!((&item["kind"], &item["reason"]), (&json!("inbound"), &json!("number_not_attached")));
    assert!(!item.to_string().contains("anybody") && !item.to_string().contains(ADA), "a list tells no personal data");

    let path = format!("/v1/quarantine/{}", item["id"].as_str().expect("an id"));
    let whole = app.ok(Method::GET, &path, None).await;
    assert!(
        whole["parameters"]
            .as_array()
            .expect("parameters")
            .contains(&json!({"name": "Body", "value": "anybody there? ünter"}))
    );

    let early = app.replay(item).await;
    assert_eq!((&early["outcome"], &early["reason"]), (&json!("quarantined"), &json!("number_not_attached")));
    assert_eq!(app.quarantine("").await.len(), 1, "it is kept once");

    app.attach_other().await;
    let replayed = app.replay(item).await;
    assert_eq!(replayed["outcome"], "stored", "{replayed}");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, OTHER), ["1: anybody there? ünter"]);

    let again = app.replay(item).await;
    assert_eq!(again, replayed, "the second replay changes nothing and tells the same");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, OTHER).len(), 1);
    assert_eq!(app.quarantine("replayed=true").await.len(), 1);
    assert!(app.quarantine("replayed=false").await.is_empty());
}

#[tokio::test]
async fn two_replays_at_once_store_one_message() {
    let app = TestApp::new().await;
    app.post_text("SM1", OTHER, "hi").await;
    let items = app.quarantine("").await;
    app.attach_other().await;
    let replays = futures::future::join_all((0..8).map(|_| app.replay(&items[0]))).await;
    assert_eq!(app.count("select count(*) from message where direction = 'inbound'").await, 1);
    assert!(replays.iter().all(|replayed| matches!(replayed["outcome"].as_str(), Some("stored" | "duplicate"))));
    assert!(replays.iter().all(|replayed| replayed["message_id"] == replays[0]["message_id"]), "{replays:?}");
}

#[tokio::test]
async fn an_old_start_does_not_undo_a_newer_stop() {
    let app = TestApp::new().await;
    app.post_text("SM1", OTHER, "START").await;
    app.attach_other().await;
    app.post_text("SM2", OTHER, "STOP").await;
    let items = app.quarantine("").await;
    app.sql("update quarantine set received_at = received_at - interval '1 day'").await;
    assert_eq!(app.replay(&items[0]).await["outcome"], "skipped");
    let consents = app.ok(Method::GET, "/v1/consents", None).await;
    assert_eq!(consents["items"][0]["kind"], "opted_out");
    assert_eq!(consents["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_can_never_fit_stays_and_is_kept_once() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    app.post_text("", NUMBER, "no id").await;
    app.post_text("SM2", "whatsapp:+14155550199", "another channel").await;
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM404&MessageStatus=sent");
    app.post("status", &report, AUTH_TOKEN).await;
    app.post("status", "AccountSid=AC1&MessageStatus=pondering", AUTH_TOKEN).await;
    for _ in 0..2 {
        for item in app.quarantine("").await {
            let replayed = app.replay(&item).await;
            assert_eq!((&replayed["outcome"], &replayed["reason"]), (&json!("quarantined"), &item["reason"]));
        }
    }
    let reasons: Vec<Value> = app.quarantine("").await.iter().map(|item| item["reason"].clone()).collect();
    assert_eq!(reasons, ["status_not_understood", "delivery_unknown", "channel_not_supported", "no_message_id"]);
    // The filters, and the pages.
    assert_eq!(app.quarantine("kind=status").await.len(), 2);
    assert_eq!(app.quarantine("reason=no_message_id").await.len(), 1);
    assert_eq!(app.quarantine("since=2999-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(app.quarantine("limit=3").await.len(), 3);
    let first = app.ok(Method::GET, "/v1/quarantine?limit=3", None).await;
    let next = format!("limit=3&cursor={}", first["next_cursor"].as_str().expect("a cursor"));
    assert_eq!(app.quarantine(&next).await.len(), 1);
    assert_eq!(app.call(&app.key, Method::GET, "/v1/quarantine?kind=oracle", None).await.0, 400);

    app.sql("insert into quarantine (id, project_id, kind, reason, form) select gen_random_uuid(), id, 'session_state', 'x', '{}' from project").await;
    let state = app.quarantine("kind=session_state").await;
    let path = format!("/v1/quarantine/{}", state[0]["id"].as_str().expect("an id"));
    assert_eq!(app.ok(Method::GET, &path, None).await["document"], "{}");
    let refused = app.refused(Method::POST, &format!("{path}/replay"), None).await;
    assert_eq!(refused, (409, "not_replayable".to_owned()));
}

#[tokio::test]
async fn a_reason_that_can_be_one_filters_and_another_word_is_refused() {
    let app = TestApp::new().await;
    for reason in [
        "number_not_attached",
        "session_unreadable",
        "refused_by_the_database_22021",
        "attachment_url_has_at_most_4000_characters",
        "message_kind_is_known",
        "message_belongs_to_a_session",
    ] {
        assert!(app.quarantine(&format!("reason={reason}")).await.is_empty(), "{reason}");
    }
    for word in ["typo", "number_not_atached", "message_pk", "of_an_older_schema"] {
        let refused = app.refused(Method::GET, &format!("/v1/quarantine?reason={word}"), None).await;
        assert_eq!(refused, (400, "request_invalid".to_owned()), "{word}");
    }
    let keep = async |kind: &str, reason: &str| {
        let insert = "insert into quarantine (id, project_id, kind, reason, form) select gen_random_uuid(), id, $1, $2, '{}' from project";
        sqlx::query(insert).bind(kind).bind(reason).execute(app.storage.pool()).await.expect("kept");
    };
    keep("inbound", "of_an_older_schema").await;
    assert_eq!(app.quarantine("reason=of_an_older_schema").await.len(), 1, "what stands in quarantine is a reason");
    keep("session_state", "session_unreadable: 0198c0de-0000-7000-8000-000000000000").await;
    assert_eq!(app.quarantine("reason=session_unreadable").await.len(), 1, "the id does not count");
    assert_eq!(app.quarantine("reason=session_unreadable:%200198c0de-0000-7000-8000-000000000000").await.len(), 1);
    let (_, key) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    let (status, _) = app.call(&key, Method::GET, "/v1/quarantine?reason=of_an_older_schema", None).await;
    assert_eq!(status, 400, "another project does not learn of it");
}

/// The document names each reason of textback's own.
#[test]
fn the_document_names_each_reason() {
    let document: Value = serde_json::from_str(&textback::http::api::document_as_json()).expect("JSON");
    let parameters = document["paths"]["/v1/quarantine"]["get"]["parameters"].as_array().expect("parameters");
    let reason = parameters.iter().find(|parameter| parameter["name"] == "reason").expect("the parameter");
    let told = reason["description"].as_str().expect("a description");
    for word in textback::domain::quarantine::reasons() {
        assert!(told.contains(&format!("`{word}`")), "{word}: {told}");
    }
}

#[tokio::test]
async fn a_report_that_came_before_its_delivery_was_known_moves_it_later() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    let report = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM777&MessageStatus=delivered");
    app.post("status", &report, AUTH_TOKEN).await;
    app.sql("update delivery set carrier_id = 'SM777', status = 'sent'").await;
    let items = app.quarantine("").await;
    assert_eq!(app.replay(&items[0]).await["outcome"], "moved");
    assert_eq!(app.replay(&items[0]).await["outcome"], "moved", "it tells the same");
    assert_eq!(app.count("select count(*) from delivery where status = 'delivered'").await, 1);
}

#[tokio::test]
async fn a_message_that_backfill_found_is_replayed_too() {
    let app = TestApp::new().await;
    let listing = json!({"message": {"carrier_id": "SM5", "from": ADA, "to": OTHER, "body": "from the list",
        "received_at": "2026-01-01T00:00:00Z", "has_media": false}, "media": []});
    sqlx::query("insert into quarantine (id, project_id, kind, reason, carrier_id, form) select gen_random_uuid(), id, 'inbound', 'number_not_attached', 'SM5', $1 from project")
        .bind(listing.to_string().into_bytes())
        .execute(app.storage.pool())
        .await
        .expect("kept");
    app.attach_other().await;
    let items = app.quarantine("").await;
    assert_eq!(app.replay(&items[0]).await["outcome"], "stored");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, OTHER), ["1: from the list"]);
}

#[tokio::test]
async fn another_project_has_another_quarantine() {
    let app = TestApp::new().await;
    app.post_text("SM1", OTHER, "hi").await;
    let items = app.quarantine("").await;
    let (_, key) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    let (_, page) = app.call(&key, Method::GET, "/v1/quarantine", None).await;
    assert_eq!(page["items"], json!([]));
    let path = format!("/v1/quarantine/{}", items[0]["id"].as_str().expect("an id"));
    assert_eq!(app.call(&key, Method::GET, &path, None).await.0, 404);
    assert_eq!(app.call(&key, Method::POST, &format!("{path}/replay"), None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_shows_and_replays_from_a_shell() {
    let app = TestApp::new().await;
    for (sid, body) in [("SM1", "first"), ("SM2", "second")] {
        app.post_text(sid, OTHER, body).await;
    }
    app.post_text("SM3", "+14155550178", "to nobody").await;
    let command = |arguments: &[&str]| {
        run(app.command("quarantine", &app.secret_key).args(arguments).args(["--project", "tests"]))
    };
    let listed = command(&["list"]);
    assert!(listed.status.success(), "{}", printed(&listed));
    assert_eq!(printed(&listed).matches("number_not_attached").count(), 3, "{}", printed(&listed));
    assert!(!printed(&listed).contains("first"), "{}", printed(&listed));
    let items = app.quarantine("").await;
    let shown = command(&["show", items[2]["id"].as_str().expect("an id")]);
    assert!(printed(&shown).contains("first"), "{}", printed(&shown));

    app.attach_other().await;
    let replayed = command(&["replay", "--all", "--reason", "number_not_attached"]);
    assert!(printed(&replayed).contains("3 replayed: 1 quarantined, 2 stored"), "{}", printed(&replayed));
    assert_eq!(replayed.status.code(), Some(1), "one still fits nothing");
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, OTHER), ["1: first\nsecond"], "the oldest first");
    let nothing = command(&["list", "--reason", "no_message_id"]);
    assert!(printed(&nothing).contains("nothing is in quarantine"), "{}", printed(&nothing));
    let misspelt = command(&["list", "--kind", "inbond"]);
    assert!(
        printed(&misspelt).contains("kind must be one of inbound, status, session_state"),
        "{}",
        printed(&misspelt)
    );
    for command_line in [&["list", "--reason", "typo"][..], &["replay", "--all", "--reason", "typo"]] {
        let misspelt = command(command_line);
        assert!(!misspelt.status.success(), "{}", printed(&misspelt));
        assert!(printed(&misspelt).contains("the query parameter reason must be"), "{}", printed(&misspelt));
    }
    let unknown = run(app.command("quarantine", &app.secret_key).args(["list", "--project", "nobody"]));
    assert!(!unknown.status.success() && printed(&unknown).contains("no project \"nobody\""), "{}", printed(&unknown));
}
