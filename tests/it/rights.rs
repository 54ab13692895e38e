//! A role that owns nothing and may make nothing runs all commands but migrate; what it lacks is named.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::commands::said;
use crate::harness::{ADA, NUMBER, id};
use crate::stage::Stage;

/// A block of SQL that docs/operations.md tells operators to run.
pub fn documented(name: &str) -> &'static str {
    let page = include_str!("../../docs/operations.md");
    let (_, rest) = page.split_once(&format!("```sql {name}\n")).expect("a block of that name");
    rest.split_once("```").expect("its end").0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_documented_rights_does_everything() {
    let mut stage = Stage::set("rights").await;
    stage.sql("create role textback_app login nosuperuser nocreatedb nocreaterole; revoke create on schema public from public; revoke temporary on database textback from public").await;
    let url = stage.url.replace("textback@", "textback_app@");
    stage.variables.push(("DATABASE_URL", url));

    // What is missing is named by the statement that gives it.
    let without = stage.doctor();
    assert!(without.contains("grant usage on schema textback to textback_app"), "{without}");
    let migrate = stage.command("migrate", &[]).output().expect("it runs");
    assert!(
        !migrate.status.success() && said(&migrate).contains("alter schema textback owner to"),
        "{}",
        said(&migrate)
    );
    let create = stage.command("project", &[]).args(["create", "mine"]).output().expect("it runs");
    assert!(said(&create).contains("textback migrate --grant-to"), "{}", said(&create));
    stage.sql(documented("rights")).await;
    // With these rights it sees that there is nothing to migrate; without one of them it is told whose work that is.
    stage.sql("revoke select on textback._sqlx_migrations from textback_app").await;
    let migrate = stage.command("migrate", &[]).output().expect("it runs");
    assert!(said(&migrate).contains("run textback migrate as the role that owns it"), "{}", said(&migrate));
    stage.sql(documented("rights")).await;

    // Workers in `serve` and beside it.
    stage.variables.push(("TEXTBACK_WITH_WORKERS", "true".to_owned()));
    stage.open(1, Stage::echo()).await;
    let well = stage.doctor();
    assert!(well.contains("all is well"), "{well}");
    stage.simulator.say(ADA, NUMBER, "hi").await;
    assert_eq!(stage.simulator.until_received(ADA, NUMBER, 1).await, ["hi"]);
    // Everything that writes other tables: an http agent, a version, guards, templates, consents, countries, sends now and later.
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    let service = stage.ask(Method::POST, "agents", service).await;
    let path = format!("agents/{}/signing-secret", id(&service["id"]));
    stage.ask(Method::POST, &path, json!(null)).await;
    let quick = json!({"name": "quick", "kind": "script", "source": crate::stage::ECHO_ALL, "first_message": "process",
                       "silence": {"warn_after_seconds": 1, "grace_seconds": 1, "warning": "still there?", "closing": "bye"}});
    let quick = stage.ask(Method::POST, "agents", quick).await;
    stage.simulator.add_number(crate::harness::ACCOUNT_SID, "+14155550198");
    stage.ask(Method::POST, "numbers", json!({"number": "+14155550198", "agent_id": id(&quick["id"])})).await;
    stage.ask(Method::PUT, "templates/greeting", json!({"body": "hello"})).await;
    stage.ask(Method::PATCH, "countries/US", json!({"note": "ours"})).await;
    stage.ask(Method::POST, "messages", json!({"to": "+14155550103", "template": "greeting", "from": NUMBER})).await;
    assert_eq!(stage.simulator.until_received("+14155550103", NUMBER, 1).await, ["hello"]);
    let later = (chrono::Utc::now() + chrono::Duration::milliseconds(1500)).to_rfc3339();
    let send = json!({"to": "+14155550104", "body": "later", "from": NUMBER, "send_at": later});
    stage.ask(Method::POST, "messages", send).await;
    assert_eq!(stage.simulator.until_received("+14155550104", NUMBER, 1).await, ["later"]);
    stage.simulator.say(ADA, "+14155550198", "hi").await;
    let silent = stage.simulator.until_received(ADA, "+14155550198", 3).await;
    assert_eq!(silent, ["hi", "still there?", "bye"], "warned and ended");
    for word in ["STOP", "START"] {
        stage.simulator.say(ADA, NUMBER, word).await;
    }
    stage.work.push(stage.start_work(&[]));
    let well = stage.doctor();
    assert!(well.contains("all is well"), "{well}");

    // A right that is taken is named, by doctor and by migrate --grant-to, which gives it again.
    for (taken, given) in [
        (
            "revoke insert on textback.delivery from textback_app",
            "grant insert on table textback.delivery to textback_app",
        ),
        (
            "revoke usage on sequence textback.message_seq_seq from textback_app",
            "grant usage on sequence textback.message_seq_seq to textback_app",
        ),
        (
            "revoke select on textback.invariant_03_no_message_forgotten from textback_app",
            "grant select on table textback.invariant_03_no_message_forgotten to textback_app",
        ),
        (
            "revoke execute on function textback.lock_contact(uuid, text) from public",
            "grant execute on function textback.lock_contact(of_number uuid, of_contact text) to textback_app",
        ),
        (
            "revoke usage on type textback.incoming_text from public",
            "grant usage on type textback.incoming_text to textback_app",
        ),
        ("revoke usage on schema textback from textback_app", "grant usage on schema textback to textback_app"),
    ] {
        stage.sql(taken).await;
        let lacks = stage.doctor();
        assert!(lacks.contains(given), "{taken}: {lacks}");
        if taken.contains("schema") {
            assert_eq!(stage.trouble().await, (503, "database_rights_missing".to_owned()));
        }
        let owner = [("DATABASE_URL", stage.url.as_str()), ("TEXTBACK_GRANT_TO", "textback_app")];
        let granted = stage.command("migrate", &owner).output().expect("it runs");
        assert!(granted.status.success(), "{}", said(&granted));
        let well = tokio::time::timeout(Duration::from_secs(30), async { stage.doctor() }).await.expect("in time");
        assert!(!well.contains("rights"), "{taken}: {well}");
    }
}
