//! Tests what language models may use: limits of a session and of a project's day, in tokens and in
//! money, also when many sessions ask at once.

use reqwest::Method;
use serde_json::{Value, json};
use textback::config::WorkerSettings;
use wiremock::ResponseTemplate;

use crate::harness::{ADA, NUMBER, TestApp, settings};
use crate::http_agents::no_waiting;
use crate::llm_agents::{Model, app_with, says};

const BEN: &str = "+14155550102";
/// What the contact gets instead of an answer of the model.
const SORRY: &str = "Please call us.";

/// What each answer of the model uses: 90 tokens of the request, 64 of them cached, and 12 more.
const USED: i64 = 102;

fn sorry() -> Value {
    json!({"error_message": SORRY})
}

fn answers(count: usize) -> Vec<ResponseTemplate> {
    (0..count).map(|n| says(&format!("Answer {n}."))).collect()
}

async fn limit(app: &TestApp, limits: Value) -> Value {
    app.ok(Method::PATCH, "/v1/project", Some(limits)).await
}

/// What the project used today, as the API tells it.
async fn used(app: &TestApp) -> Value {
    app.ok(Method::GET, "/v1/usage", None).await["llm"].clone()
}

async fn last_error(app: &TestApp) -> Value {
    app.ok(Method::GET, "/v1/agents", None).await["items"][0]["last_error"].clone()
}

async fn last_answer(app: &TestApp, contact: &str, text: &str) -> Option<String> {
    app.answers(contact, text).await.pop()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_at_once_exceed_the_limit_of_the_day_by_one_request_at_most() {
    let model = Model::with(answers(50)).await;
    let app = app_with(&model, json!({"max_output_tokens": 50}), sorry()).await;
    limit(&app, json!({"llm_max_tokens_per_day": 1000})).await;
    let contacts: Vec<String> = (0..50).map(|n| format!("+141555507{n:02}")).collect();
    for contact in &contacts {
        app.text(contact, "hi").await;
    }
    // So many slots that all turns run at the same time.
    let workers = app.workers_of(WorkerSettings { turn_slots: 128, ..settings() });
    while app.count("select count(*) from turn").await > 0 {
        workers.turns.step().await.expect("turns");
        app.sql("update turn set due_at = now()").await;
    }
    app.run_jobs().await;

    let requests = i64::try_from(model.requests().await.len()).expect("a number");
    assert_eq!(requests, 10, "the tenth request of {USED} tokens reaches 1000");
    let used = used(&app).await;
    assert_eq!((&used["tokens"], &used["most_tokens"]), (&json!(requests * USED), &json!(1000)));
    let received: Vec<Vec<String>> = contacts.iter().map(|contact| app.simulator.received(contact, NUMBER)).collect();
    let of_the_model =
        received.iter().filter(|texts| matches!(&texts[..], [text] if text.starts_with("Answer "))).count();
    let sorries = received.iter().filter(|texts| texts[..] == [SORRY]).count();
    assert_eq!((of_the_model, sorries), (10, 40), "each contact gets one text");
    assert_eq!(app.count("select count(*) from model_reservation").await, 0);
    assert_eq!(app.count("select count(*) from message where turn_failures > 1").await, 0);
}

#[tokio::test]
async fn over_the_limit_of_the_day_operators_are_told_once_and_sessions_go_on() {
    let model = Model::with(answers(3)).await;
    let app = app_with(&model, json!({}), sorry()).await;
    limit(&app, json!({"llm_max_tokens_per_day": 1})).await;
    assert_eq!(last_answer(&app, ADA, "hi").await.as_deref(), Some("Answer 0."), "the first request is below it");
    assert_eq!(last_answer(&app, ADA, "and?").await.as_deref(), Some(SORRY));
    let error = last_error(&app).await;
    assert_eq!(error["code"], "over_budget");
    assert!(error["message"].as_str().is_some_and(|told| told.contains("llm_max_tokens_per_day")), "{error}");
    let doctor = app.command("doctor", &app.secret_key).output().expect("it runs");
    let printed = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(printed.contains("has used what its language models may use today; 1 requests were not made"), "{printed}");

    app.sql("delete from agent_error").await;
    assert_eq!(last_answer(&app, BEN, "hi").await.as_deref(), Some(SORRY));
    assert_eq!(last_error(&app).await, Value::Null, "it is told once a day");
    assert_eq!(app.count("select refused::bigint from model_use_of_day").await, 2);
    assert_eq!(app.count("select count(*) from message where turn_error_code = 'over_budget'").await, 2);
    assert_eq!(model.requests().await.len(), 1);
    assert!(app.sessions().await.iter().all(|session| session["status"] == "open"));

    limit(&app, json!({"llm_max_tokens_per_day": 0})).await;
    assert_eq!(last_answer(&app, ADA, "now?").await.as_deref(), Some("Answer 1."));
    limit(&app, json!({"llm_max_tokens_per_day": 1})).await;
    app.sql("update model_use_of_day set day = day - 1").await;
    assert_eq!(last_answer(&app, ADA, "and today?").await.as_deref(), Some("Answer 2."), "another day begins at 0");
}

#[tokio::test]
async fn a_session_stops_at_its_own_limit_of_tokens() {
    let model = Model::with(answers(3)).await;
    let app = app_with(&model, json!({"max_tokens_per_session": 150}), sorry()).await;
    let mut sent = Vec::new();
    for (contact, text) in [(ADA, "a"), (ADA, "b"), (ADA, "c"), (BEN, "d")] {
        sent.extend(last_answer(&app, contact, text).await);
    }
    assert_eq!(sent, ["Answer 0.", "Answer 1.", SORRY, "Answer 2."], "another session has its own limit");
    let error = last_error(&app).await;
    assert!(error["message"].as_str().is_some_and(|told| told.contains("llm.max_tokens_per_session")), "{error}");
}

#[tokio::test]
async fn cost_counts_by_the_prices_of_the_project() {
    let model = Model::with(answers(4)).await;
    let app = app_with(&model, json!({}), sorry()).await;
    let prices = json!([{"model": "small", "input": 1_000_000, "cached_input": 100_000, "output": 10_000_000}]);
    let project = limit(&app, json!({"llm_prices": prices, "llm_max_cost_per_day": 200})).await;
    assert_eq!((&project["llm_prices"], &project["llm_max_cost_per_day"]), (&prices, &json!(200)));
    assert_eq!(app.ok(Method::GET, "/v1/project", None).await, project);

    // 26 tokens at 1, 64 at 0.1 and 12 at 10 are 152.4, rounded up.
    assert_eq!(last_answer(&app, ADA, "hi").await.as_deref(), Some("Answer 0."));
    assert_eq!(used(&app).await["cost"], 153);
    assert_eq!(last_answer(&app, BEN, "hi").await.as_deref(), Some("Answer 1."));
    assert_eq!(last_answer(&app, BEN, "and?").await.as_deref(), Some(SORRY));
    assert_eq!(app.count("select sum(cost)::bigint from model_request").await, 306);

    // A model without a price costs nothing.
    let without = limit(&app, json!({"llm_prices": null})).await;
    assert_eq!(without["llm_prices"], json!([]));
    limit(&app, json!({"llm_max_cost_per_day": 400})).await;
    assert_eq!(last_answer(&app, ADA, "and?").await.as_deref(), Some("Answer 2."));
    assert_eq!(app.count("select count(*) from model_request where cost is null").await, 1);
    assert_eq!(used(&app).await["cost"], 306);
}

#[tokio::test]
async fn the_requests_of_each_turn_stand_in_the_api() {
    let fails = ResponseTemplate::new(503).insert_header("retry-after-ms", "1");
    let model = Model::with(vec![fails, says("Hi."), says("Ok.")]).await;
    let app = app_with(&model, json!({}), sorry()).await;
    limit(&app, json!({"llm_prices": [{"model": "small", "input": 1_000_000, "output": 1_000_000}]})).await;
    for text in ["hi", "and?"] {
        app.answers(ADA, text).await;
    }
    let session = app.sessions().await.remove(0);
    let path = format!("/v1/sessions/{}/model-requests", session["id"].as_str().expect("an id"));
    let first = app.ok(Method::GET, &format!("{path}?limit=2"), None).await;
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = app.ok(Method::GET, &format!("{path}?limit=2&cursor={cursor}"), None).await;
    let items = [&first["items"], &second["items"]].map(|page| page.as_array().cloned().expect("items")).concat();
    assert_eq!((items.len(), second.get("next_cursor")), (3, None));

    let told: Vec<_> = items.iter().map(|one| (&one["finish"], &one["cost"], &one["cached_tokens"])).collect();
    let answered = (&json!("done"), &json!(102), &json!(64));
    assert_eq!(told, [(&json!("failed"), &json!(0), &Value::Null), answered, answered]);
    assert_eq!(items[0]["error"], "answered 503 Service Unavailable");
    let inbound: Vec<Value> =
        app.messages(&session).await.into_iter().filter(|one| one["direction"] == "inbound").collect();
    let turns: Vec<&Value> = items.iter().map(|one| &one["turn_id"]).collect();
    assert_eq!(
        turns,
        [&inbound[0]["id"], &inbound[0]["id"], &inbound[1]["id"]],
        "a turn has the id of its first message"
    );

    let (_, other) = crate::harness::create_project(&app.storage, "other").await.expect("a project");
    assert_eq!(app.call(&other, Method::GET, &path, None).await.0, 404);
}

#[tokio::test]
async fn a_limit_of_the_cost_needs_a_price() {
    let model = Model::with(answers(2)).await;
    let app = app_with(&model, json!({}), sorry()).await;
    let version = json!({"kind": "llm", "error_message": SORRY, "first_message": "process",
        "llm": {"base_url": model.base_url(), "model": "small", "prompt": "Hi", "max_cost_per_session": 100}});
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    let path = format!("/v1/agents/{}/versions", agents["items"][0]["id"].as_str().expect("an id"));
    let (status, refused) = app.call(&app.key, Method::POST, &path, Some(version.clone())).await;
    assert_eq!((status.as_u16(), &refused["code"]), (422, &json!("llm_refused")), "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("price of the model \"small\"")));

    limit(&app, json!({"llm_prices": [{"model": "small", "input": 1_000_000, "output": 1_000_000}]})).await;
    app.ok(Method::POST, &path, Some(version)).await;
    assert_eq!(last_answer(&app, ADA, "hi").await.as_deref(), Some("Answer 0."));
    assert_eq!(last_answer(&app, ADA, "and?").await.as_deref(), Some(SORRY), "102 is over 100");
    for prices in [
        json!([{"model": "a", "input": 1, "output": 1}, {"model": "a", "input": 2, "output": 2}]),
        json!([{"model": " ", "input": 1, "output": 1}]),
        json!([{"model": "a", "input": -1, "output": 1}]),
        json!([{"model": "a", "input": 1}]),
    ] {
        app.refused(Method::PATCH, "/v1/project", Some(json!({"llm_prices": prices}))).await;
    }
}

#[tokio::test]
async fn what_the_provider_does_not_charge_for_does_not_count_and_what_is_unknown_counts_in_full() {
    let fails = |status: u16| ResponseTemplate::new(status).insert_header("retry-after-ms", "1");
    let silent = json!({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": {}});
    let lost = json!({"choices": []});
    let body = |body: &Value| ResponseTemplate::new(200).insert_header("retry-after-ms", "1").set_body_json(body);
    let model = Model::with(vec![fails(503), fails(429), says("Hi."), body(&silent), body(&lost), says("Ok.")]).await;
    let app = app_with(&model, json!({"max_output_tokens": 5000}), sorry()).await;
    let mut before = 0;
    for (text, least, most) in [("a", USED, USED), ("b", 100, 1000), ("c", 5000 + USED, 6000 + USED)] {
        app.answers(ADA, text).await;
        let now = used(&app).await["tokens"].as_i64().expect("a number");
        assert!((least..=most).contains(&(now - before)), "{text}: {before} to {now}");
        before = now;
    }
}

/// A process ended between the reservation and the answer.
#[tokio::test]
async fn what_an_ended_process_reserved_holds_others_up_for_minutes_and_then_counts() {
    let model = Model::with(answers(2)).await;
    let app = app_with(&model, json!({}), sorry()).await;
    limit(&app, json!({"llm_max_tokens_per_day": 1000})).await;
    assert_eq!(last_answer(&app, ADA, "hi").await.as_deref(), Some("Answer 0."));
    app.sql(
        "insert into model_reservation (id, project_id, session_id, day, tokens, cost)
         select gen_random_uuid(), project_id, gen_random_uuid(), day, 900, 0 from model_use_of_day",
    )
    .await;
    app.sql("update model_use_of_day set tokens = tokens + 900").await;
    app.text(BEN, "hi").await;
    app.run_jobs().await;
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(BEN, NUMBER), Vec::<String>::new(), "the other request may use less");
    assert_eq!(app.count("select count(*) from turn where failures = 0 and attempts = 0").await, 1);

    app.sql("update model_reservation set reserved_at = now() - interval '6 minutes'").await;
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(BEN, NUMBER), [SORRY]);
    assert_eq!(model.requests().await.len(), 1);
}
