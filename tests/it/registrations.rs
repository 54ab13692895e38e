//! Tests registrations and countries, and how they affect the messages of a number.

use reqwest::Method;
use serde_json::json;
use textback::storage::number;

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};
use crate::numbers::app;

impl TestApp {
    /// The carrier reports, late, that it blocked the first answer for want of a registration.
    pub async fn report_blocked(&self) {
        let session = self.sessions().await.remove(0);
        let sid = self.messages(&session).await[1]["carrier_id"].as_str().expect("a sid").to_owned();
        self.sql("update delivery set status = 'sent' where carrier_id is not null").await;
        let report = format!("AccountSid={ACCOUNT_SID}&MessageSid={sid}&MessageStatus=undelivered&ErrorCode=30034");
        self.post("status", &report, AUTH_TOKEN).await;
    }
}

#[tokio::test]
async fn a_number_without_its_registration_sends_nothing_and_says_so() {
    let app = TestApp::new().await;
    app.simulator.leave_service(NUMBER);
    app.attach(ECHO, json!({"first_message": "process"})).await;
    let number = app.number().await;
    assert_eq!((&number["registration"], &number["sends"]), (&json!("unregistered"), &json!("blocked")));
    let refused = app.refused(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "x"}))).await;
    assert_eq!(refused, (409, "number_not_registered".to_owned()));
    assert!(app.answers(ADA, "hi").await.is_empty());
    let reply = app.messages(&app.sessions().await[0]).await.remove(1);
    assert_eq!(reply["status"], "failed");
    assert!(reply["reason"].as_str().is_some_and(|reason| reason.starts_with("number_not_registered")), "{reply}");
    let (status, told) = app.health().await;
    assert!(
        status == "blocked" && told.contains("may be blocked on their way") && told.contains("A2P 10DLC"),
        "{told}"
    );

    // Where the policy only advises it, it is a warning, and texts leave.
    app.simulator.change_service(NUMBER, |_| {});
    app.ok(Method::PATCH, "/v1/countries/us", Some(json!({"registration_policy": "advised", "note": "ours"}))).await;
    assert_eq!(app.number().await["sends"], "open");
    assert_eq!(app.answers(ADA, "again").await, ["2: again"]);
    assert_eq!(app.health().await.0, "at_risk");
}

#[tokio::test]
async fn texts_wait_while_the_registration_is_pending_and_leave_in_order_when_it_is_approved() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("IN_PROGRESS".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    let number = app.number().await;
    assert_eq!((&number["registration"], &number["sends"]), (&json!("pending"), &json!("held")));
    assert!(number["registration_detail"].as_str().is_some_and(|detail| detail.contains("in progress")));
    for text in ["one", "two", "three"] {
        assert!(app.answers(ADA, text).await.is_empty());
    }
    let held = app.messages(&app.sessions().await[0]).await.remove(1);
    assert!(held["reason"].as_str().is_some_and(|reason| reason.contains("held until the registration")), "{held}");
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("VERIFIED".to_owned(), None)));
    app.reconcile_numbers().await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: one", "2: two", "3: three"]);
}

#[tokio::test]
async fn texts_that_wait_fail_when_the_registration_is_rejected_and_the_carriers_reason_is_told() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("PENDING".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    assert!(app.answers(ADA, "hi").await.is_empty());
    let why = "the website shows no privacy policy";
    app.simulator
        .change_service(NUMBER, |service| service.campaign = Some(("FAILED".to_owned(), Some(why.to_owned()))));
    app.reconcile_numbers().await;
    app.run_jobs().await;
    let number = app.number().await;
    assert_eq!((&number["registration"], &number["registration_detail"]), (&json!("rejected"), &json!(why)));
    assert_eq!(app.messages(&app.sessions().await[0]).await.remove(1)["status"], "failed");
    // A brand that failed lets its campaign wait for ever.
    app.simulator.change_service(NUMBER, |service| {
        service.campaign = Some(("PENDING".to_owned(), None));
        service.brand_status = "FAILED".to_owned();
    });
    app.reconcile_numbers().await;
    let number = app.number().await;
    assert_eq!(number["registration"], "rejected");
    assert!(number["registration_detail"].as_str().is_some_and(|detail| detail.contains("tax id")), "{number}");
}

/// Whatever the carrier writes: the look at the number is settled, and not tried for ever.
#[tokio::test]
async fn what_the_carrier_tells_of_a_registration_is_kept_without_nul_and_cut() {
    let app = TestApp::new().await;
    let why = format!("no\0reason {}", "é".repeat(2000));
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("FAILED".to_owned(), Some(why))));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.reconcile_numbers().await;
    let number = app.number().await;
    assert_eq!(number["registration"], "rejected", "{number}");
    let detail = number["registration_detail"].as_str().expect("a detail");
    assert!(
        detail.starts_with("no\u{fffd}reason é") && detail.len() <= textback::domain::bounds::ERROR_BYTES,
        "{detail}"
    );
}

#[tokio::test]
async fn a_toll_free_number_needs_its_verification() {
    let app = TestApp::new().await;
    let number = "+18005550120";
    let (status, bought) = app.buy(number).await;
    assert_eq!((status.as_u16(), &bought["registration"]), (200, &json!("approved")), "{bought}");
    for (verification, registration) in [
        (Some(("PENDING_REVIEW", None)), "pending"),
        (Some(("TWILIO_REJECTED", Some("the opt-in is not shown"))), "rejected"),
        (None, "unregistered"),
        (Some(("TWILIO_APPROVED", None)), "approved"),
    ] {
        app.simulator.verify_toll_free(number, verification);
        app.reconcile_numbers().await;
        assert_eq!(app.number().await["registration"], registration, "{verification:?}");
    }
}

#[tokio::test]
async fn a_report_of_the_carrier_updates_the_number_at_once() {
    for (number, code) in [(NUMBER, 30034), ("+18005550121", 30032)] {
        let app = TestApp::new().await;
        if number != NUMBER {
            app.buy(number).await;
        } else {
            app.attach(ECHO, json!({"first_message": "process"})).await;
        }
        app.simulator.leave_service(number);
        app.simulator.verify_toll_free(number, None);
        // Nobody has looked since; the text is sent, and blocked on its way.
        app.simulator.say(ADA, number, "hi").await;
        app.run_jobs().await;
        let held = app.number().await;
        assert_eq!(held["registration"], "unregistered");
        assert!(
            held["registration_detail"].as_str().is_some_and(|detail| detail.contains(&code.to_string())),
            "{held}"
        );
        assert_eq!(held["sends"], "blocked");
    }
}

#[tokio::test]
async fn a_key_that_may_not_read_registrations_is_told_what_it_lacks_and_nothing_is_blocked() {
    let app = TestApp::new().await;
    app.simulator.refuse_messaging(true);
    app.attach(ECHO, json!({"first_message": "process"})).await;
    let number = app.number().await;
    assert_eq!(
        (&number["webhook"], &number["registration"], &number["sends"]),
        (&json!("ok"), &json!("unknown"), &json!("open"))
    );
    assert!(
        number["registration_detail"].as_str().is_some_and(|detail| detail.contains("give it read permission")),
        "{number}"
    );
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    assert_eq!(app.health().await.0, "at_risk");
}

#[tokio::test]
async fn countries_are_listed_with_their_sources_and_corrected_for_one_project() {
    let app = TestApp::new().await;
    let us = app.ok(Method::GET, "/v1/countries/us", None).await;
    assert_eq!((&us["two_way"], &us["registration_policy"]), (&json!(true), &json!("required")));
    assert!(us["sources"].as_array().is_some_and(|sources| !sources.is_empty()) && us["as_of"].is_string());
    let mut cursor = String::new();
    let mut countries = 0;
    loop {
        let page = app.ok(Method::GET, &format!("/v1/countries?limit=100{cursor}"), None).await;
        countries += page["items"].as_array().expect("items").len();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(countries, 245);
    let ruled = app.ok(Method::PATCH, "/v1/countries/HR", Some(json!({"two_way": true, "note": "tried it"}))).await;
    assert_eq!((&ruled["two_way"], &ruled["note"]), (&json!(true), &json!("tried it")));
    let (status, bought) = app.buy("+3859123456720").await;
    assert_eq!(status, 200, "{bought}");
    let (_, stranger) = crate::harness::create_project(&app.storage, "strangers").await.expect("a project");
    let theirs = app.call(&stranger, Method::GET, "/v1/countries/HR", None).await.1;
    assert_eq!(theirs["two_way"], false, "what one project holds is its own");
    let cleared = app.ok(Method::PATCH, "/v1/countries/HR", Some(json!({"two_way": null}))).await;
    assert_eq!(cleared["two_way"], false);
}

#[tokio::test]
async fn a_country_of_which_nobody_knows_is_a_warning_on_its_number() {
    let app = TestApp::new().await;
    app.sql("update sms_country set two_way = null where iso2 = 'US'").await;
    app.attach(ECHO, json!({"first_message": "process"})).await;
    let number = app.number().await;
    let id = number["id"].as_str().expect("an id");
    let told = app.ok(Method::GET, &format!("/v1/numbers/{id}"), None).await;
    assert!(told["warnings"][0].as_str().is_some_and(|told| told.contains("nobody knows")), "{told}");
    assert_eq!(app.health().await.0, "at_risk");
}

#[tokio::test]
async fn texts_that_wait_for_a_registration_do_not_outlive_their_number() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("PENDING".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    let sent = app.ok(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "old news"}))).await;
    let path = format!("/v1/numbers/{}?at_carrier=keep", app.number().await["id"].as_str().expect("an id"));
    assert_eq!(app.call(&app.key, Method::DELETE, &path, None).await.0, 204);
    let message = format!("/v1/messages/{}", sent["message_id"].as_str().expect("an id"));
    let told = app.ok(Method::GET, &message, None).await;
    assert_eq!(told["status"], "failed");
    assert!(told["reason"].as_str().is_some_and(|reason| reason.starts_with("number_detached")), "{told}");
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("VERIFIED".to_owned(), None)));
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": app.an_agent().await}))).await;
    app.run_jobs().await;
    assert!(app.simulator.received(ADA, NUMBER).is_empty(), "nobody gets old news");
}

#[tokio::test]
async fn an_echo_of_a_time_before_the_approval_is_put_right_at_once() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.report_blocked().await;
    assert_eq!(app.number().await["sends"], "blocked");
    assert_eq!(app.workers.numbers.step().await.expect("numbers"), 1, "it is due at once");
    assert_eq!(app.number().await["sends"], "open");
}

#[tokio::test]
async fn bare_addresses_get_the_overrides_and_a_note_about_a_country_changes_no_registration() {
    let app = TestApp::new().await;
    let base = format!("http://{}/webhooks/twilio/{}", app.api, app.webhook_key);
    app.simulator.change_number(NUMBER, |number| {
        number.sms_url = format!("{base}/messages");
        number.sms_fallback_url = format!("{base}/fallback");
    });
    app.attach(ECHO, json!({"first_message": "process"})).await;
    assert!(app.simulator.number(NUMBER).expect("a number").sms_url.contains("#rc=3"));
    app.ok(Method::PATCH, "/v1/countries/US", Some(json!({"note": "checked"}))).await;
    assert_eq!(app.number().await["registration"], "approved");
}

/// One statement for all would hold their rows for as long as it takes.
#[tokio::test]
async fn many_held_messages_are_released_in_batches() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("IN_PROGRESS".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "one").await;
    app.sql(
        "with copied as (
             insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, turn_id)
             select gen_random_uuid(), project_id, session_id, direction, kind, body, encoding, segments, turn_id
               from message cross join generate_series(1, 2500) where direction = 'outbound'
             returning id, seq
         )
         insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at)
         select copied.id, project_id, session_id, number_id, contact, copied.seq, status, due_at from delivery cross join copied",
    )
    .await;
    let held = "select count(*) from delivery where due_at = 'infinity'";
    assert_eq!(app.count(held).await, 2501);
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("VERIFIED".to_owned(), None)));
    app.sql("update number set check_at = now()").await;
    assert_eq!(app.workers.numbers.step().await.expect("numbers"), 1);
    assert_eq!(app.count(held).await, 1501, "the first batch leaves with the approval");
    app.workers.numbers.step().await.expect("numbers");
    assert_eq!(app.count(held).await, 0, "the others follow without another approval");
    assert_eq!(app.count("select count(*) from number where held_plans <> '[]'").await, 0);
    assert_eq!(app.count("select count(*) from delivery where status = 'planned' and due_at <= now()").await, 2501);
}

/// One whose delivery somebody holds must not keep a worker busy, nor the messages of another
/// number waiting.
#[tokio::test]
async fn a_number_whose_held_messages_are_locked_is_passed_over() {
    let app = TestApp::new().await;
    let agent = app.attach(ECHO, json!({"first_message": "process"})).await;
    let other = "+14155550198";
    app.simulator.add_number(ACCOUNT_SID, other);
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": other, "agent_id": agent}))).await;
    app.answers(ADA, "one").await;
    app.simulator.say(ADA, other, "two").await;
    app.run_jobs().await;
    app.sql("update delivery set status = 'planned', due_at = 'infinity', carrier_id = null, accepted_at = null").await;
    app.sql("update number set held_plans = jsonb_build_array(jsonb_build_object('at', clock_timestamp()))").await;
    let mut holder = app.storage.pool().begin().await.expect("a transaction");
    let hold = "select from delivery where number_id = (select min(id::text)::uuid from number) for update";
    assert_eq!(sqlx::query(hold).execute(&mut *holder).await.expect("held").rows_affected(), 1);

    assert!(number::release_held(&app.storage).await.expect("a batch"), "the other number's");
    assert!(!number::release_held(&app.storage).await.expect("no batch"), "there is nothing that could be written");
    assert_eq!(app.count("select count(*) from delivery where due_at = 'infinity'").await, 1);
    holder.rollback().await.expect("released");
    app.workers.numbers.step().await.expect("numbers");
    assert_eq!(app.count("select count(*) from delivery where due_at = 'infinity'").await, 0);
}

#[tokio::test]
async fn numbers_are_reconciled_though_a_decision_about_held_messages_can_not_be_written() {
    let app = TestApp::new().await;
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.sql("update number set held_plans = '[{\"at\": \"no time\", \"class\": \"x\"}]', check_at = now()").await;
    assert_eq!(app.workers.numbers.step().await.expect("numbers"), 1);
}

/// What waited when the number was let go never leaves, though the number comes back before all of
/// it has failed.
#[tokio::test]
async fn a_decision_to_fail_is_written_to_its_end_though_the_registration_changes() {
    let app = TestApp::new().await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("IN_PROGRESS".to_owned(), None)));
    app.attach(ECHO, json!({"first_message": "process"})).await;
    app.answers(ADA, "one").await;
    let plan = "update number set held_plans = jsonb_build_array(jsonb_build_object('at', now(), 'class', 'permanent_config', 'detail', 'let go'))";
    app.sql(plan).await;
    app.simulator.change_service(NUMBER, |service| service.campaign = Some(("VERIFIED".to_owned(), None)));
    app.sql("update number set check_at = now()").await;
    app.workers.numbers.step().await.expect("numbers");
    app.workers.numbers.step().await.expect("numbers");
    assert_eq!(app.count("select count(*) from delivery where status = 'failed' and error_detail = 'let go'").await, 1);
    assert_eq!(app.count("select count(*) from number where held_plans <> '[]'").await, 0);
}
