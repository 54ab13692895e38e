//! Tests that a server of language models that fails, refuses a key or hangs is left alone, and
//! holds up nobody but those who need it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::harness::{ACCOUNT_SID, ADA, NUMBER, TestApp, create_project, settings};
use crate::http_agents::{no_waiting, other_project, work_with_eight_slots};
use crate::llm_agents::{Model, agent, app_with, says};

const BEN: &str = "+14155550102";
const CY: &str = "+14155550103";
const SECOND_NUMBER: &str = "+14155550198";
const SORRY: &str = "Please call us.";

fn sorry() -> Value {
    json!({"error_message": SORRY})
}

fn fails(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("retry-after-ms", "1")
}

/// The server is away for a minute, which is longer than any test.
fn away() -> ResponseTemplate {
    ResponseTemplate::new(503).insert_header("retry-after", "60")
}

/// An app whose model failed five times in a row, so that its circuit is open: four times for one
/// contact and once for another.
async fn app_with_an_open_circuit(later: Vec<ResponseTemplate>) -> (Model, TestApp) {
    let mut answers: Vec<ResponseTemplate> = (0..4).map(|_| fails(503)).collect();
    answers.push(away());
    answers.extend(later);
    let model = Model::with(answers).await;
    let app = app_with(&model, json!({}), sorry()).await;
    app.answers(ADA, "hi").await;
    app.sql("update turn set due_at = now() + interval '1 hour'").await;
    assert_eq!(app.answers(BEN, "hi").await, Vec::<String>::new());
    assert_eq!(model.requests().await.len(), 5);
    (model, app)
}

#[tokio::test]
async fn turns_wait_without_a_request_for_a_server_that_keeps_failing() {
    let (model, app) = app_with_an_open_circuit(vec![says("Hi."), says("Hi."), says("Hi.")]).await;
    app.text(CY, "hi").await;
    app.run_jobs().await;
    for _ in 0..12 {
        no_waiting(&app).await;
    }
    assert_eq!(model.requests().await.len(), 5, "nobody calls it");
    let of_cy = "select count(*) from turn join session on session.id = turn.session_id
                  where contact = '+14155550103' and failures = 0 and attempts = 0";
    assert_eq!(app.count(of_cy).await, 1, "waiting is no failure");
    let error = app.ok(Method::GET, "/v1/agents", None).await["items"][0]["last_error"].clone();
    assert!(error["message"].as_str().is_some_and(|told| told.contains("503")), "why it fails stays told: {error}");

    // Another process has circuits of its own, and the server works again.
    let workers = app.workers_of(settings());
    app.sql("update turn set due_at = now()").await;
    while workers.turns.step().await.expect("turns") > 0 {}
    app.run_jobs().await;
    for contact in [ADA, BEN, CY] {
        assert_eq!(app.simulator.received(contact, NUMBER), ["Hi."]);
    }
}

#[tokio::test]
async fn who_has_waited_for_minutes_gets_the_error_message() {
    let (model, app) = app_with_an_open_circuit(Vec::new()).await;
    app.text(CY, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(CY, NUMBER), Vec::<String>::new());
    app.sql("update turn set created_at = now() - interval '6 minutes'").await;
    no_waiting(&app).await;
    for contact in [ADA, BEN, CY] {
        assert_eq!(app.simulator.received(contact, NUMBER), [SORRY]);
    }
    assert_eq!(model.requests().await.len(), 5);
    assert!(app.sessions().await.iter().all(|session| session["status"] == "open"));
}

/// An agent of another project at the same server, for the second number.
async fn second_project(app: &TestApp, model: &Model) {
    let (_, key) = create_project(&app.storage, "second").await.expect("a project");
    let credentials = json!({"account_sid": ACCOUNT_SID, "auth_token": crate::harness::AUTH_TOKEN});
    app.call(&key, Method::PUT, "/v1/carrier", Some(credentials)).await;
    let made = app.call(&key, Method::POST, "/v1/agents", Some(agent(model, json!({}), sorry()))).await.1;
    app.simulator.add_number(ACCOUNT_SID, SECOND_NUMBER);
    let number = json!({"number": SECOND_NUMBER, "agent_id": made["id"]});
    let (status, answer) = app.call(&key, Method::POST, "/v1/numbers", Some(number)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_server_that_one_project_leaves_alone_is_called_for_another() {
    let (model, app) = app_with_an_open_circuit(vec![says("Hi from the second.")]).await;
    second_project(&app, &model).await;
    assert_eq!(app.simulator.say(CY, SECOND_NUMBER, "hi").await.error, None);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(CY, SECOND_NUMBER), ["Hi from the second."]);
    assert_eq!(model.requests().await.len(), 6);
}

#[tokio::test]
async fn a_key_that_is_refused_is_not_tried_for_each_turn_and_a_new_one_is_tried_at_once() {
    let mut answers: Vec<ResponseTemplate> = (0..5).map(|_| fails(401)).collect();
    answers.extend([says("Hi from the other."), says("Hi again.")]);
    let model = Model::with(answers).await;
    let app = app_with(&model, json!({}), sorry()).await;
    let (id, version) = {
        let agents = app.ok(Method::GET, "/v1/agents", None).await;
        let mut version = agent(&model, json!({"api_key": "sk-new"}), sorry());
        version.as_object_mut().expect("an object").remove("name");
        (agents["items"][0]["id"].as_str().expect("an id").to_owned(), version)
    };
    let other = app.ok(Method::POST, "/v1/agents", Some(agent(&model, json!({}), json!({"name": "other"})))).await;
    app.simulator.add_number(ACCOUNT_SID, SECOND_NUMBER);
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": SECOND_NUMBER, "agent_id": other["id"]}))).await;
    app.without_rate_limits().await;
    for _ in 0..8 {
        app.answers(ADA, "hi").await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER), [SORRY; 8], "each text gets the error message at once");
    assert_eq!(model.requests().await.len(), 5, "the last three without a request");

    assert_eq!(app.simulator.say(BEN, SECOND_NUMBER, "hi").await.error, None);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, SECOND_NUMBER), ["Hi from the other."], "its key is not refused");
    app.ok(Method::POST, &format!("/v1/agents/{id}/versions"), Some(version)).await;
    assert_eq!(app.answers(CY, "hi").await, ["Hi again."]);
}

/// Twenty models that hang, of one project, and the script of another project.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_models_of_one_project_that_hang_leave_slots_to_the_scripts_of_another() {
    let slow = (0..100).map(|_| says("late").set_delay(Duration::from_secs(60))).collect();
    let model = Model::with(slow).await;
    let app = TestApp::new().await;
    for n in 0..20 {
        let number = format!("+141555599{n:02}");
        app.simulator.add_number(ACCOUNT_SID, &number);
        let spec = agent(&model, json!({}), json!({"name": format!("slow {n}")}));
        let made = app.ok(Method::POST, "/v1/agents", Some(spec)).await;
        app.ok(Method::POST, "/v1/numbers", Some(json!({"number": number, "agent_id": made["id"]}))).await;
        for contact in 0..3 {
            app.simulator.say(&format!("+1415555{n:02}9{contact}"), &number, "hi").await;
        }
    }
    other_project(&app).await;
    let working = work_with_eight_slots(&app);
    let full = async {
        // Six of eight slots is what one project gets.
        while model.requests().await.len() < 6 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), full).await.expect("the models are asked");
    for n in 0..30 {
        let contact = format!("+141555520{n:02}");
        assert_eq!(app.simulator.say(&contact, SECOND_NUMBER, "hello").await.error, None);
        let answered = app.simulator.until_received(&contact, SECOND_NUMBER, 1);
        let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
        assert_eq!(answered.expect("a script is answered"), ["1: hello"]);
    }
    assert_eq!(model.requests().await.len(), 6, "no answer of a model came meanwhile, and no slot was free for one");
    working.abort();
}
