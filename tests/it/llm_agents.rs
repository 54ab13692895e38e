//! Tests llm agents against a scripted model: what a request holds, what becomes of each kind of
//! answer, and what is refused when an agent is saved.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use reqwest::Method;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::harness::{ADA, NUMBER, TestApp};
use crate::http_agents::no_waiting;

const BEN: &str = "+14155550102";
const KEY: &str = "sk-test-4711";

/// A model that gives scripted answers, one after the other. When they are used up, it fails.
pub struct Model {
    server: MockServer,
}

struct Script(Mutex<VecDeque<ResponseTemplate>>);

impl Respond for Script {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(|| ResponseTemplate::new(418).set_body_string("no answer is left"))
    }
}

impl Model {
    pub async fn with(answers: Vec<ResponseTemplate>) -> Self {
        let server = MockServer::start().await;
        let post = Mock::given(wiremock::matchers::path("/v1/chat/completions"));
        post.respond_with(Script(Mutex::new(answers.into()))).mount(&server).await;
        Self { server }
    }

    pub fn base_url(&self) -> String {
        format!("{}/v1", self.server.uri())
    }

    /// The bodies of the requests so far.
    pub async fn requests(&self) -> Vec<Value> {
        let requests = self.server.received_requests().await.expect("recorded");
        requests.iter().map(|request| serde_json::from_slice(&request.body).expect("JSON")).collect()
    }
}

/// An answer with a text.
pub fn says(text: &str) -> ResponseTemplate {
    answers(json!({"role": "assistant", "content": text}), "stop")
}

/// An answer that calls tools, each by its name and arguments.
pub fn calls(tools: &[(&str, Value)]) -> ResponseTemplate {
    let call = |(n, (name, arguments)): (usize, &(&str, Value))| json!({"id": format!("c{n}"), "type": "function", "function": {"name": name, "arguments": arguments.to_string()}});
    let calls: Vec<Value> = tools.iter().enumerate().map(call).collect();
    answers(json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls")
}

fn answers(message: Value, finish: &str) -> ResponseTemplate {
    let usage = json!({"prompt_tokens": 90, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 64}});
    let body = json!({"choices": [{"message": message, "finish_reason": finish}], "usage": usage});
    ResponseTemplate::new(200).set_body_json(body)
}

fn fails(status: u16, error: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("retry-after-ms", "1").set_body_json(json!({"error": error}))
}

/// An app whose number is answered by a model. `llm` and `settings` change what is sent.
pub async fn app_with(model: &Model, llm: Value, settings: Value) -> TestApp {
    let app = TestApp::new().await;
    let made = app.ok(Method::POST, "/v1/agents", Some(agent(model, llm, settings))).await;
    app.ok(Method::POST, "/v1/numbers", Some(json!({"number": NUMBER, "agent_id": made["id"]}))).await;
    app
}

pub fn agent(model: &Model, llm: Value, settings: Value) -> Value {
    let mut spec =
        json!({"base_url": model.base_url(), "model": "small", "api_key": KEY, "prompt": "You answer for Acme."});
    spec.as_object_mut().expect("an object").extend(llm.as_object().cloned().unwrap_or_default());
    let mut agent = json!({"name": "model", "kind": "llm", "llm": spec, "first_message": "process"});
    agent.as_object_mut().expect("an object").extend(settings.as_object().cloned().unwrap_or_default());
    agent
}

#[tokio::test]
async fn a_model_gets_the_prompt_the_history_and_the_text_and_its_answer_is_sent() {
    let model = Model::with(vec![says("We open at nine."), says("On Sundays at ten.")]).await;
    let app = app_with(&model, json!({"prompt": "You answer for Acme by {{ conv.channel_type }}."}), json!({})).await;
    assert_eq!(app.answers(ADA, "When do you open?").await, ["We open at nine."]);
    assert_eq!(app.answers(ADA, "And on Sundays?").await.last().map(String::as_str), Some("On Sundays at ten."));

    let bodies = model.requests().await;
    let system = bodies[0]["messages"][0]["content"].as_str().expect("a prompt").to_owned();
    assert!(system.starts_with("You answer for Acme by sms.\n\n") && system.contains("text messages"), "{system}");
    assert_eq!((&bodies[0]["model"], &bodies[0]["max_tokens"]), (&json!("small"), &json!(500)));
    for left_out in ["temperature", "stream", "reasoning_effort", "tool_choice"] {
        assert_eq!(bodies[0].get(left_out), None, "few parameters are sent: {left_out}");
    }
    assert_eq!(
        bodies[1]["messages"].as_array().expect("messages")[1..],
        [
            json!({"role": "user", "content": "When do you open?"}),
            json!({"role": "assistant", "content": "We open at nine."}),
            json!({"role": "user", "content": "And on Sundays?"}),
        ]
    );
    assert_eq!(bodies[1]["messages"][0]["content"], system, "the start of a request stays the same");
    let requests = model.server.received_requests().await.expect("recorded");
    assert_eq!(requests[0].headers.get("authorization").expect("a key"), &format!("Bearer {KEY}"));
    assert_eq!(
        app.count(
            "select count(*) from model_request where finish = 'done' and prompt_tokens = 90 and cached_tokens = 64"
        )
        .await,
        2
    );
}

#[tokio::test]
async fn what_fails_for_the_moment_is_asked_again_within_the_turn() {
    for failure in [
        fails(429, json!({"code": "rate_limit_exceeded"})),
        fails(503, json!({})),
        ResponseTemplate::new(200).insert_header("retry-after-ms", "1").set_body_json(json!({"choices": []})),
    ] {
        let model = Model::with(vec![failure, says("Hi.")]).await;
        let app = app_with(&model, json!({}), json!({})).await;
        assert_eq!(app.answers(ADA, "hi").await, ["Hi."]);
        assert_eq!(app.count("select count(*) from turn where failures > 0").await, 0);
        assert_eq!(app.count("select count(*) from model_request where finish = 'failed'").await, 1);
    }
}

#[tokio::test]
async fn a_parameter_that_the_server_refuses_is_left_out_from_then_on() {
    let refused = |name: &str| fails(400, json!({"param": name, "code": "unsupported_parameter"}));
    let model = Model::with(vec![refused("temperature"), refused("max_tokens"), says("Hi."), says("Hello.")]).await;
    let app = app_with(&model, json!({"temperature": 0.2}), json!({})).await;
    assert_eq!(app.answers(ADA, "hi").await, ["Hi."]);
    app.answers(BEN, "hi").await;
    let bodies = model.requests().await;
    assert_eq!(bodies.len(), 4, "it is refused once");
    assert_eq!((&bodies[0]["temperature"], &bodies[0]["max_tokens"]), (&json!(0.2), &json!(500)));
    for body in &bodies[2..] {
        assert_eq!((body.get("temperature"), body.get("max_tokens")), (None, None));
        assert_eq!(body["max_completion_tokens"], 500, "reasoning models know the limit by this name");
    }
}

#[tokio::test]
async fn what_only_the_operator_can_repair_is_told_at_once() {
    for (failure, told) in [
        (fails(401, json!({"message": format!("Incorrect API key provided: {KEY}")})), "refused the API key"),
        (fails(429, json!({"code": "insufficient_quota"})), "no money left"),
        (fails(404, json!({"code": "model_not_found"})), "does not know the address or the model"),
    ] {
        let model = Model::with(vec![failure]).await;
        let app = app_with(&model, json!({}), json!({"error_message": "Please call us."})).await;
        assert_eq!(app.answers(ADA, "hi").await, ["Please call us."], "{told}");
        assert_eq!(model.requests().await.len(), 1, "it is not asked again");
        let agents = app.ok(Method::GET, "/v1/agents", None).await;
        let error = agents["items"][0]["last_error"].clone();
        assert!(error["message"].as_str().is_some_and(|message| message.contains(told)), "{error}");
        assert!(!error.to_string().contains(KEY), "{error}");
    }
}

#[tokio::test]
async fn each_kind_of_answer_has_its_outcome() {
    let said = |content: &str, finish: &str| answers(json!({"content": content}), finish);
    for (script, requests, sent) in [
        (vec![said("<think>Greet them.</think>Hi.", "stop")], 1, "Hi."),
        (vec![said("We open at 9. On Sun", "length")], 1, "We open at 9."),
        (vec![said("", "length"), says("Hi.")], 2, "Hi."),
        (vec![answers(json!({"content": null, "refusal": "I can't."}), "stop")], 1, "Ask our staff."),
        (vec![said("Something bad", "content_filter")], 1, "Ask our staff."),
        (vec![fails(400, json!({"code": "context_length_exceeded"})), says("Hi.")], 2, "Hi."),
    ] {
        let model = Model::with(script).await;
        let app = app_with(&model, json!({"refusal_message": "Ask our staff."}), json!({})).await;
        assert_eq!(app.answers(ADA, "hi").await, [sent]);
        let bodies = model.requests().await;
        assert_eq!(bodies.len(), requests, "{sent}");
        if requests == 2 && bodies[0]["max_tokens"] != bodies[1]["max_tokens"] {
            assert_eq!(bodies[1]["max_tokens"], 1000, "thoughts used up the tokens");
        }
    }
}

#[tokio::test]
async fn a_model_that_says_nothing_fails_and_is_asked_again_later() {
    let model = Model::with(vec![says(""), says("Hi.")]).await;
    let app = app_with(&model, json!({}), json!({})).await;
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), Vec::<String>::new());
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Hi."]);
}

#[tokio::test]
async fn the_model_can_end_the_conversation() {
    let model = Model::with(vec![calls(&[("end_conversation", json!({"farewell": "Goodbye, Ada!"}))])]).await;
    let app = app_with(&model, json!({}), json!({})).await;
    assert_eq!(app.answers(ADA, "bye").await, ["Goodbye, Ada!"]);
    let session = &app.sessions().await[0];
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("agent_ended")));
}

#[tokio::test]
async fn a_model_that_goes_round_in_circles_is_stopped() {
    let unknown = || calls(&[("look_up", json!({"order": 7}))]);
    let model = Model::with(vec![unknown(), unknown(), unknown(), unknown()]).await;
    let app = app_with(&model, json!({}), json!({"error_message": "Please call us."})).await;
    assert_eq!(app.answers(ADA, "where is my order?").await, ["Please call us."]);
    let bodies = model.requests().await;
    assert_eq!(bodies.len(), 3, "the third equal call is not run");
    let told = bodies[1]["messages"].as_array().expect("messages").last().expect("a result").clone();
    assert_eq!((&told["role"], &told["tool_call_id"]), (&json!("tool"), &json!("c0")));
    assert!(told["content"].as_str().is_some_and(|error| error.contains("there is no tool look_up")), "{told}");
}

#[tokio::test]
async fn what_can_t_work_is_refused_when_it_is_saved() {
    let model = Model::with(Vec::new()).await;
    let app = TestApp::new().await;
    for (llm, code, what) in [
        (json!({"base_url": "http://10.0.0.1/v1"}), "llm_refused", "llm.base_url"),
        (json!({"base_url": "ftp://models.example.com"}), "llm_refused", "its scheme is ftp"),
        (json!({"base_url": "models.example.com/v1"}), "llm_refused", "llm.base_url"),
        (json!({"prompt": "Hi {{ conv.nme }}"}), "llm_refused", "conv has no nme"),
        (json!({"prompt": "{% if %}"}), "llm_refused", "line 1"),
        (json!({"tools": ["book"]}), "llm_refused", "no source"),
        (json!({"temperature": 3.0}), "llm_refused", "0 to 2"),
        (json!({"model": " "}), "llm_refused", "llm.model"),
        (json!({"max_rounds": 0}), "request_invalid", "max_rounds"),
        (json!({"modell": "x"}), "request_invalid", "modell"),
    ] {
        let body = agent(&model, llm.clone(), json!({}));
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/agents", Some(body)).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert_eq!((status.as_u16() / 100, &answer["code"]), (4, &json!(code)), "{llm}: {answer}");
        assert!(detail.contains(what), "{llm}: {answer}");
    }
    let mismatched = json!({"name": "m", "kind": "llm", "url": "https://a.example.com"});
    assert_eq!(app.refused(Method::POST, "/v1/agents", Some(mismatched)).await.1, "agent_kind_mismatch");
}

#[tokio::test]
async fn the_key_is_never_told_and_a_new_one_needs_no_new_prompt() {
    let model = Model::with(vec![says("Hi."), says("Hello.")]).await;
    let app = app_with(&model, json!({}), json!({})).await;
    app.answers(ADA, "hi").await;
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    let id = agents["items"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/agents/{id}");
    for read in
        [agents, app.ok(Method::GET, &path, None).await, app.ok(Method::GET, &format!("{path}/versions"), None).await]
    {
        assert!(!read.to_string().contains(KEY) && !read.to_string().contains("api_key"), "{read}");
    }
    assert_eq!(app.count("select count(*) from model_key where position('sk-test'::bytea in encrypted) > 0").await, 0);

    let mut version = agent(&model, json!({"api_key": "sk-new"}), json!({}));
    version.as_object_mut().expect("an object").remove("name");
    app.ok(Method::POST, &format!("{path}/versions"), Some(version.clone())).await;
    version["llm"].as_object_mut().expect("an object").remove("api_key");
    app.ok(Method::POST, &format!("{path}/versions"), Some(version)).await;
    app.answers(BEN, "hi").await;
    let requests = model.server.received_requests().await.expect("recorded");
    let keys: Vec<&str> =
        requests.iter().filter_map(|request| request.headers.get("authorization")?.to_str().ok()).collect();
    assert_eq!(keys, [format!("Bearer {KEY}"), "Bearer sk-new".to_owned()], "a version without a key keeps it");
}

/// A script whose functions a model calls.
const CLINIC: &str = "
FREE = {\"monday\": [\"9:00\", \"14:30\"]}

def start(conv):
    conv.state.booked = []

def free_slots(conv, day: str):
    \"\"\"Tells which appointments are free.

    Args:
        day: the day of the week, in lower case
    \"\"\"
    if day not in FREE:
        fail(\"closed on \" + day)
    return FREE[day]

def book(conv, day: str, time: str):
    \"Books an appointment and confirms it to the person.\"
    conv.state.booked = conv.state.booked + [day + \" \" + time]
    conv.send_sms(\"+14155550102\", None, \"Booked: \" + day + \" \" + time)
    return {\"utterance\": \"You are booked for \" + day + \" at \" + time + \".\"}
";

fn with_tools() -> Value {
    json!({"source": CLINIC})
}

#[tokio::test]
async fn functions_of_the_script_are_tools_and_a_failing_one_is_told_to_the_model() {
    let model = Model::with(vec![
        calls(&[("free_slots", json!({"day": "sunday"})), ("free_slots", json!({"day": "monday"}))]),
        calls(&[("book", json!({"day": "monday", "time": "9:00"}))]),
    ])
    .await;
    let app = app_with(&model, json!({"tools": ["free_slots", "book"]}), with_tools()).await;
    assert_eq!(app.answers(ADA, "monday please").await, ["You are booked for monday at 9:00."]);
    let sessions = app.sessions().await;
    let session = sessions.iter().find(|session| session["contact"] == ADA).expect("the session of who texted");
    assert_eq!(app.state(session).await["booked"], json!(["monday 9:00"]));
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["Booked: monday 9:00"]);

    let bodies = model.requests().await;
    let names: Vec<&str> = bodies[0]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .collect();
    assert_eq!(names, ["book", "end_conversation", "free_slots"]);
    let schema = &bodies[0]["tools"][2]["function"];
    assert_eq!((&schema["strict"], &schema["parameters"]["required"]), (&json!(true), &json!(["day"])));
    let messages = bodies[1]["messages"].as_array().expect("messages");
    let results: Vec<&str> =
        messages.iter().filter(|one| one["role"] == "tool").filter_map(|one| one["content"].as_str()).collect();
    assert_eq!(results.len(), 2);
    assert!(results[0].contains("closed on sunday"), "{results:?}");
    assert_eq!(results[1], "[\"9:00\",\"14:30\"]");
}

#[tokio::test]
async fn arguments_that_are_nested_too_deep_are_told_to_the_model() {
    for depth in [65, 100, 120, 127, 128, 5000] {
        let nested = format!(r#"{{"day": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let call = json!({"id": "c0", "type": "function", "function": {"name": "free_slots", "arguments": nested}});
        let deep = answers(json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls");
        let model = Model::with(vec![deep, says("Which day?")]).await;
        let app = app_with(&model, json!({"tools": ["free_slots", "book"]}), with_tools()).await;
        assert_eq!(app.answers(ADA, "monday please").await, ["Which day?"], "{depth}");
        let bodies = model.requests().await;
        let told = bodies[1]["messages"].as_array().and_then(|messages| messages.last()).expect("a result").clone();
        let error = told["content"].as_str().unwrap_or_default();
        assert!(told["role"] == "tool" && error.contains("error"), "{depth}: {told}");
        assert_eq!(app.count("select count(*) from tool_call where error is not null").await, 1);
    }
}

#[tokio::test]
async fn a_retried_turn_takes_the_calls_that_have_run_and_goes_on_behind_them() {
    let model = Model::with(vec![
        calls(&[("free_slots", json!({"day": "monday"}))]),
        fails(400, json!({"code": "odd"})),
        calls(&[("book", json!({"day": "monday", "time": "14:30"}))]),
    ])
    .await;
    let app = app_with(&model, json!({"tools": ["free_slots", "book"]}), with_tools()).await;
    app.text(ADA, "monday please").await;
    app.run_jobs().await;
    assert_eq!(app.count("select count(*) from tool_call").await, 1);
    no_waiting(&app).await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["You are booked for monday at 14:30."]);
    let bodies = model.requests().await;
    assert_eq!(bodies.len(), 3, "the first round is not asked for again");
    assert_eq!(bodies[1]["messages"], bodies[2]["messages"], "the second attempt goes on behind it");
    assert_eq!(app.count("select count(*) from model_round").await, 2);
    assert_eq!(app.count("select count(*) from tool_call").await, 2);
}

#[tokio::test]
async fn a_tool_that_can_t_be_called_is_refused_when_it_is_saved() {
    let model = Model::with(Vec::new()).await;
    let app = TestApp::new().await;
    for (source, what) in [
        (CLINIC.replace("def book(conv, day: str, time: str)", "def book(conv, day, time: str)"), "day"),
        (CLINIC.replace("    \"Books an appointment and confirms it to the person.\"\n", ""), "docstring"),
        (CLINIC.replace("def book(", "def cancel("), "book"),
    ] {
        let body = agent(&model, json!({"tools": ["free_slots", "book"]}), json!({"source": source}));
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/agents", Some(body)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("script_has_faults")), "{answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(what)), "{answer}");
    }
}
