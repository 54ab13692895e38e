//! Tests numbers under faults of the carrier and of processes: nothing is bought twice, and every
//! change is carried out.

use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use twilio_simulator::Fault;

use crate::commands::Running;
use crate::harness::{ACCOUNT_SID, ADA, NUMBER, TestApp};
use crate::numbers::FOR_SALE;

/// The ways in which a call can fail.
const FAULTS: [Fault; 4] = [Fault::Fail500, Fault::AcceptThen500, Fault::AcceptThenGarbage, Fault::TooManyRequests];
/// More than one look has calls: two searches, the purchase, the number, services, their numbers,
/// the campaign.
const CALLS: usize = 9;

impl TestApp {
    /// Lets one call fail, after some that are answered as they should be.
    fn fail_after(&self, calls: usize, fault: Fault) {
        let well = std::iter::repeat_n(Fault::AcceptThenHang(0), calls);
        self.simulator.plan_number_faults(well.chain([fault]));
    }

    /// The number is ours, well, registered, and answers.
    async fn must_answer_at(&self, number: &str, told: &str) {
        let row = self.number().await;
        let told = format!("{told}: {row}");
        assert_eq!(
            (&row["number"], &row["webhook"], &row["registration"], &row["sends"], row["carrier_id"].is_string()),
            (&json!(number), &json!("ok"), &json!("approved"), &json!("open"), true),
            "{told}"
        );
        self.simulator.say(ADA, number, "hi").await;
        self.run_jobs().await;
        assert_eq!(self.simulator.received(ADA, number), ["1: hi"], "{told}");
    }

    fn request(&self, project_id: uuid::Uuid, agent_id: &Value) -> textback::storage::number::AttachRequest {
        textback::storage::number::AttachRequest {
            project_id,
            number: FOR_SALE.to_owned(),
            agent_id: crate::harness::id(agent_id),
            environment: None,
            country: Some("US".to_owned()),
            may_buy: true,
            repair_drift: None,
        }
    }
}

async fn project_id(app: &TestApp) -> uuid::Uuid {
    textback::storage::project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("one")
        .id
}

/// Each call about a number fails once in each way. The client repeats its request, or a worker
/// continues it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_any_call_of_a_purchase_neither_buys_twice_nor_loses_a_bought_number() {
    let mut met = 0;
    for fault in FAULTS {
        for calls in 0..CALLS {
            for asks_again in [true, false] {
                let app = TestApp::new().await;
                let agent = app.an_agent().await;
                app.fail_after(calls, fault);
                let body = json!({"number": FOR_SALE, "agent_id": agent, "buy": true});
                let (status, answer) = app.call(&app.key, Method::POST, "/v1/numbers", Some(body.clone())).await;
                assert!(status == 200 || status == 502, "{answer}");
                met += usize::from(app.simulator.number_faults_left() == 0);
                app.simulator.clear_faults();
                if asks_again {
                    app.ok(Method::POST, "/v1/numbers", Some(body)).await;
                } else {
                    app.reconcile_numbers().await;
                }
                assert_eq!(app.simulator.bought(), [FOR_SALE]);
                app.must_answer_at(FOR_SALE, &format!("{fault:?} after {calls}, asked again: {asks_again}")).await;
                app.end().await;
            }
        }
    }
    // The number's list, a search, the purchase, services, their numbers, the campaign.
    assert_eq!(met, FAULTS.len() * 6 * 2, "each call met each fault");
}

/// The same for a number that the account has: found, pointed here, its service and its campaign
/// read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_any_call_of_an_attachment_or_a_repair_only_delays_it() {
    for fault in FAULTS {
        for calls in 0..CALLS {
            let app = TestApp::new().await;
            let agent = app.an_agent().await;
            app.fail_after(calls, fault);
            let attach = json!({"number": NUMBER, "agent_id": agent});
            app.call(&app.key, Method::POST, "/v1/numbers", Some(attach)).await;
            app.simulator.clear_faults();
            app.reconcile_numbers().await;
            app.must_answer_at(NUMBER, &format!("attached, {fault:?} after {calls}")).await;

            app.simulator.change_number(NUMBER, |number| number.sms_url = "https://elsewhere.example/sms".to_owned());
            app.fail_after(calls, fault);
            app.reconcile_numbers().await;
            app.simulator.clear_faults();
            app.reconcile_numbers().await;
            assert_eq!(app.number().await["webhook"], "ok", "repaired, {fault:?} after {calls}");
            assert_eq!(
                app.answers(ADA, "hi").await.last().map(String::as_str),
                Some("2: hi"),
                "{fault:?} after {calls}"
            );
            app.end().await;
        }
    }
}

/// What was seen before the webhooks could not be set stays seen.
#[tokio::test]
async fn drift_that_cannot_be_repaired_is_reported_until_it_is() {
    let app = crate::numbers::app().await;
    app.simulator.change_number(NUMBER, |number| number.sms_url = "https://elsewhere.example/sms".to_owned());
    app.fail_after(1, Fault::Fail500);
    app.reconcile_numbers().await;
    let number = app.number().await;
    assert_eq!(number["webhook"], "drifted");
    assert!(number["webhook_detail"].as_str().is_some_and(|told| told.contains("elsewhere.example")), "{number}");
    assert_eq!(app.health().await.0, "blocked");
    app.reconcile_numbers().await;
    assert_eq!(app.health().await.0, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_at_any_call_of_a_detachment_only_delays_it() {
    for (on_detach, calls, fault) in ["keep", "release"]
        .into_iter()
        .flat_map(|on_detach| (0..2).flat_map(move |calls| FAULTS.map(move |fault| (on_detach, calls, fault))))
    {
        let app = crate::numbers::app().await;
        let path = format!("/v1/numbers/{}", app.number().await["id"].as_str().expect("an id"));
        app.fail_after(calls, fault);
        let part = format!("{path}?at_carrier={on_detach}");
        let status = app.call(&app.key, Method::DELETE, &part, None).await.0;
        // Of a release nothing is read but its status.
        assert!(
            status == 502 || (fault == Fault::AcceptThenGarbage && status == 204),
            "{status} {on_detach} {calls} {fault:?}"
        );
        app.reconcile_numbers().await;
        assert_eq!(app.refused(Method::GET, &path, None).await.0, 404, "{on_detach} {calls} {fault:?}");
        let left = app.simulator.number(NUMBER).map(|number| number.sms_url);
        assert_eq!(left, (on_detach == "keep").then(String::new), "{on_detach} {calls} {fault:?}");
        app.end().await;
    }
}

#[tokio::test]
async fn a_purchase_that_is_forbidden_is_not_tried_each_minute() {
    let app = TestApp::new().await;
    app.simulator.add_account(twilio_simulator::Account::new(ACCOUNT_SID, "another token"));
    let (status, answer) = app.buy(FOR_SALE).await;
    assert_eq!((status.as_u16(), &answer["code"]), (502, &json!("carrier_failed")), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|told| told.contains("PUT /v1/carrier")), "{answer}");
    let due = app.count("select count(*) from number where check_at > now() + interval '9 minutes'").await;
    assert_eq!(due, 1, "it waits for somebody to give other credentials");
}

impl TestApp {
    /// Runs a worker that reconciles the numbers and dies at a failpoint; returns whether it did.
    /// Then its lease ends.
    async fn die_at(&self, failpoint: &str) -> bool {
        self.sql("update number set check_at = now() where check_at is not null").await;
        let mut work = self.command("work", &self.secret_key);
        work.env("TEXTBACK_FAILPOINT", failpoint).env("RUST_LOG", "off,textback::cli=info").stdout(Stdio::null());
        let mut dying = Running::start(&mut work, false);
        dying.until("workers started");
        let has_died = dying.aborts_within(Duration::from_secs(2)).await;
        self.sql("update number set leased_until = now() - interval '1 second' where leased_until is not null").await;
        self.reconcile_numbers().await;
        has_died
    }
}

/// The points at which a worker can die: after each of so many calls, and before it writes what it
/// saw.
fn points(calls: usize) -> impl Iterator<Item = String> {
    let after_calls = (1..=calls).map(|call| format!("number.after_call:{call}"));
    after_calls.chain(["number.before_settle:1".to_owned()])
}

/// The worker dies after each call of a purchase in turn; another one goes on from what the carrier
/// has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_at_any_step_of_a_purchase_buys_once_and_loses_nothing() {
    // The number's list, a search, the purchase, the services with their numbers, the campaign;
    // there is no sixth call.
    for failpoint in points(6) {
        let app = TestApp::new().await;
        let agent = app.an_agent().await;
        let request = app.request(project_id(&app).await, &agent);
        textback::storage::number::attach(&mut *crate::harness::pooled(&app.storage).await, &request)
            .await
            .expect("noted");
        assert_eq!(app.die_at(&failpoint).await, failpoint != "number.after_call:6", "{failpoint}");
        assert_eq!(app.simulator.bought(), [FOR_SALE], "{failpoint}");
        app.must_answer_at(FOR_SALE, &failpoint).await;
        app.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_continues_after_its_worker_died_at_any_step() {
    // The number's list, its webhooks, the services with their numbers, the campaign.
    for failpoint in points(4) {
        let app = TestApp::new().await;
        let agent = app.an_agent().await;
        let request = textback::storage::number::AttachRequest {
            number: NUMBER.to_owned(),
            may_buy: false,
            ..app.request(project_id(&app).await, &agent)
        };
        textback::storage::number::attach(&mut *crate::harness::pooled(&app.storage).await, &request)
            .await
            .expect("noted");
        assert!(app.die_at(&failpoint).await, "{failpoint}");
        app.must_answer_at(NUMBER, &failpoint).await;
        app.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detachment_continues_after_its_worker_died() {
    for (wanted, failpoint) in
        [textback::domain::number::DesiredState::Detached, textback::domain::number::DesiredState::Released]
            .into_iter()
            .flat_map(|wanted| points(2).map(move |at| (wanted, at)))
    {
        let app = crate::numbers::app().await;
        let number_id = crate::harness::id(&app.number().await["id"]);
        let project_id = project_id(&app).await;
        textback::storage::number::set_desired_state(
            &mut *crate::harness::pooled(&app.storage).await,
            project_id,
            number_id,
            wanted,
        )
        .await
        .expect("noted");
        assert!(app.die_at(&failpoint).await, "{failpoint}");
        assert_eq!(app.ok(Method::GET, "/v1/numbers", None).await["items"], json!([]), "{wanted} {failpoint}");
        let left = app.simulator.number(NUMBER).map(|number| number.sms_url);
        assert_eq!(
            left,
            (wanted == textback::domain::number::DesiredState::Detached).then(String::new),
            "{wanted} {failpoint}"
        );
        app.end().await;
    }
}

/// A toll-free number's verification is read elsewhere, and the carrier may hang for longer than we
/// wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_toll_free_purchase_survives_a_fault_at_any_call_and_any_purchase_a_carrier_that_hangs() {
    let toll_free = "+18005550120";
    for (fault, calls) in FAULTS.into_iter().flat_map(|fault| (0..CALLS).map(move |calls| (fault, calls))) {
        let app = TestApp::new().await;
        app.fail_after(calls, fault);
        app.buy(toll_free).await;
        app.simulator.clear_faults();
        app.reconcile_numbers().await;
        assert_eq!(app.simulator.bought(), [toll_free], "{fault:?} after {calls}");
        app.must_answer_at(toll_free, &format!("{fault:?} after {calls}")).await;
        app.end().await;
    }
    let app = TestApp::new().await;
    app.an_agent().await;
    app.fail_after(2, Fault::AcceptThenHang(20_000));
    let (status, answer) = app.buy(FOR_SALE).await;
    assert_eq!((status.as_u16(), &answer["code"]), (502, &json!("carrier_failed")), "{answer}");
    app.reconcile_numbers().await;
    assert_eq!(app.simulator.bought(), [FOR_SALE]);
    app.must_answer_at(FOR_SALE, "the purchase hung").await;
}

/// Forty numbers in twenty services: one reading of the account's services reconciles all of them.
#[tokio::test]
async fn an_account_with_many_numbers_is_read_once() {
    let app = TestApp::new().await;
    let agent = app.an_agent().await;
    for n in 0..20 {
        let number = format!("+141555502{n:02}");
        app.simulator.add_number(ACCOUNT_SID, &number);
        app.simulator.change_service(&number, |_| {});
        app.ok(Method::POST, "/v1/numbers", Some(json!({"number": number, "agent_id": agent}))).await;
    }
    let before = app.simulator.messaging_calls();
    app.sql("update number set check_at = now() where check_at is not null").await;
    while app.workers.numbers.job().go_on().await.expect("numbers") > 0 {}
    // The list of services, the numbers of each of 21, and the campaign of each number.
    assert_eq!(app.simulator.messaging_calls() - before, 1 + 21 + 20);
    assert_eq!(app.count("select count(*) from number where registration = 'approved'").await, 20);
}

#[tokio::test]
async fn a_purchase_that_a_crash_interrupted_goes_on_by_itself() {
    let app = TestApp::new().await;
    let agent_id = crate::harness::id(&app.an_agent().await);
    let project_id =
        textback::storage::project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
            .await
            .expect("an answer")
            .expect("one")
            .id;
    // The process died after it noted the wish: with the lease, before any call.
    let request = textback::storage::number::AttachRequest {
        project_id,
        number: FOR_SALE.to_owned(),
        agent_id,
        environment: None,
        country: Some("US".to_owned()),
        may_buy: true,
        repair_drift: None,
    };
    let id = textback::storage::number::attach(&mut *crate::harness::pooled(&app.storage).await, &request)
        .await
        .expect("noted")
        .expect("not being released");
    textback::storage::number::claim_one(&mut *crate::harness::pooled(&app.storage).await, project_id, id, 120)
        .await
        .expect("an answer")
        .expect("a lease");
    app.workers.numbers.step().await.expect("numbers");
    assert!(app.simulator.bought().is_empty(), "the lease still holds");
    app.sql("update number set leased_until = now() - interval '1 second', check_at = now()").await;
    app.workers.numbers.step().await.expect("numbers");
    assert_eq!(app.simulator.bought(), [FOR_SALE]);
    assert_eq!(app.number().await["webhook"], "ok");
    assert_eq!(app.refused(Method::GET, "/v1/numbers/01900000-0000-7000-8000-000000000000/health", None).await.0, 404);
}
