//! Tests keywords as people type them, the keywords of a project, and who answers HELP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ACCOUNT_SID, ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

fn kinds(consents: &[(String, String)]) -> Vec<&str> {
    consents.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[tokio::test]
async fn stop_is_obeyed_however_it_is_typed() {
    let app = app().await;
    for (n, stop) in [
        "STOP\u{200b}",
        "\u{feff}STOP",
        "ＳＴＯＰ",
        "“STOP”",
        "(STOP)",
        "STOP!!",
        "STOP…",
        "*STOP*",
        "STOP 🛑",
        "opt out",
        "Stop all.",
        "„(stop)“",
    ]
    .into_iter()
    .enumerate()
    {
        let phone = format!("+1415777{n:04}");
        assert_eq!(app.answers(&phone, "hi").await, ["1: hi"]);
        assert_eq!(app.answers(&phone, stop).await, ["1: hi"], "no agent answers {stop:?}");
        assert_eq!(app.answers(&phone, "still there?").await, ["1: hi"], "{stop:?} opts out");
        let path = format!("/v1/consents?contact=%2B{}", &phone[1..]);
        let listed = app.ok(Method::GET, &path, None).await;
        assert_eq!(listed["items"][0]["kind"], "opted_out", "{stop:?}");
    }
    for (n, text) in ["S T O P", "please stop", "#stop", "stopp"].into_iter().enumerate() {
        let answer = format!("1: {text}");
        assert_eq!(app.answers(&format!("+1415888{n:04}"), text).await, [answer], "a text for the agent");
    }
}

#[tokio::test]
async fn a_project_has_words_of_its_own_which_count_from_the_next_text_on() {
    let app = app().await;
    assert_eq!(app.answers(ADA, "ARRET").await, ["1: ARRET"]);
    let words = json!({"keywords": {"opt_out": ["ARRET", "Arrêt", "no más"], "opt_in": ["REPRENDRE"], "help": ["AIDE"]},
                       "help_message": "Acme: +33 1 23 45 67 89"});
    let project = app.ok(Method::PATCH, "/v1/project", Some(words)).await;
    let kept = json!({"opt_out": ["arret", "arrêt", "no más"], "opt_in": ["reprendre"], "help": ["aide"]});
    assert_eq!(project["keywords"], kept, "as they are compared");
    assert_eq!(app.ok(Method::GET, "/v1/project", None).await["keywords"], kept);

    assert_eq!(app.answers(ADA, "Aide ?").await, ["1: ARRET", "Acme: +33 1 23 45 67 89"]);
    assert_eq!(app.answers(ADA, "« ARRÊT »").await.len(), 2, "no agent answers it");
    assert_eq!(app.answers(ADA, "allo ?").await.len(), 2);
    app.answers(ADA, "reprendre!").await;
    assert_eq!(app.answers(ADA, "me revoilà").await.len(), 3);
    app.answers(ADA, "NO MAS").await;
    assert_eq!(kinds(&app.consents().await), ["opted_out", "opted_in", "opted_out"]);
    assert_eq!(app.answers("+14155550102", "arrêt du bus").await, ["1: arrêt du bus"], "a sentence");
    assert_eq!(app.answers("+14155550102", "STOP").await.len(), 1, "carriers' words count as before");
}

#[tokio::test]
async fn words_are_checked_when_they_are_saved_and_lists_change_one_by_one() {
    let app = app().await;
    let change = |keywords: Value| json!({"keywords": keywords});
    app.ok(Method::PATCH, "/v1/project", Some(change(json!({"opt_out": ["baja"], "help": ["ayuda"]})))).await;
    for keywords in [
        json!({"opt_in": ["BAJA"]}),
        json!({"opt_in": ["“ayuda”"]}),
        json!({"opt_in": ["start"]}),
        json!({"opt_out": ["help"]}),
        json!({"help": [" "]}),
        json!({"help": ["\u{200b}"]}),
        json!({"help": ["!!"]}),
        json!({"help": ["x".repeat(33)]}),
        json!({"opt_out": ["a", "A"]}),
    ] {
        let refused = app.refused(Method::PATCH, "/v1/project", Some(change(keywords.clone()))).await;
        assert_eq!(refused, (422, "keywords_invalid".to_owned()), "{keywords}");
    }
    let many: Vec<String> = (0..21).map(|n| format!("word{n}")).collect();
    app.refused(Method::PATCH, "/v1/project", Some(change(json!({"help": many})))).await;
    app.refused(Method::PATCH, "/v1/project", Some(change(json!({"stop": ["x"]})))).await;
    let kept = app.ok(Method::PATCH, "/v1/project", Some(json!({"name": "Acme"}))).await;
    assert_eq!(kept["keywords"], json!({"opt_out": ["baja"], "opt_in": [], "help": ["ayuda"]}));
    let kept = app.ok(Method::PATCH, "/v1/project", Some(change(json!({"help": null, "opt_in": ["alta"]})))).await;
    assert_eq!(kept["keywords"], json!({"opt_out": ["baja"], "opt_in": ["alta"], "help": []}));
    let kept = app.ok(Method::PATCH, "/v1/project", Some(change(Value::Null))).await;
    assert_eq!(kept["keywords"], json!({"opt_out": [], "opt_in": [], "help": []}));
}

#[tokio::test]
async fn help_is_answered_by_one() {
    let app = app().await;
    assert!(app.answers(ADA, "HELP").await.is_empty(), "the carrier answers its own word");
    assert_eq!(app.answers(ADA, "help!!").await, ["1: help!!"], "nobody else would answer this one");
    app.ok(Method::PATCH, "/v1/project", Some(json!({"help_message": "Acme."}))).await;
    assert_eq!(app.answers(ADA, "“Help”").await, ["1: help!!", "Acme."]);
    assert_eq!(app.answers(ADA, "help!!").await.len(), 2, "it was answered in this minute, and the agent is not asked");

    let reported = format!(
        "AccountSid={ACCOUNT_SID}&MessageSid=SM9&From=%2B14155550102&To=%2B14155550199&Body=HELP&OptOutType=HELP"
    );
    app.post("messages", &reported, AUTH_TOKEN).await;
    app.run_jobs().await;
    assert!(app.simulator.received("+14155550102", NUMBER).is_empty(), "the carrier says that it has answered");
    let session = app.sessions().await.remove(0);
    let message = app.messages(&session).await.remove(0);
    assert_eq!((&message["kind"], &message["reason"]), (&json!("keyword"), &json!("keyword")));
}
