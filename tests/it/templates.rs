//! Tests the limits on hostile templates, which run in script runners.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{ADA, ECHO, NUMBER, TestApp};

const BEN: &str = "+14155550102";
/// The bound of a template, with what starting a runner takes in a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// Templates of which one step costs any amount of time or memory.
fn costly() -> Vec<(&'static str, String)> {
    vec![
        ("a list of lists, repeated", "{{ [[1] * 10000000] * 100000 }}".to_owned()),
        ("a list repeated", "{{ [name] * 40000000 }}".to_owned()),
        ("a text repeated", "{{ name * 4000000000 }}".to_owned()),
        ("a list as a text", "{{ ([name] * 100000000) ~ 'x' }}".to_owned()),
        ("a dict of lists", "{{ {'a': [[1] * 10000000] * 1000} }}".to_owned()),
        ("a text that doubles", format!("{{% set a = name %}}{}{{{{ a }}}}", "{%set a=a~a%}".repeat(35))),
        (
            "a block that doubles",
            format!("{{% set a = name %}}{}{{{{ a }}}}", "{%set a%}{{a}}{{a}}{%endset%}".repeat(14)),
        ),
        ("a power", "{{ 99 ** 99 ** 99 ** 99 }}".to_owned()),
        (
            "a comparison of large lists",
            "{% if [[1] * 9000000] * 9000 == [[1] * 9000000] * 9000 %}x{% endif %}".to_owned(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_costly_template_is_refused_and_others_are_served_meanwhile() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    for (what, body) in costly() {
        let began = Instant::now();
        let (written, answer) =
            app.call(&app.key, Method::PUT, "/v1/templates/costly", Some(json!({"body": body}))).await;
        if written != 200 {
            assert_eq!((written.as_u16(), &answer["code"]), (422, &json!("template_has_faults")), "{what}: {answer}");
            continue;
        }
        let send = json!({"to": BEN, "from": NUMBER, "template": "costly", "variables": {"name": "Ada, the first"}});
        let sending = app.refused(Method::POST, "/v1/messages", Some(send));
        let beside = async {
            let began = Instant::now();
            app.ok(Method::GET, "/v1/project", None).await;
            assert!(began.elapsed() < Duration::from_secs(5), "{what}: another request took {:?}", began.elapsed());
        };
        let (refused, ()) = tokio::join!(sending, beside);
        assert_eq!(refused, (422, "template_not_filled".to_owned()), "{what}");
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
    }
    // The runners that are left fill in others.
    app.ok(Method::PUT, "/v1/templates/greeting", Some(json!({"body": "Hi {{ name }}"}))).await;
    let send = json!({"to": BEN, "from": NUMBER, "template": "greeting", "variables": {"name": "Ben"}});
    app.ok(Method::POST, "/v1/messages", Some(send)).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(BEN, NUMBER), ["Hi Ben"]);
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    app.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_whose_template_costs_too_much_is_final_and_the_person_is_told() {
    let sends = "def reply(conv, text):\n    conv.send_sms_template(\"+14155550102\", \"costly\", {\"name\": \"x\", \"n\": 10000000})";
    let app = TestApp::with_agent(sends, json!({"first_message": "process", "error_message": "Sorry."})).await;
    app.ok(Method::PUT, "/v1/templates/costly", Some(json!({"body": "{{ name }}{{ [[1] * n] * n }}"}))).await;
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry."], "after one attempt");
    assert_eq!(app.count("select count(*) from turn").await, 0);
    app.end().await;
}

#[tokio::test]
async fn a_variable_that_is_missing_or_has_no_place_is_named_and_nothing_is_sent() {
    let app = TestApp::with_agent(ECHO, json!({})).await;
    let template = json!({"body": "Hi {{ name }}, your order {{ order.id }} is ready."});
    app.ok(Method::PUT, "/v1/templates/ready", Some(template)).await;
    for (variables, told) in [
        (json!({"name": "Ada"}), "the variable order is missing"),
        (json!({"name": null, "order": {"id": 7}}), "the variable name is null"),
        (json!({"name": "Ada", "order": {}}), "`order.id` is undefined"),
        (json!({"name": "Ada", "order": {"id": 7}, "oder": 7}), "no place for the variable oder; did you mean order?"),
        (json!({"nmae": "Ada", "order": {"id": 7}}), "no place for the variable nmae; did you mean name?"),
    ] {
        let send = json!({"to": ADA, "template": "ready", "variables": variables});
        let (status, answer) = app.call(&app.key, Method::POST, "/v1/messages", Some(send)).await;
        assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("template_not_filled")), "{answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{told}: {answer}");
    }
    assert_eq!(app.count("select count(*) from message").await, 0, "nothing was sent");
    // Other fields of an object are no variables.
    let send = json!({"to": ADA, "template": "ready", "variables": {"name": "Ada", "order": {"id": 7, "total": 9}}});
    app.ok(Method::POST, "/v1/messages", Some(send)).await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Hi Ada, your order 7 is ready."]);
    app.end().await;
}

#[tokio::test]
async fn a_variable_that_a_script_gives_in_vain_is_its_fault_and_named() {
    for (variables, told) in
        [("{}", "the variable name is missing"), ("{\"name\": 1, \"nane\": 2}", "no place for the variable nane")]
    {
        let agent =
            format!("def reply(conv, text):\n    conv.send_sms_template(\"{BEN}\", \"greeting\", {variables})\n");
        let app = TestApp::with_agent(&agent, json!({"first_message": "process"})).await;
        app.ok(Method::PUT, "/v1/templates/greeting", Some(json!({"body": "Hi {{ name }}"}))).await;
        app.text(ADA, "hi").await;
        app.workers.turns.step().await.expect("turns");
        let error: String =
            sqlx::query_scalar("select last_error from turn").fetch_one(app.storage.pool()).await.expect(told);
        assert!(error.contains(told), "{variables}: {error}");
        assert_eq!(app.count("select count(*) from scheduled_message").await, 0, "nothing is sent");
        app.end().await;
    }
}
