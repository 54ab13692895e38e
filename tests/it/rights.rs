//! Tests that a role without ownership can run all commands but migrate, and that missing rights
//! are named.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::commands::printed;
use crate::harness::{ADA, NUMBER, id};
use crate::process_harness::ProcessHarness;

/// A block of SQL that the pages for operators tell them to run.
pub fn documented(name: &str) -> &'static str {
    let pages = [include_str!("../../docs/operations/database.md"), include_str!("../../docs/operations/secrets.md")];
    let block = format!("```sql {name}\n");
    let (_, rest) = pages.into_iter().find_map(|page| page.split_once(&block)).expect("a block of that name");
    rest.split_once("```").expect("its end").0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_documented_rights_does_everything() {
    let mut harness = ProcessHarness::start("rights").await;
    harness.sql("create role textback_app login nosuperuser nocreatedb nocreaterole; revoke create on schema public from public; revoke temporary on database textback from public").await;
    let url = harness.url.replace("textback@", "textback_app@");
    harness.variables.push(("DATABASE_URL", url));

    // What is missing is named by the statement that gives it.
    let without = harness.doctor();
    assert!(without.contains("grant usage on schema textback to textback_app"), "{without}");
    let migrate = harness.command("migrate", &[]).output().expect("it runs");
    assert!(
        !migrate.status.success() && printed(&migrate).contains("alter schema textback owner to"),
        "{}",
        printed(&migrate)
    );
    let create = harness.command("project", &[]).args(["create", "mine"]).output().expect("it runs");
    assert!(printed(&create).contains("textback migrate --grant-to"), "{}", printed(&create));
    harness.sql(documented("rights")).await;
    // With these rights it sees that there is nothing to migrate; without one of them it is told
    // whose work that is.
    harness.sql("revoke select on textback._sqlx_migrations from textback_app").await;
    let migrate = harness.command("migrate", &[]).output().expect("it runs");
    assert!(printed(&migrate).contains("run textback migrate as the role that owns it"), "{}", printed(&migrate));
    harness.sql(documented("rights")).await;

    // Workers in `serve` and beside it.
    harness.variables.push(("TEXTBACK_WITH_WORKERS", "true".to_owned()));
    harness.open(1, ProcessHarness::echo()).await;
    let well = harness.doctor();
    assert!(well.contains("all is well"), "{well}");
    // What it may not do says who may.
    let report = printed(&harness.command("report", &[]).arg("texts").output().expect("it runs"));
    assert!(report.contains("the owner of the tables or of a dashboard's role"), "{report}");
    harness.simulator.say(ADA, NUMBER, "hi").await;
    assert_eq!(harness.simulator.until_received(ADA, NUMBER, 1).await, ["hi"]);
    // Everything that writes other tables: an http agent, a version, guards, templates, consents,
    // countries, sends now and later.
    let service = json!({"name": "service", "kind": "http", "url": "https://agent.example.com/"});
    let service = harness.call(Method::POST, "agents", service).await;
    let path = format!("agents/{}/signing-secret", id(&service["id"]));
    harness.call(Method::POST, &path, json!(null)).await;
    let quick = json!({"name": "quick", "kind": "script", "source": crate::process_harness::ECHO_ALL, "first_message": "process",
                       "inactivity": {"warn_after_seconds": 1, "grace_seconds": 1, "warning": "still there?", "closing": "bye"}});
    let quick = harness.call(Method::POST, "agents", quick).await;
    harness.simulator.add_number(crate::harness::ACCOUNT_SID, "+14155550198");
    harness.call(Method::POST, "numbers", json!({"number": "+14155550198", "agent_id": id(&quick["id"])})).await;
    harness.call(Method::PUT, "templates/greeting", json!({"body": "hello"})).await;
    harness.call(Method::PATCH, "countries/US", json!({"note": "ours"})).await;
    harness.call(Method::POST, "messages", json!({"to": "+14155550103", "template": "greeting", "from": NUMBER})).await;
    assert_eq!(harness.simulator.until_received("+14155550103", NUMBER, 1).await, ["hello"]);
    let later = (chrono::Utc::now() + chrono::Duration::milliseconds(1500)).to_rfc3339();
    let send = json!({"to": "+14155550104", "body": "later", "from": NUMBER, "send_at": later});
    harness.call(Method::POST, "messages", send).await;
    assert_eq!(harness.simulator.until_received("+14155550104", NUMBER, 1).await, ["later"]);
    harness.simulator.say(ADA, "+14155550198", "hi").await;
    let silent = harness.simulator.until_received(ADA, "+14155550198", 3).await;
    assert_eq!(silent, ["hi", "still there?", "bye"], "warned and ended");
    for word in ["STOP", "START"] {
        harness.simulator.say(ADA, NUMBER, word).await;
    }
    harness.work.push(harness.start_work(&[]));
    let well = harness.doctor();
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
            "grant execute on function textback.lock_contact(of_endpoint uuid, of_contact text) to textback_app",
        ),
        (
            "revoke usage on type textback.inbound_message from public",
            "grant usage on type textback.inbound_message to textback_app",
        ),
        ("revoke usage on schema textback from textback_app", "grant usage on schema textback to textback_app"),
    ] {
        harness.sql(taken).await;
        let lacks = harness.doctor();
        assert!(lacks.contains(given), "{taken}: {lacks}");
        if taken.contains("schema") {
            assert_eq!(harness.unreadiness().await, (503, "database_rights_missing".to_owned()));
        }
        let owner = [("DATABASE_URL", harness.url.as_str()), ("TEXTBACK_GRANT_TO", "textback_app")];
        let granted = harness.command("migrate", &owner).output().expect("it runs");
        assert!(granted.status.success(), "{}", printed(&granted));
        let well = tokio::time::timeout(Duration::from_secs(30), async { harness.doctor() }).await.expect("in time");
        assert!(!well.contains("rights"), "{taken}: {well}");
    }
}
