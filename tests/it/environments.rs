//! Tests the environments of agents: which version new sessions get, and what activation, rollback
//! and comparison tell.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{ACCOUNT_SID, ADA, NUMBER, TestApp, create_project};

const BEN: &str = "+14155550102";
const CLEO: &str = "+14155550103";
/// The number on which versions are tried.
const TRIAL: &str = "+14155550177";

fn source(name: &str) -> String {
    format!("def reply(conv, text): return \"{name} in \" + conv.env + \": \" + text")
}

struct Environments {
    app: TestApp,
    agent: Uuid,
}

impl Environments {
    /// An agent of one version that answers a live number and one of the sandbox.
    async fn new() -> Self {
        let app = TestApp::new().await;
        let agent = app.attach(&source("one"), json!({"first_message": "process"})).await;
        app.simulator.add_number(ACCOUNT_SID, TRIAL);
        let trial = json!({"number": TRIAL, "agent_id": agent, "environment": "sandbox"});
        let attached = app.ok(Method::POST, "/v1/numbers", Some(trial)).await;
        assert_eq!(attached["environment"], "sandbox");
        Self { app, agent }
    }

    async fn add_version(&self, name: &str, settings: Value) -> Value {
        let mut version = json!({"kind": "script", "source": source(name), "first_message": "process"});
        version.as_object_mut().expect("an object").extend(settings.as_object().cloned().expect("an object"));
        self.app.ok(Method::POST, &format!("/v1/agents/{}/versions", self.agent), Some(version)).await
    }

    fn path(&self, environment: &str) -> String {
        format!("/v1/agents/{}/environments/{environment}", self.agent)
    }

    async fn activate(&self, environment: &str, version: i32) -> Value {
        self.app.ok(Method::PUT, &self.path(environment), Some(json!({"version": version}))).await
    }

    async fn roll_back(&self, environment: &str) -> Value {
        self.app.ok(Method::POST, &format!("{}/rollback", self.path(environment)), None).await
    }

    /// The versions of (sandbox, live).
    async fn versions(&self) -> (i64, i64) {
        let all = self.app.ok(Method::GET, &format!("/v1/agents/{}/environments", self.agent), None).await;
        let version = |name: &str| {
            let items = all["items"].as_array().expect("items");
            let found = items.iter().find(|item| item["environment"] == name).expect("an environment");
            found["version"].as_i64().expect("a version")
        };
        (version("sandbox"), version("live"))
    }

    /// The last answer to a contact who texts a number.
    async fn answer(&self, from: &str, to: &str, text: &str) -> String {
        assert!(self.app.simulator.say(from, to, text).await.error.is_none());
        self.app.run_jobs().await;
        self.app.simulator.received(from, to).pop().expect("an answer")
    }
}

#[tokio::test]
async fn a_version_is_tried_in_the_sandbox_before_it_goes_live() {
    let here = Environments::new().await;
    let added = here.add_version("two", json!({"activate_in": ["sandbox"]})).await;
    assert_eq!((&added["version"], &added["active_in"]), (&json!(2), &json!(["sandbox"])));
    assert_eq!(here.answer(ADA, NUMBER, "hi").await, "one in live: hi");
    assert_eq!(here.answer(ADA, TRIAL, "hi").await, "two in sandbox: hi");
    let sessions = here.app.sessions().await;
    let seen: Vec<_> = sessions.iter().map(|session| (&session["agent_version"], &session["environment"])).collect();
    assert_eq!(seen, [(&json!(2), &json!("sandbox")), (&json!(1), &json!("live"))]);

    let live = here.activate("live", 2).await;
    assert_eq!((&live["environment"], &live["version"]), (&json!("live"), &json!(2)));
    assert_eq!(
        here.answer(ADA, NUMBER, "still there?").await,
        "one in live: still there?",
        "a session keeps its version"
    );
    assert_eq!(here.answer(BEN, NUMBER, "hi").await, "two in live: hi");

    let back = here.roll_back("live").await;
    assert_eq!(back["version"], 1);
    assert_eq!(here.answer(CLEO, NUMBER, "hi").await, "one in live: hi");
    assert_eq!(here.versions().await, (2, 1), "the sandbox is as it was");
}

#[tokio::test]
async fn each_rollback_takes_one_activation_back() {
    let here = Environments::new().await;
    for name in ["two", "three"] {
        here.add_version(name, json!({"activate_in": []})).await;
    }
    assert_eq!(here.versions().await, (1, 1));
    for version in [2, 3, 3, 1] {
        here.activate("live", version).await;
    }
    for before in [3, 2, 1] {
        assert_eq!(here.roll_back("live").await["version"], before);
    }
    let refused = here.app.refused(Method::POST, &format!("{}/rollback", here.path("live")), None).await;
    assert_eq!(refused, (409, "no_version_before".to_owned()));
    here.activate("live", 3).await;
    let live = here.activate("live", 3).await;
    let history: Vec<_> = live["activations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            assert!(one["activated_at"].is_string());
            (one["version"].as_i64().expect("a version"), one["rolled_back_at"].is_string())
        })
        .collect();
    assert_eq!(history, [(3, false), (1, true), (3, true), (2, true), (1, false)]);
    assert_eq!(here.roll_back("live").await["version"], 1);
    assert_eq!(here.versions().await, (1, 1));
}

#[tokio::test]
async fn a_version_without_environments_is_active_in_all() {
    let here = Environments::new().await;
    let added = here.add_version("two", json!({})).await;
    assert_eq!(added["active_in"], json!(["live", "sandbox"]));
    let agent = here.app.ok(Method::GET, &format!("/v1/agents/{}", here.agent), None).await;
    assert_eq!((&agent["version"], &agent["active_in"]), (&json!(2), &json!(["live", "sandbox"])));
    let versions = here.app.ok(Method::GET, &format!("/v1/agents/{}/versions", here.agent), None).await;
    assert_eq!(versions["items"][1]["active_in"], json!([]));
}

#[tokio::test]
async fn inactivity_goes_by_the_version_that_is_active_in_the_sessions_environment() {
    let here = Environments::new().await;
    here.answer(ADA, NUMBER, "hi").await;
    here.answer(ADA, TRIAL, "hi").await;
    let soon = json!({"warn_after_seconds": 60, "grace_seconds": 60, "warning": "still there?"});
    here.add_version("two", json!({"activate_in": ["sandbox"], "inactivity": soon})).await;
    here.answer(ADA, NUMBER, "and now").await;
    here.answer(ADA, TRIAL, "and now").await;
    here.app.sql("update session set last_message_at = last_message_at - interval '2 minutes'").await;
    here.app.sql("update message set created_at = created_at - interval '2 minutes'").await;
    here.app.sql("update inactivity set due_at = now() - interval '1 second'").await;
    here.app.run_jobs().await;
    assert_eq!(here.app.simulator.received(ADA, TRIAL).pop().as_deref(), Some("still there?"));
    assert_eq!(here.app.simulator.received(ADA, NUMBER).pop().as_deref(), Some("one in live: and now"));
}

#[tokio::test]
async fn a_number_changes_its_environment_for_the_sessions_to_come() {
    let here = Environments::new().await;
    here.add_version("two", json!({"activate_in": ["sandbox"]})).await;
    here.answer(ADA, NUMBER, "hi").await;
    let numbers = here.app.ok(Method::GET, "/v1/numbers", None).await;
    let found = numbers["items"].as_array().expect("items").iter().find(|number| number["number"] == NUMBER);
    let path = format!("/v1/numbers/{}", found.expect("a number")["id"].as_str().expect("an id"));
    let changed = here.app.ok(Method::PATCH, &path, Some(json!({"environment": "sandbox"}))).await;
    assert_eq!(changed["environment"], "sandbox");
    assert_eq!(
        here.answer(ADA, NUMBER, "and now?").await,
        "one in live: and now?",
        "the session keeps its environment"
    );
    assert_eq!(here.answer(BEN, NUMBER, "hi").await, "two in sandbox: hi");
    // Attaching it again without an environment leaves it where it is.
    let again = json!({"number": NUMBER, "agent_id": here.agent});
    assert_eq!(here.app.ok(Method::POST, "/v1/numbers", Some(again)).await["environment"], "sandbox");
    for body in [json!({"environment": null}), json!({"environment": "prod"}), json!({"environment": ["live"]})] {
        assert_eq!(here.app.refused(Method::PATCH, &path, Some(body)).await.0, 400);
    }
}

#[tokio::test]
async fn two_versions_are_compared_setting_by_setting() {
    let here = Environments::new().await;
    here.add_version("two", json!({"greeting": "Hello!", "inactivity": {"warn_after_seconds": 60}})).await;
    let path = |version: i32, from: i32| format!("/v1/agents/{}/versions/{version}/diff/{from}", here.agent);
    let diff = here.app.ok(Method::GET, &path(2, 1), None).await;
    let change = |field: &str, before: Value, after: Value| json!({"field": field, "before": before, "after": after});
    assert_eq!(
        diff["changes"],
        json!([
            change("error_message", json!(""), diff["changes"][0]["after"].clone()),
            {"field": "greeting", "after": "Hello!"},
            change("inactivity.warn_after_seconds", json!(86_400), json!(60)),
            change("source", json!(source("one")), json!(source("two"))),
        ]),
    );
    assert_eq!((&diff["from"], &diff["version"]), (&json!(1), &json!(2)));
    assert_eq!(here.app.ok(Method::GET, &path(2, 2), None).await["changes"], json!([]));
    let back = here.app.ok(Method::GET, &path(1, 2), None).await;
    assert_eq!(back["changes"][1], json!({"field": "greeting", "before": "Hello!"}));
    here.add_version("three", json!({"source": format!("# A greeter.\n{}\n", source("three"))})).await;
    let lines = here.app.ok(Method::GET, &path(3, 2), None).await["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .find(|change| change["field"] == "source")
        .expect("a change")["lines"]
        .as_str()
        .expect("lines")
        .to_owned();
    assert!(lines.contains("\n+# A greeter.\n") && lines.contains("\n-def reply"), "{lines}");
}

#[tokio::test]
async fn what_is_unknown_is_told_and_another_projects_agent_is_not_found() {
    let here = Environments::new().await;
    let (_, stranger) = create_project(&here.app.storage, "strangers").await.expect("a project");
    let (live, agent) = (here.path("live"), here.agent);
    for (method, path, body, status, code) in [
        (Method::PUT, live.clone(), Some(json!({"version": 2})), 422, "agent_version_unknown"),
        (Method::PUT, live.clone(), Some(json!({"version": 0})), 422, "agent_version_unknown"),
        (Method::PUT, live.clone(), Some(json!({})), 400, "request_invalid"),
        (Method::PUT, live.clone(), Some(json!({"version": 1, "note": "x"})), 400, "request_invalid"),
        (Method::PUT, here.path("prod"), Some(json!({"version": 1})), 400, "request_invalid"),
        (Method::GET, format!("/v1/agents/{agent}/versions/1/diff/9"), None, 404, "not_found"),
        (Method::GET, format!("/v1/agents/{}/environments", Uuid::now_v7()), None, 404, "not_found"),
        (Method::POST, format!("{}/rollback", here.path("sandbox")), None, 409, "no_version_before"),
    ] {
        assert_eq!(here.app.refused(method.clone(), &path, body).await, (status, code.to_owned()), "{method} {path}");
    }
    for (method, path, body) in [
        (Method::GET, format!("/v1/agents/{agent}/environments"), None),
        (Method::PUT, live.clone(), Some(json!({"version": 1}))),
        (Method::POST, format!("{live}/rollback"), None),
        (Method::GET, format!("/v1/agents/{agent}/versions/1/diff/1"), None),
    ] {
        let (status, answer) = here.app.call(&stranger, method.clone(), &path, body).await;
        assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("not_found")), "{method} {path}");
    }
    assert_eq!(here.versions().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activations_at_once_leave_the_newest_active() {
    let here = Environments::new().await;
    for name in ["two", "three"] {
        here.add_version(name, json!({"activate_in": []})).await;
    }
    let here = &here;
    let calls = (0..30).map(|n| async move {
        match n % 5 {
            // There may be nothing to take back.
            4 => {
                let path = format!("{}/rollback", here.path("live"));
                let (status, _) = here.app.call(&here.app.key, Method::POST, &path, None).await;
                assert!([200, 409].contains(&status.as_u16()), "{status}");
            }
            _ => drop(here.activate("live", 1 + n % 3).await),
        }
    });
    futures::future::join_all(calls).await;
    let (_, live) = here.versions().await;
    let newest = here
        .app
        .count("select version::bigint from activation where environment = 'live' and rolled_back_at is null order by seq desc limit 1")
        .await;
    assert_eq!(live, newest);
}
