//! The log: the ids of a message on each line of its flow, no whole number of a contact, request
//! ids, and the names of fields.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use twilio_simulator::Fault;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::commands::{Running, textback};
use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp, id};
use crate::source::{self, Kind};
use crate::tidy::files;

/// Processes of their own over the database and the carrier of a test.
pub struct Processes {
    pub address: SocketAddr,
    variables: Vec<(String, String)>,
}

impl Processes {
    pub fn of(app: &TestApp, more: &[(&str, &str)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = port.local_addr().expect("an address");
        let carrier = format!("http://{}", app.simulator_address);
        let own = [
            ("DATABASE_URL", app.database_url.clone()),
            ("TEXTBACK_SECRET_KEY", app.secret_key.clone()),
            ("TEXTBACK_TWILIO_API_URL", carrier.clone()),
            ("TEXTBACK_TWILIO_MESSAGING_URL", carrier),
            ("TEXTBACK_PUBLIC_URL", format!("http://{address}")),
            ("TEXTBACK_LISTEN", address.to_string()),
            ("TEXTBACK_METRICS_LISTEN", "off".to_owned()),
        ];
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { address, variables: own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(more).collect() }
    }

    /// Sets a variable of processes that are started later.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Starts a command and waits until it is ready.
    pub fn start(&self, command: &str, ready: &str) -> Running {
        let mut process: Command = textback();
        process.arg(command).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut running = Running::start(&mut process, false);
        running.until(ready);
        running
    }

    /// Calls the API of `serve`.
    pub async fn call(&self, app: &TestApp, method: Method, path: &str, body: Value) -> Value {
        let request = app.http.request(method, format!("http://{}{path}", self.address)).bearer_auth(&app.key);
        let answer = request.header("X-Request-Id", "of-the-test").json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        assert_eq!(answer.headers()["x-request-id"], "of-the-test");
        answer.json().await.expect("JSON")
    }

    /// Creates a script agent and attaches our number to it.
    pub async fn attach(&self, app: &TestApp, agent: Value) {
        let agent = self.call(app, Method::POST, "/v1/agents", agent).await;
        let number = json!({"number": NUMBER, "agent_id": id(&agent["id"])});
        self.call(app, Method::POST, "/v1/numbers", number).await;
    }
}

fn read(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
}

const AGENT: &str = "
def reply(conv, text):
    conv.log.info(\"texted by \" + conv.caller_number, number = conv.caller_number)
    return \"1: \" + text
";

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_message_has_its_ids_and_no_whole_number() {
    let app = TestApp::new().await;
    let processes = Processes::of(&app, &[("TEXTBACK_LOG", "json"), ("RUST_LOG", "debug,sqlx=warn")]);
    let mut serve = processes.start("serve", "server started");
    let mut work = processes.start("work", "workers started");
    let agent = json!({"name": "echo", "kind": "script", "source": AGENT, "first_message": "process"});
    processes.attach(&app, agent).await;
    app.text(ADA, "hello").await;
    app.simulator.until_received(ADA, NUMBER, 1).await;
    let mut served = serve.all_until("\"delivery_status\":\"delivered\"");
    let mut worked = work.all_until("the carrier accepted a text");
    for (process, lines) in [(serve, &mut served), (work, &mut worked)] {
        process.tell(Signal::SIGTERM);
        lines.extend(process.rest());
    }

    let lines = read(&[served, worked].concat());
    let digits = ADA.trim_start_matches('+');
    for line in &lines {
        assert!(!line.to_string().contains(digits), "a whole number: {line}");
        assert!(!line.to_string().contains(&app.webhook_key), "the key of the webhooks: {line}");
    }
    let set = lines.iter().find(|line| line["step"] == "webhook set").expect("the webhook was set");
    assert!(set["detail"].as_str().is_some_and(|detail| detail.ends_with("/{key}/messages")), "{set}");
    let has_message =
        |text: &'static str| move |line: &&Value| line["message"].as_str().is_some_and(|m| m.contains(text));
    let stored = lines.iter().find(has_message("a message was stored")).expect("the message was stored");
    let (session_id, message_id) = (&stored["session_id"], &stored["message_id"]);
    assert_eq!(stored["turn_id"], *message_id, "a turn has the id of its first message");
    let flow: Vec<&Value> = lines.iter().filter(|line| line["session_id"] == *session_id).collect();
    for text in
        ["a message was stored", "the turn was settled", "the carrier accepted", "the status of a delivery changed"]
    {
        assert!(flow.iter().any(has_message(text)), "no line of the flow says {text}: {flow:?}");
    }
    let logged = flow.iter().find(|line| has_message("the agent logged a line")(line)).expect("a line of the agent");
    assert_eq!(logged["text"], "texted by …0101", "{logged}");
    for line in &flow {
        assert_eq!(line["turn_id"], *message_id, "one id runs through all: {line}");
        assert!(line["message_id"].is_string() && line["project_id"].is_string(), "{line}");
        let is_ours = line["target"].as_str().is_some_and(|target| target.starts_with("textback"));
        let knows_no_carrier_id = line["span"] == "turn.take" || !is_ours;
        assert!(knows_no_carrier_id || line["carrier_id"].is_string(), "{line}");
    }
    let sent = lines.iter().find(has_message("the carrier accepted")).expect("it was sent");
    let of_reply: Vec<&&Value> = flow.iter().filter(|line| line["carrier_id"] == sent["carrier_id"]).collect();
    assert!(
        of_reply.len() >= 2 && of_reply.iter().all(|line| line["message_id"] == sent["message_id"]),
        "{of_reply:?}"
    );
    // Every line with an id of this contact's flow is one of those above.
    let others: Vec<&Value> =
        lines.iter().filter(|line| line["carrier_id"].is_string() && line["session_id"] != *session_id).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// A service that fails once, and then answers.
async fn service_that_fails_once() -> MockServer {
    let service = MockServer::start().await;
    let fails = Mock::given(method("POST")).respond_with(ResponseTemplate::new(500)).up_to_n_times(1);
    fails.mount(&service).await;
    let answers = ResponseTemplate::new(200).set_body_json(json!({"utterance": "1: hello"}));
    Mock::given(method("POST")).respond_with(answers).mount(&service).await;
    service
}

/// What is logged of a flow that fails: the line, its level, and the ids that it has.
const FAILURES: [(&str, &str, &[&str]); 9] = [
    ("the turn failed and was put off", "WARN", &["session_id", "turn_id", "message_id", "error", "seconds"]),
    (
        "the carrier did not take a text; it will be sent again",
        "WARN",
        &["session_id", "turn_id", "message_id", "class", "seconds", "detail"],
    ),
    ("the carrier accepted a text", "INFO", &["session_id", "turn_id", "message_id", "carrier_id"]),
    // The contact's own wish, and no fault of anybody: no alert on errors may see it.
    (
        "the carrier refused a text because its contact opted out",
        "INFO",
        &["session_id", "turn_id", "message_id", "code", "detail"],
    ),
    (
        "a message was stored that no agent answers",
        "INFO",
        &["session_id", "message_id", "carrier_id", "reason", "from", "to"],
    ),
    ("a message was stored before", "INFO", &["session_id", "message_id", "carrier_id", "from", "to"]),
    ("a message that fits no session was put into quarantine", "WARN", &["reason", "carrier_id", "from", "to"]),
    ("a status report that fits no delivery was put into quarantine", "WARN", &["carrier_id", "delivery_status"]),
    (
        "a status report was older than the status of its delivery",
        "DEBUG",
        &["session_id", "turn_id", "message_id", "carrier_id", "delivery_status"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_flow_that_fails_has_its_level_its_ids_and_no_whole_number() {
    const BOB: &str = "+14155550102";
    let (app, service) = (TestApp::new().await, service_that_fails_once().await);
    let variables =
        [("TEXTBACK_LOG", "json"), ("RUST_LOG", "debug,sqlx=warn"), ("TEXTBACK_ALLOW_HOSTS", "127.0.0.1/32")];
    let processes = Processes::of(&app, &variables);
    let (mut serve, mut work) =
        (processes.start("serve", "server started"), processes.start("work", "workers started"));
    let agent = json!({"name": "service", "kind": "http", "url": service.uri(), "first_message": "process"});
    processes.attach(&app, agent).await;
    app.simulator.plan_faults([Fault::TooManyRequests]);
    let texted = app.text(ADA, "hello").await;
    let mut worked = work.all_until("the carrier accepted a text");
    let mut served = serve.all_until("\"delivery_status\":\"delivered\"");

    app.simulator.opt_out(BOB, NUMBER);
    app.text(BOB, "hi").await;
    worked.extend(work.all_until("its contact opted out"));
    app.text(ADA, "STOP").await;
    let form = |to: &str, sid: &str| {
        format!("MessageSid={sid}&AccountSid={ACCOUNT_SID}&From=%2B14155550101&To=%2B{to}&Body=hello")
    };
    let reply = app.simulator.screen(ADA).into_iter().find(|text| !text.mine).expect("a reply").sid;
    for (hook, form) in [
        ("messages", form("14155550199", &texted.sid)),
        ("messages", form("14155550198", "SM00000000000000000000000000000001")),
        ("status", "MessageSid=SM00000000000000000000000000000002&MessageStatus=sent".to_owned()),
        ("status", format!("MessageSid={reply}&MessageStatus=sent")),
    ] {
        let form = if hook == "status" { format!("{form}&AccountSid={ACCOUNT_SID}") } else { form };
        let answer = app.post_to(processes.address, hook, &form, AUTH_TOKEN).await;
        assert!(answer.status().is_success(), "{form}: {}", answer.status());
    }
    served.extend(serve.all_until("a status report was older than the status of its delivery"));
    for (process, lines) in [(serve, &mut served), (work, &mut worked)] {
        process.tell(Signal::SIGTERM);
        lines.extend(process.rest());
    }

    let lines = read(&[served, worked].concat());
    for contact in [ADA, BOB].map(|contact| contact.trim_start_matches('+')) {
        assert!(lines.iter().all(|line| !line.to_string().contains(contact)), "a whole number of {contact}");
    }
    for (text, level, fields) in FAILURES {
        let line = lines.iter().find(|line| line["message"] == text).unwrap_or_else(|| panic!("no line says {text}"));
        assert_eq!(line["level"], level, "{line}");
        for field in fields.iter().chain(&["project_id"]) {
            assert!(!line[*field].is_null(), "{text:?} has no {field}: {line}");
        }
        // Lines of a request have its id, and those of jobs the attempt.
        let of_request = line["target"].as_str().is_some_and(|target| target.starts_with("textback::http"));
        assert_eq!((line["request_id"].is_string(), line["attempt"].is_number()), (of_request, !of_request), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_the_api_are_logged_with_their_ids() {
    let app = TestApp::new().await;
    let processes = Processes::of(&app, &[("TEXTBACK_LOG", "json"), ("RUST_LOG", "debug,sqlx=warn")]);
    let mut serve = processes.start("serve", "server started");
    processes.call(&app, Method::GET, "/v1/project", Value::Null).await;
    let line: Value = serde_json::from_str(&serve.until("a request was answered")).expect("JSON");
    assert_eq!(line["level"], "INFO");
    for (field, expected) in [
        ("method", json!("GET")),
        ("path", json!("/v1/project")),
        ("operation", json!("get_project")),
        ("status", json!(200)),
        ("request_id", json!("of-the-test")),
    ] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert!(line["project_id"].is_string() && line["duration_seconds"].is_number(), "{line}");

    let url = format!("http://{}/v1/messages/1?token=secret-of-a-query", processes.address);
    app.http.get(url).bearer_auth(&app.key).send().await.expect("an answer");
    let text = serve.until("a request was answered");
    let line: Value = serde_json::from_str(&text).expect("JSON");
    assert!(line["status"] == 400 && line["request_id"].as_str().is_some_and(|id| id.len() == 36), "{line}");
    assert!(!text.contains("secret-of-a-query"), "{text}");

    let url = format!("http://{}/webhooks/twilio/{}/messages", processes.address, app.webhook_key);
    app.http.post(url).body("From=x").send().await.expect("an answer");
    let lines = serve.all_until("a request was answered");
    assert!(lines.iter().all(|line| !line.contains(&app.webhook_key)), "{lines:?}");
    let refused = read(&lines);
    assert!(refused.iter().any(|line| line["path"] == "/webhooks/twilio/{key}/messages" && line["level"] == "DEBUG"));
    assert!(refused.iter().all(|line| line["request_id"] == refused[0]["request_id"]), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_carries_a_request_id() {
    let app = TestApp::new().await;
    app.attach(ECHO, json!({})).await;
    let refuses =
        "create function refuse_template() returns trigger language plpgsql as $$ begin raise 'by an operator'; end $$";
    app.sql(refuses).await;
    app.sql("create trigger refuse before insert on template for each row execute function refuse_template()").await;
    let webhook = format!("/webhooks/twilio/{}/messages", app.webhook_key);
    let get = |path: &str| app.http.get(format!("http://{}{path}", app.api));
    let with_key = |path: &str| get(path).bearer_auth(&app.key);
    for (status, request) in [
        (200, get("/livez")),
        (200, with_key("/v1/project")),
        (401, get("/v1/project")),
        (404, with_key("/v1/nothing")),
        (404, get("/nothing")),
        (404, get(&format!("/{}", "x".repeat(2000)))),
        (405, with_key("/v1/scheduled-messages").method(Method::PUT)),
        (405, get(&webhook)),
        (403, get(&webhook).method(Method::POST)),
        (413, with_key("/v1/messages").method(Method::POST).body("x".repeat(200 << 10))),
        (415, with_key("/v1/templates/a").method(Method::PUT).body("{}")),
        (422, with_key("/v1/messages").method(Method::POST).json(&json!({"to": NUMBER, "body": "to ourselves"}))),
        (500, with_key("/v1/templates/a").method(Method::PUT).json(&json!({"body": "x"}))),
        (400, get("/v1/project").header("Authorization", "Bearer a").header("Authorization", "Bearer b")),
    ] {
        let request = request.build().expect("a request");
        let answer = app.http.execute(request.try_clone().expect("no stream")).await.expect("an answer");
        assert_eq!(answer.status(), status, "{}", request.url());
        let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
        assert!(id.len() == 36 && id.chars().nth(14) == Some('7'), "{id} is no UUIDv7: {}", request.url());
        for (given, is_kept) in [("of-a-proxy/7", true), ("with a blank", false)] {
            let mut again = request.try_clone().expect("no stream");
            again.headers_mut().insert("x-request-id", given.parse().expect("a value"));
            let answer = app.http.execute(again).await.expect("an answer");
            assert_eq!(answer.headers()["x-request-id"] == given, is_kept, "{given}: {}", request.url());
        }
    }
    // A webhook that is accepted has one too.
    let form = format!("MessageSid=SM{:032}&AccountSid={ACCOUNT_SID}&From=%2B14155550101&To=%2B14155550199&Body=hi", 1);
    let answer = app.post("messages", &form, AUTH_TOKEN).await;
    assert!(answer.status() == 200 && answer.headers().contains_key("x-request-id"), "{answer:?}");
    for _ in 0..40 {
        let answer = get("/v1/project").bearer_auth("tb_wrong").send().await.expect("an answer");
        assert!(answer.headers().contains_key("x-request-id"), "{}", answer.status());
        if answer.status() == 429 {
            return;
        }
    }
    panic!("no 429");
}

impl WithMethod for reqwest::RequestBuilder {
    fn method(self, method: Method) -> Self {
        let (client, request) = self.build_split();
        let mut request = request.expect("a request");
        *request.method_mut() = method;
        Self::from_parts(client, request)
    }
}

/// Changes the method of a request.
trait WithMethod {
    fn method(self, method: Method) -> Self;
}

/// The names of the fields in the calls of tracing's macros, by the file.
fn fields_of(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let tokens: Vec<Kind> = source::rust(code).into_iter().map(|token| token.kind).collect();
    let is_name =
        |at: usize, names: &[&str]| matches!(tokens.get(at), Some(Kind::Name(name)) if names.contains(&name.as_str()));
    let is_mark = |at: usize, mark: char| tokens.get(at) == Some(&Kind::Mark(mark));
    let macros = ["trace", "debug", "info", "warn", "error", "debug_span", "info_span", "error_span"];
    let mut found = BTreeSet::new();
    for at in 0..tokens.len() {
        let of_macro = is_name(at, &macros) && is_mark(at + 1, '!') && is_mark(at + 2, '(');
        let of_attribute = is_name(at, &["fields"]) && is_mark(at + 1, '(') && code.contains("tracing::instrument");
        let mut next = match (of_macro, of_attribute) {
            (true, _) => at + 3,
            (_, true) => at + 2,
            _ => continue,
        };
        let (mut depth, mut begins) = (1, true);
        while depth > 0 && next < tokens.len() {
            match &tokens[next] {
                Kind::Mark('(' | '[' | '{') => depth += 1,
                Kind::Mark(')' | ']' | '}') => depth -= 1,
                Kind::Mark(',') if depth == 1 => begins = true,
                Kind::Mark('%' | '?') if begins => {}
                Kind::Name(name) if begins && depth == 1 => {
                    begins = false;
                    let is_field = is_mark(next + 1, ',') || is_mark(next + 1, ')') || is_mark(next + 1, '=');
                    if is_field {
                        found.insert(name.clone());
                    }
                }
                _ => begins = false,
            }
            next += 1;
        }
    }
    found
}

#[test]
fn each_field_of_the_log_is_documented() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/logging.md")).expect("the page");
    let table = page.split("## Fields").nth(1).expect("a section of fields");
    let documented: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next().map(str::to_owned))
        .flat_map(|names| names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    let mut used = BTreeSet::new();
    for (path, source) in files("src", "rs") {
        for field in fields_of(&source) {
            assert!(
                documented.contains(&field),
                "{path} logs {field}, which docs/operations/logging.md does not explain"
            );
            let of_each_line = ["timestamp", "level", "message", "target", "span"];
            assert!(!of_each_line.contains(&field.as_str()), "{path}: each line has a {field} already");
            used.insert(field);
        }
    }
    let unused: Vec<&String> = documented.difference(&used).collect();
    assert!(unused.is_empty(), "no line has these fields: {unused:?}");
    assert!(used.len() > 30, "{used:?}");
}

#[test]
fn the_fields_of_a_call_are_found() {
    let source = r#"
        #[tracing::instrument(name = "a", skip_all, fields(one = %x, two = y.map(|y| f(y, 1)), three))]
        fn f() { tracing::warn!(target: "t", %four, ?five, six = a(b, c), "{seven} {}", eight.len()); }
    "#;
    let names: Vec<String> = fields_of(source).into_iter().collect();
    assert_eq!(names, ["five", "four", "one", "six", "three", "two"]);
}
