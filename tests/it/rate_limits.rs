//! Tests the rate limits on inbound messages, which consent keywords always pass.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADA, ECHO, NUMBER, TestApp};
use crate::metrics::value;

async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

impl TestApp {
    async fn held(&self) -> Vec<String> {
        let mut held = Vec::new();
        for session in self.sessions().await.into_iter().rev() {
            let messages = self.messages(&session).await;
            let held_ones = messages.iter().filter(|message| message["status"] == "held");
            held.extend(held_ones.map(|message| message["reason"].as_str().unwrap_or_default().to_owned()));
        }
        held
    }

    /// The session of the contact, as the API tells it.
    async fn only_session(&self) -> Value {
        let id = self.sessions().await.remove(0)["id"].clone();
        self.ok(Method::GET, &format!("/v1/sessions/{}", id.as_str().expect("an id")), None).await
    }

    async fn guard(&self, guards: Value) {
        self.ok(Method::PATCH, "/v1/project", Some(json!({"guards": guards}))).await;
    }
}

#[tokio::test]
async fn over_ten_texts_a_minute_are_stored_and_held_and_the_agent_does_not_run() {
    let app = app().await;
    for n in 1..=13 {
        app.text(ADA, &format!("text {n}")).await;
        app.run_jobs().await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 10);
    assert_eq!(app.held().await, ["contact_too_fast"; 3]);
    assert_eq!(app.answers("+14155550102", "me too").await, ["1: me too"], "nobody else is held");
    app.sql("update message set created_at = created_at - interval '61 seconds'").await;
    assert_eq!(app.answers(ADA, "later").await.pop().as_deref(), Some("11: later"), "it passes by itself");
}

/// The guard must not forget what passed when so much is held that it lies far back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_gets_ten_texts_through_and_no_more() {
    let app = app().await;
    let texts = (0..500).map(|n| {
        let simulator = app.simulator.clone();
        async move { simulator.say(ADA, NUMBER, &format!("flood {n}")).await.webhook_status }
    });
    let answered = futures::stream::StreamExt::buffer_unordered(futures::stream::iter(texts), 32);
    let statuses: Vec<_> = futures::StreamExt::collect(answered).await;
    assert_eq!(statuses, [Some(200); 500]);
    assert_eq!(app.count("select count(*) from message where skip_reason is null").await, 10);
}

#[tokio::test]
async fn pictures_without_words_are_no_repetition() {
    let app = app().await;
    for n in 0..6 {
        let picture = format!("https://pictures.example/{n}.jpg");
        let text = json!({"from": ADA, "to": NUMBER, "body": "", "media_urls": [picture]});
        app.simulator.text(serde_json::from_value(text).expect("a text")).await;
    }
    app.run_jobs().await;
    assert_eq!(app.held().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_agent_sees_later_what_was_held() {
    let agent = "def reply(conv, text): return str([line.text for line in conv.history if line.role == \"user\"])";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    app.guard(json!({"texts_per_contact_per_minute": 1})).await;
    app.answers(ADA, "one").await;
    app.answers(ADA, "two").await;
    app.guard(json!({"texts_per_contact_per_minute": 0})).await;
    assert_eq!(app.answers(ADA, "three").await.pop().as_deref(), Some("[\"one\", \"two\"]"));
}

/// An agent that never understands.
const SORRY: &str = "def reply(conv, text): return \"Sorry, I did not understand.\"";

#[tokio::test]
async fn the_same_text_five_times_with_the_same_answers_pauses_the_contact_for_ten_minutes() {
    let app = TestApp::with_agent(SORRY, json!({"first_message": "process"})).await;
    for _ in 0..5 {
        app.answers(ADA, "buy now").await;
    }
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 4);
    app.answers(ADA, "something else").await;
    assert_eq!(app.held().await, ["repeats", "paused"]);
    let session = app.only_session().await;
    assert_eq!(session["pause_reason"], "repeats");
    assert!(session["paused_until"].is_string(), "{session}");
    let listed = app.ok(Method::GET, "/v1/sessions", None).await;
    assert_eq!(listed["items"][0]["paused_until"], session["paused_until"]);

    app.sql("update session set paused_until = paused_until - interval '10 minutes'").await;
    app.sql("update message set created_at = created_at - interval '10 minutes'").await;
    assert_eq!(app.answers(ADA, "buy now").await.len(), 5, "it lifts by itself");
    let session = app.only_session().await;
    assert_eq!((session.get("paused_until"), session.get("pause_reason")), (None, None));
}

#[tokio::test]
async fn who_answers_yes_to_each_question_of_a_survey_is_no_machine() {
    let survey = r#"
def reply(conv, text):
    conv.state.n = conv.state.get("n", 0) + 1
    return "Question " + str(conv.state.n) + ": do you agree?"
"#;
    let app = TestApp::with_agent(survey, json!({"first_message": "process"})).await;
    for n in 1..=8 {
        assert_eq!(app.answers(ADA, "yes").await.len(), n);
    }
    assert_eq!(app.held().await, Vec::<String>::new());
}

/// A part that is the same each time makes no repetition of an answer that differs in another part.
#[tokio::test]
async fn a_question_that_differs_counts_though_its_frame_is_the_same() {
    let survey = r#"
def reply(conv, text):
    conv.state.n = conv.state.get("n", 0) + 1
    conv.say("Thank you!")
    conv.say("Is " + str(conv.state.n) + " right?")
    return "Reply YES or NO."
"#;
    let app = TestApp::with_agent(survey, json!({"first_message": "process"})).await;
    for n in 1..=6 {
        assert_eq!(app.answers(ADA, "yes").await.len(), 3 * n);
    }
    assert_eq!(app.held().await, Vec::<String>::new());
}

#[tokio::test]
async fn texts_that_are_answered_together_are_no_loop() {
    let app = TestApp::with_agent(SORRY, json!({"first_message": "process"})).await;
    for _ in 0..7 {
        app.simulator.say(ADA, NUMBER, "hi").await;
    }
    app.run_jobs().await;
    assert_eq!(app.answers(ADA, "hi").await.len(), 2);
    assert_eq!(app.held().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_answers_that_take_turns_are_a_loop() {
    let agent = r#"
def reply(conv, text):
    conv.state.n = conv.state.get("n", 0) + 1
    return ["Hello?", "Are you there?"][conv.state.n % 2]
"#;
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    for _ in 0..6 {
        app.answers(ADA, "I am away.").await;
    }
    assert_eq!(app.held().await, ["repeats", "paused"]);
}

#[tokio::test]
async fn three_in_rotation_are_a_loop_on_either_side() {
    let rotating = r#"
def reply(conv, text):
    conv.state.n = conv.state.get("n", 0) + 1
    return ["Hello?", "Are you there?", "Please answer."][conv.state.n % 3]
"#;
    let app = TestApp::with_agent(rotating, json!({"first_message": "process"})).await;
    for _ in 0..8 {
        app.answers(ADA, "I am away.").await;
    }
    assert!(app.held().await.iter().any(|reason| reason == "repeats"), "{:?}", app.held().await);
    let app = TestApp::with_agent(SORRY, json!({"first_message": "process"})).await;
    for _ in 0..5 {
        for text in ["I am away.", "I am back on Monday.", "Please call."] {
            app.answers(ADA, text).await;
        }
    }
    assert!(app.held().await.iter().any(|reason| reason == "repeats"), "{:?}", app.held().await);
}

/// Two robots answer each other, and ours hangs up each time: without a memory beyond the session
/// that goes on for ever.
#[tokio::test]
async fn a_loop_between_two_robots_ends_though_each_turn_ends_the_session() {
    let agent = "def reply(conv, text): return {\"utterance\": \"I am out of office.\", \"hangup\": True}";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    let mut answers = 0;
    for _ in 0..20 {
        let received = app.answers(ADA, "I am away until Monday.").await.len();
        if received == answers {
            break;
        }
        answers = received;
    }
    assert_eq!(answers, 4);
    assert!(app.answers(ADA, "I am away until Tuesday.").await.len() == 4, "the pause outlives the session");
    assert_eq!(app.held().await, ["repeats", "paused"]);
}

#[tokio::test]
async fn stop_start_and_help_always_pass() {
    let app = app().await;
    app.guard(json!({"texts_per_contact_per_minute": 1, "repeats_in_five_minutes": 3})).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"help_message": "Acme."}))).await;
    for text in ["a", "a", "HELP", "HELP", "HELP", "STOP", "STOP", "START"] {
        app.answers(ADA, text).await;
    }
    let consents = app.ok(Method::GET, "/v1/consents", None).await;
    let kinds: Vec<&str> =
        consents["items"].as_array().expect("items").iter().filter_map(|item| item["kind"].as_str()).collect();
    assert_eq!(kinds, ["opted_in", "opted_out", "opted_out"]);
    let explained = |shown: Vec<String>| shown.iter().filter(|text| *text == "Acme.").count();
    assert_eq!(
        explained(app.simulator.received(ADA, NUMBER)),
        1,
        "HELP is answered once a minute, however often it comes"
    );
    assert_eq!(app.count("select count(*) from message where kind = 'keyword' and skip_reason = 'keyword'").await, 6);
}

/// A new minute of the clock begins a new count.
async fn not_across_the_end_of_a_minute(app: &TestApp) {
    app.sql(
        "select pg_sleep(case when extract(second from now()) > 50 then 61 - extract(second from now()) else 0 end)",
    )
    .await;
}

#[tokio::test]
async fn a_message_that_no_turn_answers_uses_nothing_of_its_projects_limit() {
    let app = app().await;
    app.guard(json!({"texts_per_project_per_minute": 2})).await;
    not_across_the_end_of_a_minute(&app).await;
    for text in ["STOP", "hello", "hello?", "is anybody there"] {
        app.simulator.say(ADA, NUMBER, text).await;
    }
    for contact in ["+14155550551", "+14155550552", "+14155550553"] {
        app.simulator.say(contact, NUMBER, "hi").await;
    }
    app.run_jobs().await;
    let held = app.count("select count(*) from message where skip_reason = 'project_too_fast'").await;
    let answered = app.count("select count(*) from delivery").await;
    assert_eq!((answered, held), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_projects_limit_holds_what_is_over_it_in_a_minute_of_the_clock() {
    let app = app().await;
    app.guard(json!({"texts_per_project_per_minute": 20})).await;
    // An ordinary yes is a text like any other.
    let says = |n: usize| if n.is_multiple_of(2) { "yes" } else { "hi" };
    not_across_the_end_of_a_minute(&app).await;
    let texts = (0..50).map(|n| {
        let simulator = app.simulator.clone();
        async move { simulator.say(&format!("+141555505{n:02}"), NUMBER, says(n)).await }
    });
    for texted in futures::future::join_all(texts).await {
        assert_eq!(texted.webhook_status, Some(200), "each is acknowledged");
    }
    app.run_jobs().await;
    let answered = app.count("select count(*) from delivery").await;
    let held = app.count("select count(*) from message where skip_reason = 'project_too_fast'").await;
    assert_eq!((answered, held), (20, 30));
}

const REPEATS: &str = "textback_messages_skipped_total{reason=\"repeats\"}";

#[tokio::test]
async fn held_messages_are_counted_and_rate_limits_can_be_changed() {
    let agent = "def reply(conv, text): return \"You said \" + text";
    let app = TestApp::with_agent(agent, json!({"first_message": "process"})).await;
    let before = value(REPEATS);
    let project = app.ok(Method::GET, "/v1/project", None).await;
    let defaults =
        json!({"texts_per_contact_per_minute": 10, "repeats_in_five_minutes": 5, "texts_per_project_per_minute": 0});
    assert_eq!(project["guards"], defaults);
    app.guard(json!({"repeats_in_five_minutes": 3})).await;
    for _ in 0..3 {
        app.answers(ADA, "a").await;
    }
    assert_eq!(app.held().await, ["repeats"]);
    assert!(value(REPEATS) > before);
    app.guard(json!({"repeats_in_five_minutes": 0})).await;
    assert_eq!(app.answers(ADA, "a").await.pop().as_deref(), Some("You said a"));
    assert_eq!(app.simulator.received(ADA, NUMBER).len(), 3);
    for wrong in [json!({"repeats_in_five_minutes": 2}), json!({"texts_per_contact_per_minute": -1}), json!({"x": 1})] {
        app.refused(Method::PATCH, "/v1/project", Some(json!({"guards": wrong}))).await;
    }
}
