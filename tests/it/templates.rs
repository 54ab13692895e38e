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
    let sends = "def reply(conv, text):\n    conv.send_sms_template(\"+14155550102\", \"costly\", {\"name\": \"x\"})";
    let app = TestApp::with_agent(sends, json!({"first_message": "process", "error_message": "Sorry."})).await;
    app.ok(Method::PUT, "/v1/templates/costly", Some(json!({"body": "{{ name }}{{ [[1] * 10000000] * 100000 }}"})))
        .await;
    app.text(ADA, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry."], "after one attempt");
    assert_eq!(app.count("select count(*) from turn").await, 0);
    app.end().await;
}
