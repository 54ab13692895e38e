//! Tests batches of settled turns and deliveries: each becomes what it would become alone.

use serde_json::json;
use textback::domain::delivery::DeliveryErrorClass;
use textback::domain::delivery_settlement::{Outcome, Refusal};
use textback::domain::message::{MessageKind, SkipReason};
use textback::domain::session::CloseReason;
use textback::storage::claim_limits::ClaimLimits;
use textback::storage::delivery;
use textback::storage::turn::{self, PlannedSend};
use uuid::Uuid;

use crate::harness::{NUMBER, TEXTS, TestApp};

const CONTACTS: [&str; 5] = ["+14155550131", "+14155550132", "+14155550133", "+14155550134", "+14155550135"];
const ELSEWHERE: &str = "+14155550136";

async fn app() -> TestApp {
    TestApp::with_agent("def reply(conv, text): return text", json!({"first_message": "process"})).await
}

#[tokio::test]
async fn turns_of_one_batch_become_what_they_would_become_alone() {
    let app = app().await;
    let [ada, bob, cid, dan, eve] = CONTACTS;
    for contact in CONTACTS {
        app.text(contact, "hi").await;
    }
    let claims = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    let claim = |contact: &str| claims.iter().find(|claim| claim.contact == contact).expect("a claim");
    for contact in [bob, eve] {
        app.text(contact, "more").await;
    }
    let says = |contact: &str, body: &str| {
        turn::Settlement::of(claim(contact), TEXTS).say(MessageKind::Reply, TEXTS.outbound(body.to_owned(), false))
    };
    let lost = turn::Claim { token: Uuid::now_v7(), ..claim(ada).clone() };
    let send = PlannedSend {
        pool_id: None,
        message_id: Uuid::now_v7(),
        number: None,
        contact: ELSEWHERE.to_owned(),
        countries: vec!["US".to_owned()],
        body: "elsewhere".to_owned(),
        refused: None,
    };
    let settlements = [
        turn::Settlement::of(&lost, TEXTS).say(MessageKind::Reply, TEXTS.outbound("not mine", false)),
        says(ada, "one").say(MessageKind::Reply, TEXTS.outbound("two", false)),
        says(bob, "bye").close(CloseReason::AgentEnded),
        turn::Settlement::of(claim(cid), TEXTS).skip(SkipReason::AgentFailed),
        says(dan, "to you").send(send),
        says(eve, "first"),
        says(ada, "once more"),
    ];
    let settling = settlements.into_iter().map(|settlement| turn::settle(&app.storage, settlement));
    let settled = futures::future::join_all(settling).await;
    let settled: Vec<turn::Settled> = settled.into_iter().map(|settled| settled.expect("settled")).collect();
    let written = |planned, more_work| turn::Settled::Written { planned, more_work, first_delivery: None };
    assert_eq!(
        settled,
        [
            turn::Settled::Stale,
            written(2, false),
            written(1, true),
            written(0, false),
            written(1, false),
            written(1, true),
            turn::Settled::Stale,
        ]
    );
    assert_eq!(app.count("select count(*) from message where skip_reason = 'agent_failed'").await, 1);
    assert_eq!(app.count("select count(*) from session where close_reason = 'agent_ended'").await, 1);

    app.run_jobs().await;
    let received = |contact: &str| app.simulator.received(contact, NUMBER);
    assert_eq!(received(ada), ["one", "two"]);
    assert_eq!(received(bob), ["bye", "more"], "the second one in the next session");
    assert!(received(cid).is_empty());
    assert_eq!(received(dan), ["to you"]);
    assert_eq!(received(eve), ["first", "more"]);
    assert_eq!(received(ELSEWHERE), ["elsewhere"]);
    assert_eq!(app.count("select count(*) from session").await, 7);
}

/// The messages of a turn that do not all fit are counted one by one, beside turns of projects and
/// contacts that do fit.
#[tokio::test]
async fn a_limit_stops_the_messages_of_one_turn_of_a_batch() {
    let app = app().await;
    app.ok(reqwest::Method::PATCH, "/v1/project", Some(json!({"outbound_per_contact_per_hour": 2}))).await;
    let [ada, bob, ..] = CONTACTS;
    for contact in [ada, bob] {
        app.text(contact, "hi").await;
    }
    let claims = turn::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    let settling = claims.iter().map(|claim| {
        let most = if claim.contact == ada { 3 } else { 2 };
        let says = |settlement: turn::Settlement, n| {
            settlement.say(MessageKind::Reply, TEXTS.outbound(format!("part {n}"), false))
        };
        let mut settlement = (0..most).fold(turn::Settlement::of(claim, TEXTS), says);
        settlement.claim_first_delivery(claim, 30);
        turn::settle(&app.storage, settlement)
    });
    for (settled, claim) in futures::future::join_all(settling).await.into_iter().zip(&claims) {
        let turn::Settled::Written { planned, first_delivery, .. } = settled.expect("settled") else { panic!("stale") };
        assert_eq!(planned, if claim.contact == ada { 3 } else { 2 });
        assert!(first_delivery.is_some(), "the first message fits");
    }
    let statuses = "select array_agg(status::text order by contact, seq) from delivery";
    let statuses: Vec<String> = sqlx::query_scalar(statuses).fetch_one(app.storage.pool()).await.expect("statuses");
    assert_eq!(statuses, ["sending", "planned", "suppressed", "sending", "planned"]);
}

#[tokio::test]
async fn deliveries_of_one_batch_become_what_they_would_become_alone() {
    let app = app().await;
    let [ada, bob, cid, dan, eve] = CONTACTS;
    for contact in CONTACTS {
        app.text(contact, "hi").await;
    }
    while app.workers.turns.step().await.expect("turns") > 0 {}
    let claims = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    let refusal = |class| Refusal { code: Some(7), class, detail: "no".to_owned(), by: None };
    let settle = |contact: &str, outcome: Outcome| {
        let claim = claims.iter().find(|claim| claim.to == contact).expect("a claim");
        delivery::settle(&app.storage, delivery::Settlement { id: claim.id, token: claim.token, outcome })
    };
    let settled = futures::future::join_all([
        settle(ada, Outcome::Accepted { carrier_id: "SM1".to_owned() }),
        settle(bob, Outcome::Failed(refusal(DeliveryErrorClass::OptedOut))),
        settle(cid, Outcome::PutOff { seconds: 60.0, refusal: refusal(DeliveryErrorClass::Throttled) }),
        settle(dan, Outcome::Unknown(refusal(DeliveryErrorClass::Ambiguous))),
        settle(eve, Outcome::Failed(refusal(DeliveryErrorClass::Content))),
        settle(ada, Outcome::Failed(refusal(DeliveryErrorClass::Content))),
    ])
    .await;
    let settled: Vec<delivery::Settled> = settled.into_iter().map(|settled| settled.expect("settled")).collect();
    let written = |may_have_work| delivery::Settled::Written { may_have_work };
    assert_eq!(
        settled,
        [written(false), written(true), written(true), written(true), written(true), delivery::Settled::Stale]
    );
    let read = "select contact, status::text, error_class, due_at > now() + interval '50 seconds', carrier_id, history -> -1 ->> 'status'
                  from delivery order by contact";
    type Row = (String, String, Option<String>, Option<bool>, Option<String>, String);
    let rows: Vec<Row> = sqlx::query_as(read).fetch_all(app.storage.pool()).await.expect("deliveries");
    let row = |contact: &str, status: &str, class: Option<&str>, is_late, sid: Option<&str>| {
        (
            contact.to_owned(),
            status.to_owned(),
            class.map(str::to_owned),
            is_late,
            sid.map(str::to_owned),
            status.to_owned(),
        )
    };
    assert_eq!(
        rows,
        [
            row(ada, "accepted", None, None, Some("SM1")),
            row(bob, "failed", Some("opted_out"), None, None),
            row(cid, "planned", Some("throttled"), Some(true), None),
            row(dan, "unknown", Some("ambiguous"), Some(false), None),
            row(eve, "failed", Some("content"), None, None),
        ]
    );
    assert_eq!(app.count("select count(*) from consent where kind = 'opted_out' and source = 'carrier'").await, 1);
    assert_eq!(app.count("select count(*) from session where close_reason = 'opted_out'").await, 1);
}

/// Two batches block the same two numbers, in opposite orders. Each waits for the other unless both
/// lock the numbers in one order.
#[tokio::test(flavor = "multi_thread")]
async fn two_batches_that_block_the_same_numbers_do_not_wait_for_each_other() {
    let app = app().await;
    let agent: Uuid = sqlx::query_scalar("select id from agent").fetch_one(app.storage.pool()).await.expect("an agent");
    let other = "+14155550198";
    app.simulator.add_number(crate::harness::ACCOUNT_SID, other);
    let attached = json!({"number": other, "agent_id": agent});
    app.ok(reqwest::Method::POST, "/v1/numbers", Some(attached)).await;
    let [ada, bob, cid, dan, _] = CONTACTS;
    for (contact, number) in [(ada, NUMBER), (bob, other), (cid, other), (dan, NUMBER)] {
        assert_eq!(app.simulator.say(contact, number, "hi").await.error, None);
    }
    while app.workers.turns.step().await.expect("turns") > 0 {}
    let claims = delivery::claim(&app.storage, ClaimLimits::of(10), 30).await.expect("claims");
    let settle = |contact: &str| {
        let claim = claims.iter().find(|claim| claim.to == contact).expect("a claim");
        let class = DeliveryErrorClass::Unregistered;
        let outcome = Outcome::Failed(Refusal { code: Some(30034), class, detail: "no".to_owned(), by: None });
        delivery::settle(&app.storage, delivery::Settlement { id: claim.id, token: claim.token, outcome })
    };
    let waiting = || async {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        app.count(waiting).await
    };

    // While somebody holds the number that both lock first, the two batches queue for it.
    let mut holder = app.storage.pool().begin().await.expect("begun");
    sqlx::query("select from number where id = (select min(id::text)::uuid from number) for update")
        .execute(&mut *holder)
        .await
        .expect("held");
    let first = futures::future::join(settle(ada), settle(bob));
    let second = async {
        while waiting().await < 1 {}
        futures::future::join(settle(cid), settle(dan)).await
    };
    let release = async {
        while waiting().await < 2 {}
        holder.rollback().await.expect("released");
        std::time::Instant::now()
    };
    let (first, second, released) = tokio::join!(first, second, release);
    let settled_after = released.elapsed();
    for settled in [first.0, first.1, second.0, second.1] {
        assert_eq!(settled.expect("settled"), delivery::Settled::Written { may_have_work: true });
    }
    assert!(settled_after < std::time::Duration::from_millis(900), "one waited for the other: {settled_after:?}");
    assert_eq!(app.count("select count(*) from number where registration = 'unregistered'").await, 2);
    assert_eq!(app.count("select count(*) from delivery where status = 'failed'").await, 4);
}
