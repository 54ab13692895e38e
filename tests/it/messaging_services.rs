//! Tests texts to a messaging service: which number sends, that the reply joins the session, and
//! what the carrier is asked for.

use std::collections::HashSet;

use chrono::{Duration, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use textback::channels;
use textback::domain::sending::OnLandline;
use textback::domain::session::OnActiveSession;
use textback::storage::project;
use textback::storage::sending::{self, NewText, SendFrom};
use twilio_simulator::{Account, Fault};

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, create_project, pooled};

/// Another number of the service.
const SECOND: &str = "+14155550188";
/// A number of another country, and a contact there.
const LONDON: &str = "+447700900123";
const BRIT: &str = "+442079460000";

/// An app with two numbers in one service, and the service's id.
async fn app() -> (TestApp, String) {
    let settings = json!({"first_message": "process", "inactivity": {"closing": "Goodbye."}});
    let app = TestApp::with_agent(ECHO, settings).await;
    let service = app.simulator.service_of(NUMBER).expect("a service").sid;
    app.attach_member(SECOND).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"allowed_countries": ["US", "GB"]}))).await;
    (app, service)
}

/// One of our numbers, the service that a text went through, and its words.
type Got = (String, Option<String>, String);

fn through(number: &str, service: Option<&str>, words: &str) -> Got {
    (number.to_owned(), service.map(str::to_owned), words.to_owned())
}

impl TestApp {
    /// Attaches a number that is in the service of all numbers.
    async fn attach_member(&self, number: &str) {
        self.simulator.add_number(ACCOUNT_SID, number);
        let agents = self.ok(Method::GET, "/v1/agents", None).await;
        let body = json!({"number": number, "agent_id": agents["items"][0]["id"]});
        self.ok(Method::POST, "/v1/numbers", Some(body)).await;
    }

    /// Sends to a contact, and returns the answer.
    async fn send_from(&self, from: &str, to: &str, body: &str) -> Value {
        self.ok(Method::POST, "/v1/messages", Some(json!({"from": from, "to": to, "body": body}))).await
    }

    async fn refused_from(&self, from: &str) -> (u16, String) {
        self.refused(Method::POST, "/v1/messages", Some(json!({"from": from, "to": ADA, "body": "x"}))).await
    }

    /// The message that an answer names.
    async fn sent(&self, answer: &Value) -> Value {
        let path = format!("/v1/messages/{}", answer["message_id"].as_str().expect("an id"));
        self.ok(Method::GET, &path, None).await
    }

    /// What a phone got, oldest first.
    fn got(&self, phone: &str) -> Vec<Got> {
        let texts = self.simulator.screen(phone).into_iter().filter(|text| !text.mine);
        texts.map(|text| (text.peer, text.service_sid, text.body)).collect()
    }

    /// A contact texts one of our numbers, and all jobs run.
    async fn say(&self, from: &str, number: &str, body: &str) {
        assert_eq!(self.simulator.say(from, number, body).await.error, None);
        self.run_jobs().await;
    }

    async fn pools(&self) -> Vec<Value> {
        let numbers = self.ok(Method::GET, "/v1/numbers", None).await;
        numbers["items"].as_array().expect("items").iter().rev().map(|number| number["pool_id"].clone()).collect()
    }
}

/// Another of two numbers.
fn other(number: &str) -> &'static str {
    if number == NUMBER { SECOND } else { NUMBER }
}

#[tokio::test]
async fn a_text_to_a_service_leaves_through_it_and_its_reply_joins_the_session() {
    let (app, service) = app().await;
    assert_eq!(app.pools().await, [json!(service), json!(service)]);
    let sent = app.send_from(&service, ADA, "Your table is ready.").await;
    let number = sent["number"].as_str().expect("a number").to_owned();
    assert_eq!(sent["pool_id"], service);
    app.run_jobs().await;
    app.say(ADA, &number, "thanks").await;
    let (service, number) = (service.as_str(), number.as_str());
    assert_eq!(
        app.got(ADA),
        [through(number, Some(service), "Your table is ready."), through(number, Some(service), "1: thanks")]
    );
    let session = app.sessions().await.remove(0);
    assert_eq!((&session["id"], &session["pool_id"]), (&sent["session_id"], &json!(service)));
    assert_eq!(app.sessions().await.len(), 1, "the reply joined");
    let message = app.sent(&sent).await;
    assert_eq!(
        (&message["number"], &message["pool_id"], &message["status"]),
        (&json!(number), &json!(service), &json!("delivered"))
    );

    // The warning and the farewell leave through it too.
    app.pass(86_400).await;
    app.pass(700).await;
    assert_eq!(app.sessions().await[0]["status"], "closed");
    let got = app.got(ADA);
    assert_eq!(got.len(), 4, "{got:?}");
    assert!(got.iter().all(|text| text.1.as_deref() == Some(service)), "{got:?}");

    // A session that the contact opens is of the number alone, as before.
    app.say(ADA, number, "hi").await;
    assert_eq!(app.got(ADA).last(), Some(&through(number, None, "1: hi")));
    assert_eq!(app.sessions().await[0]["pool_id"], Value::Null);
}

#[tokio::test]
async fn a_service_keeps_to_the_number_that_the_contact_knows_and_else_to_its_country() {
    let (app, service) = app().await;
    app.attach_member(LONDON).await;
    // The one of the contact's session that is not closed.
    app.say(ADA, SECOND, "hi").await;
    assert_eq!(app.send_from(&service, ADA, "news").await["number"], SECOND);
    // The one of the newest session, though it is closed, and of another country.
    app.say(BRIT, NUMBER, "hi").await;
    app.sql("delete from inactivity").await;
    app.sql("update session set status = 'closed', closed_at = now(), close_reason = 'timed_out' where contact = '+442079460000'").await;
    assert_eq!(app.send_from(&service, BRIT, "news").await["number"], NUMBER);
    // Else one of the contact's country.
    assert_eq!(app.send_from(&service, "+442079460001", "news").await["number"], LONDON);
    // Contacts whom nobody knows spread over the numbers of their country.
    let mut used = HashSet::new();
    for n in 10..30 {
        let sent = app.send_from(&service, &format!("+141555502{n}"), "news").await;
        used.insert(sent["number"].as_str().expect("a number").to_owned());
    }
    assert_eq!(used, [NUMBER, SECOND].map(str::to_owned).into());
    // A number that may not send is passed over.
    app.sql("update number set send_policy = 'blocked' where number = '+14155550188'").await;
    let sent = app.send_from(&service, ADA, "more news").await;
    assert_eq!(sent["number"], NUMBER);
    app.sql("update number set send_policy = 'blocked'").await;
    assert_eq!(app.refused_from(&service).await, (409, "number_not_registered".to_owned()));
}

#[tokio::test]
async fn a_service_sends_from_a_number_that_the_contact_knows_and_that_gets_the_reply() {
    let (app, service) = app().await;
    app.attach_member(LONDON).await;
    // The number of the newest session is not ours any more: the one before counts.
    for number in [NUMBER, SECOND] {
        app.say(BRIT, number, "stop").await;
        app.say(BRIT, number, "start").await;
    }
    app.detach(SECOND).await;
    assert_eq!(app.send_from(&service, BRIT, "news").await["number"], NUMBER);
    app.sql("update number set webhook = 'drifted' where number = '+447700900123'").await;
    assert_eq!(app.send_from(&service, "+442079460001", "news").await["number"], NUMBER);
}

#[tokio::test]
async fn a_service_is_of_the_project_that_has_a_number_in_it() {
    let (app, service) = app().await;
    assert_eq!(app.refused_from("MG0123456789abcdef0123456789abcdef").await, (422, "pool_unknown".to_owned()));
    let malformed = format!("MG1,ACME,12,+72975, {service},{service}g,{}", service.to_lowercase());
    for malformed in malformed.split(',') {
        let (status, answer) = app
            .call(&app.key, Method::POST, "/v1/messages", Some(json!({"from": malformed, "to": ADA, "body": "x"})))
            .await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("from_invalid")), "{malformed}");
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("from must be") && detail.contains("MG and 32"), "{detail}");
    }

    // Another tenant, with a service of the same account of the carrier, and one of its own.
    let (_, stranger) = create_project(&app.storage, "strangers").await.expect("a project");
    let as_stranger = |method, path: &'static str, body| app.call(&stranger, method, path, body);
    let message = |from: &str| Some(json!({"from": from, "to": ADA, "body": "theirs"}));
    let (status, answer) = as_stranger(Method::POST, "/v1/messages", message(&service)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("pool_unknown")));
    let account = json!({"account_sid": ACCOUNT_SID, "auth_token": AUTH_TOKEN});
    assert_eq!(as_stranger(Method::PUT, "/v1/carrier", Some(account)).await.0, StatusCode::OK);
    let agent = json!({"name": "theirs", "kind": "script", "source": ECHO, "first_message": "process"});
    let agent = as_stranger(Method::POST, "/v1/agents", Some(agent)).await.1;
    let theirs = "+14155550177";
    app.simulator.add_number(ACCOUNT_SID, theirs);
    let number = json!({"number": theirs, "agent_id": agent["id"]});
    assert_eq!(as_stranger(Method::POST, "/v1/numbers", Some(number)).await.0, StatusCode::OK);
    // Each sends from its own numbers, though they share a service.
    for n in 40..46 {
        let to = format!("+141555502{n}");
        let ours = app.send_from(&service, &to, "ours").await;
        assert_ne!(ours["number"], theirs);
        let sent =
            as_stranger(Method::POST, "/v1/messages", Some(json!({"from": service, "to": to, "body": "theirs"})))
                .await
                .1;
        assert_eq!(sent["number"], theirs, "{sent}");
    }
    let elsewhere = "ACffffffffffffffffffffffffffffffff";
    app.simulator.add_account(Account::new(elsewhere, AUTH_TOKEN));
    app.simulator.add_number(elsewhere, "+14155550166");
    let foreign = app.simulator.service_of("+14155550166").expect("a service").sid;
    assert_eq!(app.refused_from(&foreign).await, (422, "pool_unknown".to_owned()));
}

#[tokio::test]
async fn who_opted_out_of_one_number_opted_out_of_the_service_until_they_opt_in_again() {
    let (app, service) = app().await;
    app.say(ADA, NUMBER, "hi").await;
    app.say(ADA, SECOND, "STOP").await;
    assert_eq!(app.refused_from(&service).await, (409, "contact_opted_out".to_owned()));
    app.say(ADA, SECOND, "START").await;
    assert_eq!(app.send_from(&service, ADA, "welcome back").await["pool_id"], service);
    // An opt-in at another number lets the others send, and not the one that was told to stop.
    app.say(ADA, NUMBER, "STOP").await;
    app.say(ADA, SECOND, "START").await;
    assert_eq!(app.send_from(&service, ADA, "again").await["number"], SECOND);
    app.run_jobs().await;
    assert_eq!(app.got(ADA).last(), Some(&through(SECOND, Some(&service), "again")));
    // The opt-out outlives the number that it was told to.
    app.say(ADA, SECOND, "STOP").await;
    app.detach(SECOND).await;
    assert_eq!(app.refused_from(&service).await, (409, "contact_opted_out".to_owned()));
}

impl TestApp {
    /// Detaches a number, which stays at the carrier.
    async fn detach(&self, number: &str) {
        let numbers = self.ok(Method::GET, "/v1/numbers", None).await;
        let found = numbers["items"].as_array().expect("items").iter().find(|item| item["number"] == number);
        let path = format!("/v1/numbers/{}?at_carrier=keep", found.expect("a number")["id"].as_str().expect("an id"));
        assert_eq!(self.call(&self.key, Method::DELETE, &path, None).await.0, 204);
    }
}

#[tokio::test]
async fn a_scheduled_text_gets_its_number_when_it_is_due() {
    let (app, service) = app().await;
    let soon = (Utc::now() + Duration::hours(1)).to_rfc3339();
    let schedule =
        |body: &str| json!({"from": service, "to": ADA, "body": body, "send_at": soon, "on_active_session": "join"});
    let planned = app.ok(Method::POST, "/v1/messages", Some(schedule("See you at eight"))).await;
    assert_eq!((&planned["number"], &planned["pool_id"]), (&Value::Null, &json!(service)), "no number is promised");
    let waits = app.sent(&planned).await;
    assert_eq!(
        (&waits["status"], &waits["number"], &waits["pool_id"]),
        (&json!("scheduled"), &Value::Null, &json!(service))
    );
    let late = app.ok(Method::POST, "/v1/messages", Some(schedule("and bring wine"))).await;

    // Meanwhile the contact texts one of the numbers, and the other one is detached.
    let first: String =
        sqlx::query_scalar("select number from number join scheduled_message on number_id = number.id limit 1")
            .fetch_one(app.storage.pool())
            .await
            .expect("a number");
    let stays = other(&first);
    app.say(ADA, stays, "hi").await;
    app.detach(&first).await;
    app.sql("update scheduled_message set due_at = now()").await;
    app.run_jobs().await;
    let got = app.got(ADA);
    assert_eq!(got[0], through(stays, None, "1: hi"));
    let texts: Vec<&str> = got[1..].iter().map(|text| text.2.as_str()).collect();
    assert!(got[1..].iter().all(|text| text.0 == stays && text.1.as_deref() == Some(&service)), "{got:?}");
    assert!(texts.contains(&"See you at eight") && texts.contains(&"and bring wine") && texts.len() == 2, "{texts:?}");
    assert_eq!(app.sessions().await.len(), 1, "they joined the session");
    assert_eq!(app.sent(&late).await["number"], stays);

    // No number of the service is left, or the contact opted out of one of them: it is refused, and
    // says so.
    app.attach_member(&first).await;
    let stopped = app.ok(Method::POST, "/v1/messages", Some(schedule("too late"))).await;
    app.say(ADA, stays, "STOP").await;
    app.sql("update scheduled_message set due_at = now() where due_at is not null").await;
    app.run_jobs().await;
    assert_eq!(app.sent(&stopped).await["refusal_reason"], "contact_opted_out");
    let body = json!({"from": service, "to": "+14155550102", "body": "alone", "send_at": soon});
    let alone = app.ok(Method::POST, "/v1/messages", Some(body)).await;
    app.detach(NUMBER).await;
    app.detach(SECOND).await;
    app.sql("update scheduled_message set due_at = now() where due_at is not null").await;
    app.run_jobs().await;
    assert_eq!(app.sent(&alone).await["refusal_reason"], "number_detached");
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_with_its_number() {
    let (app, service) = app().await;
    let once = async |body: &Value| {
        let url = format!("http://{}/v1/messages", app.api);
        let request = app.http.post(url).bearer_auth(&app.key).header("Idempotency-Key", "order-7").json(body);
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")
    };
    let body = json!({"from": service, "to": ADA, "body": "Your code is 1234"});
    let first = once(&body).await;
    let number = first["number"].as_str().expect("a number").to_owned();
    app.detach(&number).await;
    assert_eq!(once(&body).await, first, "though another number would be chosen now");
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from message").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_send_to_one_contact_at_once_choose_one_number() {
    for policy in ["join", "supersede"] {
        let (app, service) = app().await;
        app.without_rate_limits().await;
        let contacts = ["+14155550110", "+14155550111", "+14155550112"];
        let send = |n: usize| {
            let (app, contact) = (&app, contacts[n % 3]);
            let body =
                json!({"from": service, "to": contact, "body": format!("news {n}"), "on_active_session": policy});
            async move { (contact, app.ok(Method::POST, "/v1/messages", Some(body)).await["number"].clone()) }
        };
        // A number that enters the service meanwhile is not known to all of them.
        let (sent, ()) = tokio::join!(futures::future::join_all((0..36).map(send)), app.attach_member("+14155550177"));
        let numbers: HashSet<(&str, String)> =
            sent.into_iter().map(|(contact, number)| (contact, number.to_string())).collect();
        assert_eq!(numbers.len(), 3, "each contact has one number: {numbers:?}");
        assert_eq!(app.count("select count(*) from session where status <> 'closed'").await, 3, "{policy}");
        app.run_jobs().await;
        assert_eq!(app.count("select count(*) from delivery where status = 'delivered'").await, 36);
    }
}

/// Without the lock the second would not see the first's session, and open one on another number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_while_another_chooses_waits_and_chooses_the_same_number() {
    let (app, service) = app().await;
    let project =
        project::find_by_name(&mut *pooled(&app.storage).await, "tests").await.expect("an answer").expect("one");
    let text = NewText {
        project_id: project.id,
        from: SendFrom::Pool { pool_id: service.clone() },
        channel: channels::of_numbers().facts(),
        contact: ADA.to_owned(),
        countries: vec!["US".to_owned()],
        body: "first".to_owned(),
        media_urls: Vec::new(),
        on_active_session: OnActiveSession::Supersede,
        send_at: None,
        on_landline: OnLandline::Refuse,
    };
    let mut first = app.storage.transaction().await.expect("a transaction");
    let chosen = sending::send(&mut first, &text, None).await.expect("sent").number.expect("a number");
    // Who does not know of the first text takes the other number now.
    sqlx::query("update number set send_policy = 'held' where number = $1")
        .bind(&chosen)
        .execute(app.storage.pool())
        .await
        .expect("changed");
    let committing = async {
        app.until_one_waits().await;
        first.commit().await.expect("committed");
    };
    let (second, ()) = tokio::join!(app.send_from(&service, ADA, "second"), committing);
    assert_eq!(second["number"], chosen.as_str());
    assert_eq!(app.count("select count(*) from session where status <> 'closed'").await, 1);
}

#[tokio::test]
async fn a_number_that_left_its_service_sends_alone_and_is_checked_at_once() {
    let (app, service) = app().await;
    app.attach_member(LONDON).await;
    let sent = app.send_from(&service, BRIT, "hello").await;
    assert_eq!(sent["number"], LONDON);
    app.simulator.leave_service(LONDON);
    app.run_jobs().await;
    assert_eq!(app.got(BRIT), [through(LONDON, None, "hello")]);
    let history = app.sent(&sent).await["history"].clone();
    let steps = history.as_array().expect("steps").iter();
    let steps: Vec<Value> = steps.map(|step| json!([step["status"], step["class"], step["code"]])).collect();
    assert_eq!(steps[1], json!(["planned", "not_in_pool", 21711]), "{steps:?}");
    let calls = steps.iter().filter(|step| step[0] == "sending").count();
    assert_eq!(calls, 2, "one more call, at once: {steps:?}");
    let of_service = json!(service);
    assert_eq!(app.pools().await, [of_service.clone(), of_service.clone(), Value::Null]);

    // It is due at once, and what the carrier says now is read, not what was read before.
    assert_eq!(app.workers.numbers.job().go_on().await.expect("numbers"), 1);
    assert_eq!(app.pools().await[2], Value::Null);
    app.say(BRIT, LONDON, "hi").await;
    assert_eq!(app.got(BRIT)[1], through(LONDON, None, "1: hi"), "the session goes on without the service");
    assert_ne!(app.send_from(&service, BRIT, "news").await["number"], LONDON, "the service has other numbers");

    // What is read counts, and a reading that fails forgets nothing.
    app.simulator.enter_service(LONDON, &service);
    app.reconcile_numbers().await;
    assert_eq!(app.pools().await[2], of_service);
    app.simulator.refuse_messaging(true);
    app.reconcile_numbers().await;
    assert_eq!(app.pools().await, [of_service.clone(), of_service.clone(), of_service]);
    app.simulator.refuse_messaging(false);
    app.simulator.leave_service(LONDON);
    app.reconcile_numbers().await;
    assert_eq!(app.pools().await[2], Value::Null);
}

/// The carrier took the text and changed its characters; its answer was lost, and no report came.
#[tokio::test]
async fn an_unsure_text_is_found_though_smart_encoding_changed_it() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    app.simulator.change_service(NUMBER, |service| service.smart_encoding = true);
    app.reconcile_numbers().await;
    let service = app.simulator.service_of(NUMBER).expect("a service").sid;
    app.simulator.report_statuses(false);
    for (text, arrives) in [
        ("“It’s ½ past – don’t be late…”", "\"It's 1/2 past - don't be late...\""),
        ("…", "..."),
        ("«Привет»", "\"Привет\""),
    ] {
        app.simulator.plan_faults([Fault::AcceptThen500]);
        app.send_from(&service, ADA, text).await;
        app.run_jobs().await;
        assert_eq!(app.statuses().await.pop().as_deref(), Some("unknown"), "{text}");
        app.later(5).await;
        assert_eq!(app.statuses().await.pop().as_deref(), Some("accepted"), "{text}");
        app.later(400).await;
        let got = app.got(ADA);
        assert_eq!(got.iter().filter(|got| got.2 == arrives).count(), 1, "{got:?}");
    }
    assert_eq!(app.got(ADA).len(), 3, "nothing is doubled");
}

#[tokio::test]
async fn an_agent_sends_to_a_service_too() {
    let source =
        "def reply(conv, text):\n    conv.send_sms('+14155550102', text, 'a table is free')\n    return 'ok'\n";
    let app = TestApp::with_agent(source, json!({"first_message": "process"})).await;
    let service = app.simulator.service_of(NUMBER).expect("a service").sid;
    app.attach_member(SECOND).await;
    app.say("+14155550102", SECOND, "STOP").await;
    app.say("+14155550102", SECOND, "START").await;
    app.say(ADA, NUMBER, &service).await;
    assert_eq!(
        app.got("+14155550102"),
        [through(SECOND, Some(&service), "a table is free")],
        "the number that they know"
    );
    app.say(ADA, NUMBER, "MG0123456789abcdef0123456789abcdef").await;
    let refused = app.ok(Method::GET, "/v1/scheduled-messages", None).await;
    assert_eq!(
        (&refused["items"][0]["reason"], &refused["items"][0]["number"]),
        (&json!("number_detached"), &Value::Null)
    );
}

#[tokio::test]
async fn a_text_to_a_service_that_joins_a_session_takes_its_answers_along() {
    let (app, service) = app().await;
    app.say(ADA, NUMBER, "hi").await;
    let body = json!({"from": service, "to": ADA, "body": "one more thing", "on_active_session": "join"});
    app.ok(Method::POST, "/v1/messages", Some(body)).await;
    app.run_jobs().await;
    app.say(ADA, NUMBER, "yes?").await;
    assert_eq!(
        app.got(ADA),
        [
            through(NUMBER, None, "1: hi"),
            through(NUMBER, Some(&service), "one more thing"),
            through(NUMBER, Some(&service), "2: yes?")
        ]
    );
    // A text from the number itself opens a session of the number.
    app.send_from(NUMBER, ADA, "from me alone").await;
    app.run_jobs().await;
    assert_eq!(app.got(ADA).last(), Some(&through(NUMBER, None, "from me alone")));
}

/// The carrier posts what comes to the address of the service, or to that of the number.
#[tokio::test]
async fn a_reply_joins_the_session_whichever_address_the_service_uses() {
    for uses_number in [true, false] {
        let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
        let ours = app.simulator.number(NUMBER).expect("a number").sms_url;
        app.simulator.change_service(NUMBER, |service| {
            service.use_inbound_webhook_on_number = uses_number;
            service.inbound_request_url = (!uses_number).then_some(ours);
        });
        app.reconcile_numbers().await;
        let service = app.simulator.service_of(NUMBER).expect("a service").sid;
        let number = app.ok(Method::GET, "/v1/numbers", None).await["items"][0].clone();
        assert_eq!((&number["pool_id"], &number["warnings"]), (&json!(service), &json!([])), "{number}");
        let sent = app.send_from(&service, ADA, "news").await;
        app.run_jobs().await;
        app.say(ADA, NUMBER, "thanks").await;
        assert_eq!(app.got(ADA).last(), Some(&through(NUMBER, Some(&service), "1: thanks")));
        assert_eq!(app.sessions().await[0]["id"], sent["session_id"]);
    }
}
