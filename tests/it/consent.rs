//! Tests consent: STOP and other keywords, opt-outs at the carrier and by operators, and what may
//! not be sent then.

use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use textback::domain::keyword::Keyword;

use crate::harness::{ADA, AUTH_TOKEN, ECHO, NUMBER, TestApp};

async fn app() -> TestApp {
    TestApp::with_agent(ECHO, json!({"first_message": "process"})).await
}

impl TestApp {
    /// What was said about texts, the newest first: kinds and sources.
    pub async fn consents(&self) -> Vec<(String, String)> {
        let listed = self.ok(Method::GET, "/v1/consents", None).await;
        let word = |consent: &Value, name: &str| consent[name].as_str().unwrap_or_default().to_owned();
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|consent| (word(consent, "kind"), word(consent, "source"))).collect()
    }

    /// The statuses and reasons of all messages of the newest session.
    pub async fn states(&self) -> Vec<(String, String)> {
        let session = self.sessions().await.remove(0);
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let messages = self.messages(&session).await;
        messages.iter().map(|message| (word(&message["status"]), word(&message["reason"]))).collect()
    }
}

fn pair(kind: &str, source: &str) -> (String, String) {
    (kind.to_owned(), source.to_owned())
}

#[tokio::test]
async fn stop_closes_the_session_without_a_word_and_an_ordinary_text_never_restores() {
    let app = app().await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    assert_eq!(app.answers(ADA, " Stop. ").await, ["1: hi"], "nobody answers a STOP");
    let session = app.sessions().await.remove(0);
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("opted_out")));
    assert_eq!(app.states().await.pop(), Some(pair("handled", "keyword")));
    assert_eq!(app.count("select count(*) from inactivity").await, 0, "no job is left");
    assert_eq!(app.consents().await, [pair("opted_out", "keyword")]);

    assert_eq!(app.answers(ADA, "are you there?").await, ["1: hi"]);
    assert_eq!(app.states().await, [pair("skipped", "opted_out")], "it is kept, and says why nobody answers");
    assert_eq!(app.sessions().await.remove(0)["engaged"], false);
    assert_eq!(app.consents().await.len(), 1);
}

#[tokio::test]
async fn start_restores_and_the_next_text_is_answered() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    app.answers(ADA, "STOP").await;
    assert_eq!(app.answers(ADA, "start").await, ["1: hi"], "the carrier answers a START itself");
    assert_eq!(app.consents().await, [pair("opted_in", "keyword"), pair("opted_out", "keyword")]);
    assert_eq!(app.answers(ADA, "hi again").await, ["1: hi", "1: hi again"]);
}

#[tokio::test]
async fn yes_is_an_answer_and_means_start_only_to_who_has_opted_out() {
    let app = app().await;
    assert_eq!(app.answers(ADA, "yes").await, ["1: yes"]);
    app.answers(ADA, "STOP").await;
    app.answers(ADA, "Yes!").await;
    assert_eq!(app.consents().await[0], pair("opted_in", "keyword"));
    assert_eq!(app.answers(ADA, "yes").await, ["1: yes", "1: yes"]);
}

#[tokio::test]
async fn help_answers_by_setting_and_does_not_count_as_somebodys_text() {
    let app = app().await;
    assert!(app.answers(ADA, "HELP").await.is_empty(), "without a setting the carrier's own answer is enough");
    let help = json!({"help_message": "Acme. Msg rates may apply. Text STOP to opt out."});
    app.ok(Method::PATCH, "/v1/project", Some(help)).await;
    assert_eq!(app.answers(ADA, "info?").await, ["Acme. Msg rates may apply. Text STOP to opt out."]);
    let session = app.sessions().await.remove(0);
    assert_eq!((&session["engaged"], &session["status"]), (&json!(false), &json!("open")));
    assert_eq!(app.answers(ADA, "hi").await.pop().as_deref(), Some("1: hi"), "the conversation begins here");
    assert_eq!(app.sessions().await.len(), 1);
}

#[tokio::test]
async fn what_the_carrier_says_of_a_text_counts_more_than_its_words() {
    let app = app().await;
    let form = |sid: &str, body: &str, opt_out: &str| {
        format!(
            "AccountSid={}&MessageSid={sid}&From=%2B14155550101&To=%2B14155550199&Body={body}&OptOutType={opt_out}",
            crate::harness::ACCOUNT_SID
        )
    };
    app.post("messages", &form("SM1", "adios", "STOP"), AUTH_TOKEN).await;
    app.post("messages", &form("SM2", "hola", "START"), AUTH_TOKEN).await;
    app.post("messages", &form("SM3", "ayuda", "HELP"), AUTH_TOKEN).await;
    app.run_jobs().await;
    assert_eq!(app.consents().await, [pair("opted_in", "keyword"), pair("opted_out", "keyword")]);
    assert!(app.simulator.received(ADA, NUMBER).is_empty(), "none of them is for the agent");
}

#[tokio::test]
async fn a_stop_cancels_what_is_planned_and_what_is_scheduled_with_it() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let later =
        json!({"to": ADA, "body": "your appointment", "on_active_session": "join", "send_at": "2030-01-01T10:00:00Z"});
    // A year ahead is the most; the clock of the test is the database's.
    let (status, _) = app.call(&app.key, Method::POST, "/v1/messages", Some(later)).await;
    assert_eq!(status, 422);
    let soon = (chrono::Utc::now() + chrono::Duration::days(2)).to_rfc3339();
    let later = json!({"to": ADA, "body": "your appointment", "on_active_session": "join", "send_at": soon});
    let scheduled = app.ok(Method::POST, "/v1/messages", Some(later)).await;
    app.text(ADA, "and now?").await;
    app.workers.turns.step().await.expect("turns");
    app.text(ADA, "STOP").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["1: hi"]);
    assert_eq!(app.states().await[3], pair("suppressed", "the contact has opted out"));
    let path = format!("/v1/messages/{}", scheduled["message_id"].as_str().expect("an id"));
    let (status, answer) = app.call(&app.key, Method::GET, &path, None).await;
    assert_eq!(
        (status.as_u16(), &answer["status"], &answer["reason"]),
        (200, &json!("refused"), &json!("contact_opted_out"))
    );
    let refused = app.refused(Method::POST, "/v1/messages", Some(json!({"to": ADA, "body": "hello?"}))).await;
    assert_eq!(refused, (409, "contact_opted_out".to_owned()));
}

#[tokio::test]
async fn a_stop_while_the_agent_thinks_throws_its_answer_away() {
    let app = app().await;
    app.text(ADA, "hi").await;
    let claims = textback::storage::turn::claim(&app.storage, textback::storage::claim_limits::ClaimLimits::of(1), 30)
        .await
        .expect("claims");
    app.text(ADA, "stop").await;
    let settlement = textback::storage::turn::Settlement::of(&claims[0], crate::harness::TEXTS).say(
        textback::domain::message::MessageKind::Reply,
        crate::harness::TEXTS.outbound("too late".to_owned(), false),
    );
    let settled = textback::storage::turn::settle(&app.storage, settlement).await.expect("an answer");
    assert_eq!(settled, textback::storage::turn::Settled::Stale);
    app.run_jobs().await;
    assert!(app.simulator.received(ADA, NUMBER).is_empty());
    assert_eq!(app.states().await, [pair("skipped", "opted_out"), pair("handled", "keyword")]);
}

/// A reply is planned, then claimed and stopped at the same time: either the claim was first and
/// the text left, or the STOP was first and it did not. The view of the invariant is read with
/// every settling.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_that_races_a_claimed_reply_is_before_it_or_after_it_and_never_both() {
    let app =
        TestApp::with_agent("def reply(conv, text): return \"re: \" + text", json!({"first_message": "process"})).await;
    // How far the webhook is ahead of the claim: farther after a text that left, less far after one
    // that was kept. So both happen on machines of any speed, around the moment where they meet.
    let mut head_start = 1_u32;
    let (mut left, mut kept) = (0, 0);
    for n in 0..40 {
        let phone = format!("+141555503{n:02}");
        app.text(&phone, "hi").await;
        app.workers.turns.step().await.expect("turns");
        let stop = format!(
            "AccountSid={}&MessageSid=SM90{n}&From=%2B{}&To=%2B14155550199&Body=STOP",
            crate::harness::ACCOUNT_SID,
            &phone[1..]
        );
        let (sent, stopped) = tokio::join!(
            async {
                for _ in 0..head_start {
                    tokio::task::yield_now().await;
                }
                app.workers.deliveries.step().await.expect("deliveries")
            },
            // The carrier itself does not know of it yet: so what was claimed first does leave.
            app.post("messages", &stop, AUTH_TOKEN)
        );
        assert_eq!(stopped.status(), 200);
        app.run_jobs().await;
        let received = app.simulator.received(&phone, NUMBER);
        assert_eq!(received.len(), sent, "what was claimed has left, and nothing else");
        left += received.len();
        kept += usize::from(sent == 0);
        head_start = if sent == 0 { head_start / 2 } else { (head_start * 2).clamp(1, 1 << 16) };
    }
    let suppressed = app.count("select count(*) from delivery where status = 'suppressed'").await;
    println!("40 replies that raced a STOP: {left} had left, {kept} were not claimed, {suppressed} are suppressed");
    assert_eq!((left + kept, kept), (40, usize::try_from(suppressed).expect("a count")));
    assert!(left > 0 && kept > 0, "{left} left and {kept} did not: nothing was at its moment");
    let live = "select count(*) from delivery where due_at is not null";
    assert_eq!(app.count(live).await, 0);
    let never_sent = app.count("select count(*) from delivery where status = 'suppressed' and attempts > 0").await;
    assert_eq!(never_sent, 0, "what is suppressed was never tried");
}

#[tokio::test]
async fn a_refusal_of_the_carrier_is_recorded_as_an_opt_out() {
    let app = app().await;
    app.simulator.opt_out(ADA, NUMBER);
    app.answers(ADA, "hi").await;
    assert_eq!(app.consents().await, [pair("opted_out", "carrier")]);
    let session = app.sessions().await.remove(0);
    assert_eq!(session["close_reason"], "opted_out");
    let message = app.messages(&session).await.remove(1);
    assert_eq!((&message["status"], &message["error_code"]), (&json!("failed"), &json!(21610)));
}

#[tokio::test]
async fn an_opt_out_that_the_carrier_reports_afterwards_is_recorded_too() {
    let app = app().await;
    app.simulator.report_statuses(false);
    app.answers(ADA, "hi").await;
    let session = app.sessions().await.remove(0);
    let sid = app.messages(&session).await[1]["carrier_id"].as_str().expect("a sid").to_owned();
    let report =
        format!("AccountSid={}&MessageSid={sid}&MessageStatus=failed&ErrorCode=21610", crate::harness::ACCOUNT_SID);
    for _ in 0..2 {
        assert_eq!(app.post("status", &report, AUTH_TOKEN).await.status(), 200);
    }
    assert_eq!(app.consents().await, [pair("opted_out", "carrier")]);
    assert_eq!(app.sessions().await.remove(0)["close_reason"], "opted_out");
}

#[tokio::test]
async fn a_refusal_that_is_older_than_a_start_is_not_believed() {
    let app = app().await;
    app.text(ADA, "hi").await;
    app.workers.turns.step().await.expect("turns");
    app.simulator.opt_out(ADA, NUMBER);
    let mut claims =
        textback::storage::delivery::claim(&app.storage, textback::storage::claim_limits::ClaimLimits::of(1), 30)
            .await
            .expect("claims");
    let claim = claims.remove(0);
    app.text(ADA, "START").await;
    let refusal = textback::domain::delivery_settlement::Refusal {
        code: Some(21610),
        class: textback::domain::delivery::DeliveryErrorClass::OptedOut,
        detail: "no".to_owned(),
        by: None,
    };
    let outcome = textback::domain::delivery_settlement::Outcome::Failed(refusal);
    let settlement = textback::storage::delivery::Settlement { id: claim.id, token: claim.token, outcome };
    textback::storage::delivery::settle(&app.storage, settlement).await.expect("settled");
    assert_eq!(app.consents().await, [pair("opted_in", "keyword")]);
    assert_eq!(app.answers(ADA, "and now?").await, ["2: and now?"]);
}

#[tokio::test]
async fn a_stop_that_is_backfilled_late_changes_no_later_consent() {
    let app = app().await;
    app.sql("update number set attached_at = attached_at - interval '5 seconds'").await;
    app.simulator.lose_webhooks(true);
    assert!(app.simulator.say(ADA, NUMBER, "STOP").await.error.is_some());
    app.simulator.lose_webhooks(false);
    // The carrier's clock counts whole seconds.
    app.sql("update number set backfilled_until = backfilled_until - interval '5 seconds'").await;
    app.text(ADA, "START").await;
    app.workers.backfill.step().await.expect("numbers");
    app.run_jobs().await;
    assert_eq!(app.consents().await, [pair("opted_in", "keyword")]);
    assert_eq!(app.count("select count(*) from message where kind = 'keyword'").await, 2, "both are kept");
}

#[tokio::test]
async fn an_operator_records_what_was_said_elsewhere() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let told = json!({"number": NUMBER, "contact": ADA, "kind": "opted_out", "note": "by phone"});
    let recorded = app.ok(Method::POST, "/v1/consents", Some(told)).await;
    assert_eq!((&recorded["source"], &recorded["said"]), (&json!("operator"), &json!("by phone")));
    assert_eq!(app.sessions().await.remove(0)["close_reason"], "opted_out");
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi"]);
    let told = json!({"number": NUMBER, "contact": ADA, "kind": "opted_in"});
    app.ok(Method::POST, "/v1/consents", Some(told)).await;
    assert_eq!(app.answers(ADA, "hi").await, ["1: hi", "1: hi"]);
    for (told, code) in [
        (json!({"number": "+14155559999", "contact": ADA, "kind": "opted_in"}), "number_not_ours"),
        (json!({"number": NUMBER, "contact": "ada", "kind": "opted_in"}), "contact_not_e164"),
    ] {
        assert_eq!(app.refused(Method::POST, "/v1/consents", Some(told)).await.1, code);
    }
}

#[tokio::test]
async fn consent_is_append_only_and_of_one_number() {
    let app = app().await;
    let other = "+14155550198";
    app.simulator.add_number(crate::harness::ACCOUNT_SID, other);
    // In a service of its own: the carrier stops all numbers of a service.
    app.simulator.change_service(other, |_| {});
    let agents = app.ok(Method::GET, "/v1/agents", None).await;
    let attach = json!({"number": other, "agent_id": agents["items"][0]["id"]});
    app.ok(Method::POST, "/v1/numbers", Some(attach)).await;
    app.answers(ADA, "STOP").await;
    app.simulator.say(ADA, other, "hi").await;
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, other), ["1: hi"], "the other number was not told to stop");
    for change in ["update consent set kind = 'opted_in'", "delete from consent"] {
        let error = sqlx::query(sqlx::AssertSqlSafe(change)).execute(app.storage.pool()).await.expect_err("refused");
        assert_eq!(textback::storage::refused_by(&error), Some("consent_is_append_only"));
    }
}

#[tokio::test]
async fn a_warned_contact_who_texts_stop_is_left_alone_at_once() {
    let app = app().await;
    app.answers(ADA, "hi").await;
    let project = textback::storage::project::find_by_name(&mut *crate::harness::pooled(&app.storage).await, "tests")
        .await
        .expect("an answer")
        .expect("one");
    let session = crate::harness::id(&app.sessions().await.remove(0)["id"]);
    textback::storage::session::skip(&mut *crate::harness::pooled(&app.storage).await, project.id, session, 86_400)
        .await
        .expect("an answer");
    app.run_jobs().await;
    assert_eq!(app.sessions().await.remove(0)["status"], "warned");
    let shown = app.answers(ADA, "STOP").await.len();
    let session = app.sessions().await.remove(0);
    assert_eq!((&session["status"], &session["close_reason"]), (&json!("closed"), &json!("opted_out")));
    assert_eq!(shown, 2, "an answer and a warning, and nothing after the STOP");
}

#[derive(Debug, Clone, Copy)]
enum HistoryEntry {
    Text,
    Word(&'static str),
    Operator(bool),
    Refused,
}

fn history_entry() -> impl Strategy<Value = HistoryEntry> {
    prop_oneof![
        3 => Just(HistoryEntry::Text),
        3 => prop::sample::select(vec!["STOP", "unsubscribe", "cancel!", "START", "unstop", "yes", "HELP"]).prop_map(HistoryEntry::Word),
        1 => any::<bool>().prop_map(HistoryEntry::Operator),
        1 => Just(HistoryEntry::Refused),
    ]
}

/// Whatever is said in whatever order: texts reach only those who want them, as a plain reading of
/// the rules has it.
#[test]
fn a_contact_who_opted_out_gets_nothing_and_others_are_answered() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let app = runtime.block_on(async {
        let app =
            TestApp::with_agent("def reply(conv, text): return \"re\"", json!({"first_message": "process"})).await;
        app.without_rate_limits().await;
        app
    });
    let phones = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&proptest::collection::vec(history_entry(), 1..12), |script| {
        phones.set(phones.get() + 1);
        let phone = format!("+1415666{:04}", phones.get());
        runtime.block_on(async {
            let (mut out, mut expected) = (false, 0);
            for step in script {
                match step {
                    HistoryEntry::Text => expected += usize::from(!out),
                    HistoryEntry::Word(word) => match Keyword::of(word) {
                        Some(Keyword::Stop) => out = true,
                        Some(Keyword::Start) => out = false,
                        Some(Keyword::Yes) if out => out = false,
                        Some(Keyword::Yes) => expected += 1,
                        _ => {}
                    },
                    HistoryEntry::Operator(opts_out) => out = opts_out,
                    HistoryEntry::Refused => {}
                }
                match step {
                    HistoryEntry::Text => _ = app.text(&phone, "hello").await,
                    HistoryEntry::Word(word) => _ = app.text(&phone, word).await,
                    HistoryEntry::Operator(opts_out) => {
                        let kind = if opts_out { "opted_out" } else { "opted_in" };
                        let told = json!({"number": NUMBER, "contact": phone, "kind": kind});
                        app.ok(Method::POST, "/v1/consents", Some(told)).await;
                        if !opts_out {
                            // The carrier has its own record; here it agrees.
                            app.simulator.opt_in(&phone, NUMBER);
                        }
                    }
                    HistoryEntry::Refused => {
                        // A text of somebody whom the carrier holds to have opted out, and we do
                        // not: refused, and then known.
                        app.simulator.opt_out(&phone, NUMBER);
                        app.text(&phone, "hello").await;
                        out = true;
                    }
                }
                app.run_jobs().await;
            }
            prop_assert_eq!(app.simulator.received(&phone, NUMBER).len(), expected);
            Ok(())
        })
    });
    outcome.expect("the rules hold");
}
