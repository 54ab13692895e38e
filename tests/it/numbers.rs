//! Tests numbers: searching, buying, attaching, reconciling and detaching.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use twilio_simulator::Fault;

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

pub const FOR_SALE: &str = "+14155550120";

impl TestApp {
    pub async fn an_agent(&self) -> Value {
        let agents = self.ok(Method::GET, "/v1/agents", None).await;
        match agents["items"].as_array().and_then(|items| items.first()) {
            Some(agent) => agent["id"].clone(),
            None => json!(self.agent("agent", ECHO, json!({"first_message": "process"})).await),
        }
    }

    pub async fn buy(&self, number: &str) -> (StatusCode, Value) {
        let body = json!({"number": number, "agent_id": self.an_agent().await, "buy": true});
        self.call(&self.key, Method::POST, "/v1/numbers", Some(body)).await
    }

    /// The first number of the list.
    pub async fn number(&self) -> Value {
        self.ok(Method::GET, "/v1/numbers", None).await["items"][0].clone()
    }

    /// Lets the workers look after all numbers, as after an hour.
    pub async fn reconcile_numbers(&self) {
        self.sql("update number set check_at = now() where check_at is not null").await;
        self.workers.numbers.step().await.expect("numbers");
    }

    pub async fn health(&self) -> (String, String) {
        let id = self.number().await["id"].as_str().expect("an id").to_owned();
        let health = self.ok(Method::GET, &format!("/v1/numbers/{id}/health"), None).await;
        let findings = health["findings"].as_array().expect("findings").iter();
        let told = findings
            .map(|finding| format!("{} -> {}", finding["what"], finding["repair"]))
            .collect::<Vec<_>>()
            .join("\n");
        (health["status"].as_str().expect("a status").to_owned(), told)
    }
}

pub async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

fn steps(number: &Value) -> Vec<String> {
    let steps = number["steps"].as_array().expect("steps").iter();
    steps.map(|step| step["step"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_number_is_found_bought_and_answers_from_the_first_text_on() {
    let app = TestApp::new().await;
    let path = "/v1/available-numbers?country=us&contains=55501*&limit=5";
    let found = app.ok(Method::GET, path, None).await;
    assert_eq!(found["items"].as_array().expect("items").len(), 5);
    assert_eq!((&found["items"][0]["number"], &found["items"][0]["sms"]), (&json!(FOR_SALE), &json!(true)));
    let (status, bought) = app.buy(FOR_SALE).await;
    assert_eq!(status, 200, "{bought}");
    assert_eq!(steps(&bought), ["bought", "registration"]);
    assert_eq!(
        (&bought["webhook"], &bought["registration"], &bought["sends"]),
        (&json!("ok"), &json!("approved"), &json!("open"))
    );
    assert_eq!(bought["warnings"], json!([]));
    app.simulator.say(ADA, FOR_SALE, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, FOR_SALE), ["1: hi"]);
    assert_eq!(app.health().await.0, "ok");
}

#[tokio::test]
async fn what_cannot_be_searched_or_bought_says_why() {
    let app = TestApp::new().await;
    for (path, code) in [
        ("/v1/available-numbers?country=USA", "country_invalid"),
        ("/v1/available-numbers?country=US&contains=1", "contains_invalid"),
        ("/v1/available-numbers?country=US&limit=51", "limit_out_of_range"),
        ("/v1/available-numbers?country=US&type=mobile", "numbers_not_sold"),
        ("/v1/available-numbers?country=US&type=pigeon", "request_invalid"),
    ] {
        assert_eq!(app.refused(Method::GET, path, None).await.1, code, "{path}");
    }
    for (number, code) in [("+15005550000", "number_not_available"), ("+385912345670", "country_without_sms")] {
        let (status, answer) = app.buy(number).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!(code)), "{answer}");
    }
    let not_ours = json!({"number": "+14155550777", "agent_id": app.an_agent().await});
    assert_eq!(app.refused(Method::POST, "/v1/numbers", Some(not_ours)).await.1, "number_not_owned");
    assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]), "none of them is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_at_once_buy_a_number_once() {
    let app = TestApp::new().await;
    app.an_agent().await;
    let answers = futures::future::join_all((0..10).map(|_| app.buy(FOR_SALE))).await;
    for (status, answer) in answers {
        assert!(status == 200 || answer["code"] == "number_busy", "{answer}");
    }
    assert_eq!(app.simulator.bought(), [FOR_SALE]);
    assert_eq!(app.number().await["webhook"], "ok");
}

#[tokio::test]
async fn drift_is_detected_and_repaired_if_allowed() {
    let app = app().await;
    let elsewhere = "https://elsewhere.example/sms";
    app.simulator.change_number(NUMBER, |number| number.sms_url = elsewhere.to_owned());
    app.reconcile_numbers().await;
    let number = app.number().await;
    assert_eq!(number["webhook"], "ok");
    assert!(steps(&number).ends_with(&["webhook drifted".to_owned(), "webhook set".to_owned()]), "{number}");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);

    let path = format!("/v1/numbers/{}", number["id"].as_str().expect("an id"));
    app.ok(Method::PATCH, &path, Some(json!({"repair_drift": false}))).await;
    app.simulator.change_number(NUMBER, |number| number.sms_url = elsewhere.to_owned());
    app.reconcile_numbers().await;
    let number = app.number().await;
    assert_eq!(number["webhook"], "drifted");
    assert!(number["webhook_detail"].as_str().is_some_and(|detail| detail.contains(elsewhere)));
    let (status, told) = app.health().await;
    assert!(status == "blocked" && told.contains("attach it again"), "{told}");

    app.simulator.plan_number_faults([Fault::Fail500]);
    app.reconcile_numbers().await;
    assert_eq!(app.number().await["webhook"], "unreachable");
    app.reconcile_numbers().await;
    assert_eq!(app.number().await["webhook"], "drifted", "and then it is seen again");
}

#[tokio::test]
async fn an_application_or_a_callback_of_somebody_elses_is_told_from_ours() {
    let app = TestApp::new().await;
    app.simulator.change_number(NUMBER, |number| {
        number.sms_application_sid = "AP1".to_owned();
        number.status_callback = "https://calls.example/status".to_owned();
    });
    app.attach(ECHO, json!({"first_message": "process"})).await;
    let number = app.simulator.number(NUMBER).expect("a number");
    assert_eq!(
        (number.sms_application_sid.as_str(), number.status_callback.as_str()),
        ("", "https://calls.example/status")
    );
}

#[tokio::test]
async fn a_messaging_service_that_swallows_texts_is_found_before_it_hurts() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.use_inbound_webhook_on_number = false);
    app.attach(ECHO, json!({"first_message": "process"})).await;
    assert!(app.simulator.say(ADA, NUMBER, "hi").await.error.is_some(), "the carrier drops it");
    let number = app.number().await;
    assert!(number["warnings"][0].as_str().is_some_and(|told| told.contains("drops inbound texts")), "{number}");
    let (status, told) = app.health().await;
    assert!(status == "blocked" && told.contains("Defer to sender's webhook"), "{told}");
    let id = number["id"].as_str().expect("an id").to_owned();
    app.simulator.change_service(NUMBER, |service| service.use_inbound_webhook_on_number = true);
    let health = app.ok(Method::GET, &format!("/v1/numbers/{id}/health?refresh=true"), None).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
}

#[tokio::test]
async fn a_number_is_detached_only_on_request_and_as_requested() {
    let app = app().await;
    let path = format!("/v1/numbers/{}", app.number().await["id"].as_str().expect("an id"));
    assert_eq!(app.refused(Method::DELETE, &path, None).await, (422, "at_carrier_missing".to_owned()));
    app.simulator.plan_number_faults([Fault::Fail500]);
    let keep = format!("{path}?at_carrier=keep");
    assert_eq!(app.call(&app.key, Method::DELETE, &keep, None).await.0, 502);
    app.reconcile_numbers().await;
    assert_eq!(app.refused(Method::GET, &path, None).await.0, 404, "it went on by itself");
    let kept = app.simulator.number(NUMBER).expect("the account keeps it");
    assert_eq!((kept.sms_url.as_str(), kept.sms_fallback_url.as_str()), ("", ""));

    let (_, bought) = app.buy(FOR_SALE).await;
    let release = format!("/v1/numbers/{}?at_carrier=release", bought["id"].as_str().expect("an id"));
    app.simulator.plan_number_faults([Fault::AcceptThenHang(0), Fault::AcceptThen500]);
    assert_eq!(app.call(&app.key, Method::DELETE, &release, None).await.0, 502, "the answer was lost");
    assert_eq!(app.call(&app.key, Method::DELETE, &release, None).await.0, 204);
    assert!(app.simulator.number(FOR_SALE).is_none());
}

#[tokio::test]
async fn a_number_that_comes_back_knows_who_opted_out() {
    let app = app().await;
    app.answers(ADA, "STOP").await;
    let path = format!("/v1/numbers/{}?at_carrier=keep", app.number().await["id"].as_str().expect("an id"));
    assert_eq!(app.call(&app.key, Method::DELETE, &path, None).await.0, 204);
    let again = json!({"number": NUMBER, "agent_id": app.an_agent().await});
    app.ok(Method::POST, "/v1/numbers", Some(again)).await;
    let refused = app.refused(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "x"}))).await;
    assert_eq!(refused.1, "contact_opted_out");
}

#[tokio::test]
async fn the_agent_of_a_number_can_be_changed_for_sessions_to_come() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let other =
        app.agent("other", "def reply(conv, text): return \"other\"", json!({"first_message": "process"})).await;
    let path = format!("/v1/numbers/{}", app.number().await["id"].as_str().expect("an id"));
    let changed = app.ok(Method::PATCH, &path, Some(json!({"agent_id": other}))).await;
    assert_eq!(changed["agent_id"], json!(other));
    assert_eq!(app.answers(ADA, "again").await.pop().as_deref(), Some("2: again"));
    assert_eq!(app.answers("+14155550102", "hi").await, ["other"]);
    let nobody = json!({"agent_id": uuid::Uuid::now_v7()});
    assert_eq!(app.refused(Method::PATCH, &path, Some(nobody)).await.1, "agent_unknown");
}

#[tokio::test]
async fn credentials_are_tried_before_they_are_kept() {
    let app = TestApp::new().await;
    let key = format!("SK{}", "1".repeat(32));
    let wrong_key =
        json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "api_key_sid": key, "api_key_secret": "no"});
    let (status, answer) = app.call(&app.key, Method::PUT, "/v1/carrier", Some(wrong_key)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("credentials_refused")));
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("API key")), "{answer}");
    let mut account = twilio_simulator::Account::new(ACCOUNT_SID, AUTH_TOKEN);
    account.api_keys.insert(key.clone(), "yes".to_owned());
    app.simulator.add_account(account);
    let right =
        json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "api_key_sid": key, "api_key_secret": "yes"});
    app.ok(Method::PUT, "/v1/carrier", Some(right)).await;
    let wrong_token =
        json!({"account_sid": ACCOUNT_SID, "auth_token": "no", "api_key_sid": key, "api_key_secret": "yes"});
    assert_eq!(app.refused(Method::PUT, "/v1/carrier", Some(wrong_token)).await.1, "credentials_refused");
    app.attach(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"], "the key calls, the token signs");
}

#[tokio::test]
async fn a_number_that_cannot_text_is_not_paid_for_and_one_that_was_is_not_forgotten() {
    let app = TestApp::new().await;
    app.simulator.sell_without_sms(FOR_SALE, true);
    let (status, answer) = app.buy(FOR_SALE).await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("number_without_sms")));
    assert!(app.simulator.bought().is_empty(), "the search tells before the purchase");
    assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]));
    // One that no search tells of is bought, and turns out to be mute.
    app.simulator.sell_without_sms(FOR_SALE, false);
    let (status, answer) = app.buy(FOR_SALE).await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("number_without_sms")));
    let number = app.number().await;
    assert_eq!(
        (&number["number"], number["carrier_id"].is_string()),
        (&json!(FOR_SALE), true),
        "it costs money, and is seen"
    );
    assert!(app.health().await.1.contains("can't send or receive texts"));
    let path = format!("/v1/numbers/{}?at_carrier=release", number["id"].as_str().expect("an id"));
    assert_eq!(app.call(&app.key, Method::DELETE, &path, None).await.0, 204);
    // One that was only to be attached is not ours, and leaves nothing behind.
    app.simulator.change_number(NUMBER, |number| number.sms = false);
    let attach = json!({"number": NUMBER, "agent_id": app.an_agent().await});
    assert_eq!(app.refused(Method::POST, "/v1/numbers", Some(attach)).await.1, "number_without_sms");
    assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]));
}

#[tokio::test]
async fn a_number_that_the_account_lost_stays_visible_and_comes_back_when_the_account_has_it_again() {
    let app = app().await;
    let held = app.simulator.number(NUMBER).expect("a number");
    app.simulator.take_away(NUMBER);
    let id = app.number().await["id"].as_str().expect("an id").to_owned();
    let health = app.ok(Method::GET, &format!("/v1/numbers/{id}/health?refresh=true"), None).await;
    assert_eq!(health["status"], "blocked");
    assert_eq!(app.number().await["webhook"], "drifted", "a look detaches nothing");
    app.simulator.add_number(ACCOUNT_SID, NUMBER);
    app.simulator.change_number(NUMBER, |number| number.sid = held.sid);
    app.reconcile_numbers().await;
    assert_eq!(app.number().await["webhook"], "ok");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
}

#[tokio::test]
async fn a_number_can_be_bought_again_after_it_was_released() {
    let app = TestApp::new().await;
    let (_, bought) = app.buy(FOR_SALE).await;
    let path = format!("/v1/numbers/{}?at_carrier=release", bought["id"].as_str().expect("an id"));
    assert_eq!(app.call(&app.key, Method::DELETE, &path, None).await.0, 204);
    app.simulator.put_up_for_sale(FOR_SALE);
    let (status, again) = app.buy(FOR_SALE).await;
    assert_eq!(status, 200, "{again}");
    assert_eq!((&again["webhook"], app.simulator.bought().len()), (&json!("ok"), 2));
}

#[tokio::test]
async fn a_change_during_a_reconciliation_is_not_lost() {
    let app = app().await;
    let project = textback::storage::project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("one");
    let id = crate::harness::id(&app.number().await["id"]);
    textback::storage::number::set_desired_state(
        &mut *crate::harness::pooled(&app.storage).await,
        project.id,
        id,
        textback::domain::number::DesiredState::Detached,
    )
    .await
    .expect("noted");
    let claim =
        textback::storage::number::claim_one(&mut *crate::harness::pooled(&app.storage).await, project.id, id, 120)
            .await
            .expect("an answer")
            .expect("a lease");
    // While it is being let go, somebody wants it again.
    let again = json!({"number": NUMBER, "agent_id": app.an_agent().await});
    assert_eq!(app.refused(Method::POST, "/v1/numbers", Some(again)).await.1, "number_busy");
    let gone = textback::storage::number::ObservedState {
        generation: claim.number.generation,
        gone: true,
        check_in_seconds: 3600.0,
        ..Default::default()
    };
    assert!(
        textback::storage::number::settle(&mut *crate::harness::pooled(&app.storage).await, &claim, &gone)
            .await
            .expect("settled")
    );
    app.workers.numbers.step().await.expect("numbers");
    let number = app.number().await;
    assert_eq!((&number["wanted"], &number["webhook"]), (&json!("attached"), &json!("ok")), "{number}");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
}

#[tokio::test]
async fn two_projects_do_not_take_a_number_from_each_other_for_ever() {
    let app = app().await;
    let (_, second_key) = crate::harness::create_project(&app.storage, "second").await.expect("a project");
    let ask = |method, path: &'static str, body| app.call(&second_key, method, path, Some(body));
    let credentials = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN});
    assert_eq!(ask(Method::PUT, "/v1/carrier", credentials).await.0, 200);
    let agent = json!({"name": "second", "kind": "script", "source": ECHO, "first_message": "process"});
    let agent_id = ask(Method::POST, "/v1/agents", agent).await.1["id"].clone();
    let (status, taken) = ask(Method::POST, "/v1/numbers", json!({"number": NUMBER, "agent_id": agent_id})).await;
    assert_eq!((status.as_u16(), &taken["webhook"]), (200, &json!("ok")), "who asks last has it");
    for _ in 0..3 {
        app.reconcile_numbers().await;
    }
    let number = app.number().await;
    assert_eq!(number["webhook"], "drifted");
    assert!(
        number["warnings"][0].as_str().is_some_and(|told| told.contains("another project of this installation")),
        "{number}"
    );
    let (_, seconds) = app.call(&second_key, Method::GET, "/v1/numbers", None).await;
    assert_eq!(seconds["items"][0]["webhook"], "ok", "nobody took it back");
    // Who asks for it has it again.
    let again = json!({"number": NUMBER, "agent_id": number["agent_id"]});
    assert_eq!(app.ok(Method::POST, "/v1/numbers", Some(again)).await["webhook"], "ok");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
}

#[tokio::test]
async fn attaching_a_number_again_moves_its_webhooks_whatever_the_repair_policy() {
    let app = app().await;
    let number = app.number().await;
    let path = format!("/v1/numbers/{}", number["id"].as_str().expect("an id"));
    app.ok(Method::PATCH, &path, Some(json!({"repair_drift": false}))).await;
    app.simulator.change_number(NUMBER, |number| number.sms_url = "https://elsewhere.example/sms".to_owned());
    app.reconcile_numbers().await;
    assert_eq!(app.number().await["webhook"], "drifted");
    let again = json!({"number": NUMBER, "agent_id": number["agent_id"]});
    let number = app.ok(Method::POST, "/v1/numbers", Some(again)).await;
    assert_eq!((&number["webhook"], &number["repair_drift"]), (&json!("ok"), &json!(false)));
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
}
