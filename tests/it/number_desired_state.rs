//! Tests changes of the desired state of a number that overlap, changes of the account, and what a
//! detached number keeps.

use reqwest::Method;
use serde_json::{Value, json};
use textback::carriers::number::RegistrationFacts;
use textback::domain::number::{RegistrationStatus, WebhookState};
use textback::storage::number::{self, Claim, ObservedState};
use twilio_simulator::{Account, Fault};

use crate::commands::{Running, printed, run};
use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, id};
use crate::numbers::{FOR_SALE, app};

impl TestApp {
    pub(crate) async fn number_path(&self) -> String {
        format!("/v1/numbers/{}", self.number().await["id"].as_str().expect("an id"))
    }

    /// Another process is reconciling the number.
    async fn held_by_a_look(&self) -> Claim {
        let found =
            textback::storage::project::find_by_name(&mut *crate::harness::pooled(&self.storage).await, "tests").await;
        let project_id = found.expect("an answer").expect("one").id;
        let number_id = id(&self.number().await["id"]);
        number::claim_one(&mut *crate::harness::pooled(&self.storage).await, project_id, number_id, 120)
            .await
            .expect("an answer")
            .expect("a lease")
    }

    async fn part(&self, at_carrier: &str) -> (u16, Value) {
        let path = format!("{}?at_carrier={at_carrier}", self.number_path().await);
        let (status, answer) = self.call(&self.key, Method::DELETE, &path, None).await;
        (status.as_u16(), answer)
    }

    async fn attach_again(&self, buy: bool) -> (u16, Value) {
        let body = json!({"number": NUMBER, "agent_id": self.an_agent().await, "buy": buy});
        let (status, answer) = self.call(&self.key, Method::POST, "/v1/numbers", Some(body)).await;
        (status.as_u16(), answer)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_during_a_search_for_the_same_number_is_done() {
    let app = TestApp::new().await;
    let agent = app.an_agent().await;
    app.simulator.plan_number_faults([Fault::AcceptThenHang(700)]);
    let request = |buy: bool| json!({"number": FOR_SALE, "agent_id": agent, "buy": buy});
    let first = app.call(&app.key, Method::POST, "/v1/numbers", Some(request(false)));
    let second = async {
        while app.count("select count(*) from number where lease_token is not null").await == 0 {}
        app.call(&app.key, Method::POST, "/v1/numbers", Some(request(true))).await
    };
    let ((not_owned, _), (bought, answer)) = tokio::join!(first, second);
    assert_eq!((not_owned.as_u16(), bought.as_u16()), (422, 200), "{answer}");
    assert_eq!(app.simulator.bought(), [FOR_SALE]);
}

#[tokio::test]
async fn attaching_an_attached_number_reconciles_it_at_once() {
    let app = app().await;
    app.ok(Method::PATCH, &app.number_path().await, Some(json!({"repair_drift": false}))).await;
    app.simulator.change_number(NUMBER, |number| number.sms_url = "https://elsewhere.example/sms".to_owned());
    let claim = app.held_by_a_look().await;
    assert_eq!(app.attach_again(false).await.1["code"], "number_busy");
    let seen = ObservedState {
        generation: claim.number.generation,
        webhook: Some(WebhookState::Drifted),
        check_in_seconds: 3600.0,
        ..ObservedState::default()
    };
    assert!(number::settle(&mut *crate::harness::pooled(&app.storage).await, &claim, &seen).await.expect("settled"));
    assert_eq!(app.workers.numbers.step().await.expect("numbers"), 1, "it is due at once");
    assert_eq!(app.number().await["webhook"], "ok");
}

#[tokio::test]
async fn a_reconciliation_of_an_earlier_generation_does_not_satisfy_the_next_one() {
    let app = app().await;
    app.ok(Method::PATCH, &app.number_path().await, Some(json!({"repair_drift": false}))).await;
    let claim = app.held_by_a_look().await;
    app.simulator
        .change_number(NUMBER, |number| number.sms_url = "https://me:secret@elsewhere.example/sms?key=1".to_owned());
    assert_eq!(app.attach_again(false).await.1["code"], "number_busy");
    // The look had seen the webhooks before they were changed.
    let seen = ObservedState {
        generation: claim.number.generation,
        webhook: Some(WebhookState::Ok),
        check_in_seconds: 3600.0,
        ..ObservedState::default()
    };
    assert!(number::settle(&mut *crate::harness::pooled(&app.storage).await, &claim, &seen).await.expect("settled"));
    app.workers.numbers.step().await.expect("numbers");
    assert_eq!(app.number().await["webhook"], "ok");
    assert!(app.simulator.number(NUMBER).is_some_and(|number| number.sms_url.contains("/webhooks/twilio/")));
    // What somebody else's address holds is not told.
    app.simulator
        .change_number(NUMBER, |number| number.sms_url = "https://me:secret@elsewhere.example/sms?key=1".to_owned());
    app.reconcile_numbers().await;
    let told = app.number().await.to_string();
    assert!(
        told.contains("https://elsewhere.example/sms") && !told.contains("secret") && !told.contains("key=1"),
        "{told}"
    );
}

#[tokio::test]
async fn a_release_that_is_asked_for_while_it_is_only_detached_is_done() {
    let app = app().await;
    app.sql("update number set desired_state = 'detached'").await;
    let claim = app.held_by_a_look().await;
    assert_eq!(app.part("release").await.1["code"], "number_busy");
    let gone = ObservedState {
        generation: claim.number.generation,
        gone: true,
        check_in_seconds: 3600.0,
        ..ObservedState::default()
    };
    assert!(number::settle(&mut *crate::harness::pooled(&app.storage).await, &claim, &gone).await.expect("settled"));
    app.workers.numbers.step().await.expect("numbers");
    assert!(app.simulator.number(NUMBER).is_none(), "it is released");
    assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]));
}

#[tokio::test]
async fn a_report_is_a_suspicion_while_the_key_may_not_ask() {
    let app = app().await;
    app.simulator.refuse_messaging(true);
    app.answers(ADA, "hi").await;
    app.report_blocked().await;
    assert_eq!(app.number().await["sends"], "blocked");
    app.workers.numbers.step().await.expect("numbers");
    assert_eq!(app.number().await["sends"], "open", "texts are tried again");
    assert!(app.health().await.1.contains("give it read permission"));
}

#[tokio::test]
async fn a_number_that_is_being_released_is_not_promised_to_anybody() {
    let app = app().await;
    let claim = app.held_by_a_look().await;
    app.sql("update number set desired_state = 'released'").await;
    let (status, answer) = app.attach_again(false).await;
    assert_eq!((status, &answer["code"]), (409, &json!("number_busy")));
    assert!(answer["detail"].as_str().is_some_and(|told| told.contains("being released")), "{answer}");
    number::give_back(&mut *crate::harness::pooled(&app.storage).await, &[claim]).await.expect("given back");
    assert_eq!(app.attach_again(false).await.0, 200, "nobody has begun");
    assert_eq!(app.number().await["wanted"], "attached");
}

#[tokio::test]
async fn a_number_that_the_account_lost_is_not_forgotten_because_somebody_wants_to_buy_it() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("PENDING".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.ok(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "old news"}))).await;
    app.simulator.take_away(NUMBER);
    let (status, answer) = app.attach_again(true).await;
    assert_eq!((status, &answer["code"]), (422, &json!("number_not_available")));
    let (health, told) = app.health().await;
    assert!(health == "blocked" && told.contains("could not be bought"), "{told}");
    // It comes back to the account, and comes back here by itself.
    app.simulator.add_number(ACCOUNT_SID, NUMBER);
    app.reconcile_numbers().await;
    app.run_jobs().await;
    let number = app.number().await;
    assert_eq!((&number["webhook"], &number["registration"]), (&json!("ok"), &json!("approved")), "{number}");
    assert_eq!(app.simulator.received(ADA, NUMBER), ["old news"]);
}

#[tokio::test]
async fn what_was_not_for_sale_is_not_bought_months_later_unasked() {
    let app = TestApp::new().await;
    app.simulator.plan_number_faults([Fault::Fail500]);
    app.buy("+14155550190").await;
    app.simulator.clear_faults();
    app.reconcile_numbers().await;
    for _ in 0..2 {
        let (health, told) = app.health().await;
        assert!(
            health == "blocked" && told.contains("is not available") && told.contains("search for another one"),
            "{told}"
        );
        let refreshed = format!("{}/health?refresh=true", app.number_path().await);
        assert_eq!(app.ok(Method::GET, &refreshed, None).await["status"], "blocked", "asking takes nothing away");
        app.reconcile_numbers().await;
    }
    app.simulator.put_up_for_sale("+14155550190");
    app.reconcile_numbers().await;
    assert!(app.simulator.bought().is_empty(), "{:?}", app.simulator.bought());
    let (status, bought) = app.buy("+14155550190").await;
    assert_eq!((status.as_u16(), &bought["webhook"]), (200, &json!("ok")), "who asks again gets it");
}

#[tokio::test]
async fn a_late_report_about_a_pending_number_fails_nothing_that_waits() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("PENDING".to_owned(), None)));
    app.reconcile_numbers().await;
    assert_eq!(app.answers(ADA, "wait").await, ["1: hi"]);
    app.report_blocked().await;
    assert_eq!(app.number().await["registration"], "pending");
    // Nor does a look at the moment in which it moves from one messaging service to another.
    app.simulator.leave_service(NUMBER);
    app.reconcile_numbers().await;
    assert_eq!(
        (&app.number().await["registration"], &app.number().await["sends"]),
        (&json!("unregistered"), &json!("blocked"))
    );
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("VERIFIED".to_owned(), None)));
    app.reconcile_numbers().await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi", "2: wait"]);
}

#[tokio::test]
async fn a_number_that_is_kept_loses_what_is_ours_and_nothing_else() {
    let other = "https://other.example/x".to_owned();
    for changed in ["nothing", "fallback", "messages", "overrides", "application", "callback"] {
        let app = app().await;
        app.simulator.change_number(NUMBER, |number| match changed {
            "fallback" => number.sms_fallback_url = other.clone(),
            "messages" => number.sms_url = other.clone(),
            "overrides" => number.sms_url = number.sms_url.replace("#rc=3", "#rc=1"),
            "application" => number.sms_application_sid = "AP1".to_owned(),
            "callback" => number.status_callback = other.clone(),
            _ => {}
        });
        assert_eq!(app.part("keep").await.0, 204);
        let left = app.simulator.number(NUMBER).expect("the account keeps it");
        let left = [left.sms_url, left.sms_fallback_url, left.status_callback];
        assert!(left.iter().all(|url| !url.contains("/webhooks/twilio/")), "{changed}: {left:?}");
        let kept = left.iter().filter(|url| **url == other).count();
        assert_eq!(kept, usize::from(matches!(changed, "messages" | "callback")), "{changed}: {left:?}");
    }
}

#[tokio::test]
async fn a_number_that_is_not_ours_yet_or_not_for_long_sends_nothing() {
    let app = app().await;
    app.simulator.add_number(ACCOUNT_SID, "+447700900199");
    let british = json!({"number": "+447700900199", "agent_id": app.an_agent().await});
    app.ok(Method::POST, "/v1/numbers", Some(british)).await;
    app.sql("update number set desired_state = 'released' where number = '+14155550199'").await;
    app.simulator.plan_number_faults([Fault::Fail500]);
    app.buy(FOR_SALE).await;
    let sent = app.ok(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "hello"}))).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, "+447700900199"), ["hello"], "{sent}");
    let named = json!({"to": ADA, "body": "hello", "from": FOR_SALE});
    assert_eq!(app.refused(Method::POST, "/v1/messages", Some(named)).await.1, "number_not_ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_doctor_report_detachments_rules_and_secrets() {
    let app = app().await;
    app.simulator.plan_number_faults([Fault::Fail500]);
    assert_eq!(app.part("release").await.0, 502);
    let (health, told) = app.health().await;
    assert!(health == "at_risk" && told.contains("is to be released, and is not yet"), "{told}");
    let doctor = printed(&run(&mut app.command("doctor", &app.secret_key)));
    assert!(doctor.contains("is to be released, and is not yet"), "{doctor}");
    assert_eq!(app.attach_again(false).await.0, 200);

    app.ok(Method::PATCH, "/v1/countries/US", Some(json!({"two_way": false, "note": "the law changed"}))).await;
    let (health, told) = app.health().await;
    assert!(health == "blocked" && told.contains("your own rule of") && told.contains("the law changed"), "{told}");
    let (_, refused) = app.buy(FOR_SALE).await;
    assert!(
        refused["detail"].as_str().is_some_and(|told| told.contains("the law changed") && !told.contains("polyai")),
        "{refused}"
    );
    assert_eq!(app.refused(Method::GET, "/v1/available-numbers?country=US", None).await.1, "country_without_sms");
    app.ok(Method::PATCH, "/v1/countries/US", Some(json!({"two_way": null}))).await;

    app.simulator.change_number(NUMBER, |number| number.sms_fallback_url = String::new());
    let doctor = printed(&run(&mut app.command("doctor", &app.secret_key)));
    assert!(doctor.contains("its fallback is nowhere"), "{doctor}");
    app.reconcile_numbers().await;
    app.simulator.change_number(NUMBER, |number| number.status_callback = String::new());
    app.reconcile_numbers().await;
    assert!(app.simulator.number(NUMBER).is_some_and(|number| number.status_callback.contains("/status")), "drift too");

    // The carrier is away: health tells it, and is no error.
    app.simulator.plan_number_faults([Fault::Fail500]);
    let path = format!("{}/health?refresh=true", app.number_path().await);
    let health = app.ok(Method::GET, &path, None).await;
    assert!(health["findings"][0]["what"].as_str().is_some_and(|told| told.contains("could not be asked")), "{health}");
    app.reconcile_numbers().await;
    assert_eq!(app.health().await.0, "ok");
    // Approved long ago, and not to be read any more.
    app.simulator.refuse_messaging(true);
    app.reconcile_numbers().await;
    assert!(app.health().await.1.contains("can't be read; what was known before counts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_another_key_says_so_and_blames_no_database() {
    let app = app().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut serve = app.command("serve", &app.secret_key);
    serve.env("TEXTBACK_LISTEN", free.to_string());
    let mut serve = Running::start(&mut serve, false);
    serve.until("server started");
    // It began with the right key. Another process rotated the key since.
    let (_, new_key) = textback::secret::SecretKeys::draw();
    let rotated = format!("{new_key},{}", app.secret_key).parse().expect("keys");
    textback::storage::key_rotation::re_encrypt(&app.storage, &rotated).await.expect("re-encrypted");
    let ask = async |path: &str| -> Value {
        let asking = app.http.get(format!("http://{free}{path}")).bearer_auth(&app.key).send();
        asking.await.expect("an answer").json().await.expect("JSON")
    };
    assert_eq!(ask("/v1/carrier").await["code"], "secret_unreadable");
    let health = ask(&format!("{}/health", app.number_path().await)).await;
    assert!(health["findings"].to_string().contains("was encrypted with key"), "{health}");
}

#[tokio::test]
async fn a_key_that_may_not_write_is_explained_on_the_number() {
    let carrier = wiremock::MockServer::start().await;
    let forbidden = json!({"code": 70051, "message": "The key lacks the permission", "status": 403});
    let owned =
        json!({"incoming_phone_numbers": [{"sid": "PN1", "phone_number": NUMBER, "capabilities": {"sms": true}}]});
    for (method, answer) in [
        ("POST", wiremock::ResponseTemplate::new(403).set_body_json(&forbidden)),
        ("GET", wiremock::ResponseTemplate::new(200).set_body_json(&owned)),
    ] {
        wiremock::Mock::given(wiremock::matchers::method(method)).respond_with(answer).mount(&carrier).await;
    }
    let app = TestApp::with_carrier(Some(carrier.uri().parse().expect("a URL"))).await;
    assert_eq!(app.attach_again(false).await.0, 502);
    let (health, told) = app.health().await;
    assert!(health == "blocked" && told.contains("lacks a permission") && !told.contains("A2P"), "{told}");
}

#[tokio::test]
async fn a_release_hits_no_other_projects_number_and_no_other_account() {
    let app = app().await;
    let (_, second) = crate::harness::create_project(&app.storage, "second").await.expect("a project");
    let credentials = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN});
    app.call(&second, Method::PUT, "/v1/carrier", Some(credentials)).await;
    let agent = json!({"name": "second", "kind": "script", "source": ECHO, "first_message": "process"});
    let agent_id = app.call(&second, Method::POST, "/v1/agents", Some(agent)).await.1["id"].clone();
    let taken = json!({"number": NUMBER, "agent_id": agent_id});
    assert_eq!(app.call(&second, Method::POST, "/v1/numbers", Some(taken)).await.0, 200);
    let (status, answer) = app.part("release").await;
    assert_eq!((status, &answer["code"]), (409, &json!("number_not_released")));
    assert!(app.simulator.number(NUMBER).is_some_and(|number| !number.sms_url.is_empty()), "the other project has it");
    assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]), "and here it is gone");

    let (_, bought) = app.buy(FOR_SALE).await;
    assert!(bought["carrier_id"].is_string(), "{bought}");
    let another = format!("AC{}", "9".repeat(32));
    app.simulator.add_account(Account::new(&another, "another"));
    app.ok(Method::PUT, "/v1/carrier", Some(json!({"account_sid": another, "auth_token": "another"}))).await;
    let (status, answer) = app.part("release").await;
    assert!(status == 409 && answer["detail"].as_str().is_some_and(|told| told.contains(ACCOUNT_SID)), "{answer}");
    assert!(app.simulator.number(FOR_SALE).is_some(), "nothing was released");
}

#[tokio::test]
async fn a_service_that_posts_here_blocks_nothing_and_the_newest_verification_counts() {
    let app = TestApp::new().await;
    let ours = format!("http://{}/webhooks/twilio/{}/messages", app.api, app.webhook_key);
    app.simulator.change_service(NUMBER, |service| {
        (service.use_inbound_webhook_on_number, service.inbound_request_url) = (false, Some(ours));
    });
    app.attach(ECHO, json!({"first_message": "process"})).await;
    assert_eq!(app.health().await.0, "ok");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);

    let carrier = wiremock::MockServer::start().await;
    let verification = |status: &str, day: u8| json!({"status": status, "date_created": format!("2026-11-{day:02}T00:00:00Z"), "rejection_reason": "x"});
    let list =
        json!({"verifications": [verification("IN_REVIEW", 20), verification("TWILIO_REJECTED", 1)], "meta": {}});
    wiremock::Mock::given(wiremock::matchers::any())
        .respond_with(wiremock::ResponseTemplate::new(200).set_body_json(list))
        .mount(&carrier)
        .await;
    let url: url::Url = carrier.uri().parse().expect("a URL");
    let client = textback::carriers::twilio::Client::new(url.clone(), url).expect("a client");
    let account = textback::domain::carrier_account::Credentials {
        account_sid: ACCOUNT_SID.to_owned(),
        auth_token: AUTH_TOKEN.to_owned().into(),
        next_auth_token: None,
        api_key: None,
    };
    let read = client.verification(&account, "PN1").await.expect("read");
    assert!(matches!(read, RegistrationFacts::Told { registration: RegistrationStatus::Pending, .. }), "{read:?}");
}

#[tokio::test]
async fn rest_goes_on_when_the_next_token_was_promoted() {
    let app = app().await;
    let mut account = Account::new(ACCOUNT_SID, AUTH_TOKEN);
    account.secondary_auth_token = Some("the-next".to_owned());
    app.simulator.add_account(account);
    let both = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN, "next_auth_token": "the-next"});
    app.ok(Method::PUT, "/v1/carrier", Some(both)).await;
    app.simulator.add_account(Account::new(ACCOUNT_SID, "the-next"));
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    app.reconcile_numbers().await;
    assert_eq!(app.health().await.0, "ok");
    assert_eq!(app.count("select count(*) from delivery where attempts > 1").await, 0);
}

#[tokio::test]
async fn required_where_the_carrier_tells_nothing_is_a_warning_that_says_so() {
    let app = TestApp::new().await;
    app.simulator.add_number(ACCOUNT_SID, "+447700900199");
    let british = json!({"number": "+447700900199", "agent_id": app.an_agent().await});
    app.ok(Method::POST, "/v1/numbers", Some(british)).await;
    app.ok(Method::PATCH, "/v1/countries/GB", Some(json!({"registration_policy": "required"}))).await;
    assert_eq!(app.workers.numbers.step().await.expect("numbers"), 1, "it is read at once");
    let (health, told) = app.health().await;
    assert!(health == "at_risk" && told.contains("guidelines/gb/sms") && !told.contains("10DLC"), "{told}");
}

/// What a call's status callback tells is nobody's here.
#[tokio::test]
async fn a_phone_call_leaves_nothing_in_quarantine() {
    let app = app().await;
    let call = format!("AccountSid={ACCOUNT_SID}&CallSid=CA1&CallStatus=completed&From=%2B14155550101");
    assert_eq!(app.post("status", &call, AUTH_TOKEN).await.status(), 200);
    assert_eq!(app.count("select count(*) from quarantine").await, 0);
}

/// Whoever records an opt-out holds a text that waits and wants the number's key; whoever approves
/// holds the number and wants the text. They must pass each other.
#[tokio::test]
async fn an_opt_out_and_an_approval_do_not_wait_for_each_other() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("PENDING".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "hi").await;
    let pool = app.storage.pool();
    let mut approving = pool.begin().await.expect("begun");
    sqlx::query("select id from number for no key update").execute(&mut *approving).await.expect("held");
    let word = app.text(ADA, "STOP");
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(2), word).await;
    assert!(stopped.is_ok(), "the opt-out does not wait for the number");
    approving.rollback().await.expect("ended");
    let locks = sqlx::query_scalar::<_, bool>(
        "select prosrc like '%where number.id = any (ids) order by number.id for no key update%' from pg_proc where proname = 'load_registrations'",
    );
    assert!(locks.fetch_one(pool).await.expect("an answer"), "the approval takes the number no harder than that");
}
