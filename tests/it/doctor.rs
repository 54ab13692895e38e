//! Tests `textback doctor`: every problem is found and printed with its repair.

use std::process::Output;

use serde_json::json;

use crate::harness::{ADA, ECHO, TestApp};
use crate::process_harness::ProcessHarness;

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_wrong_and_says_how_to_repair_it() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process"})).await;
    let doctor = |public: &str| {
        let mut command = app.command("doctor", &app.secret_key);
        command.env("TEXTBACK_PUBLIC_URL", public);
        async move { tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs") }
    };
    let well = format!("http://{}", app.api);
    let output = doctor(&well).await;
    assert!(output.status.success() && printed(&output).contains("all is well"), "{}", printed(&output));

    let output = doctor("http://127.0.0.1:9").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed(&output).contains("can't be reached") && printed(&output).contains("attach it again"),
        "{}",
        printed(&output)
    );

    let lost = "insert into agent_error (agent_id, project_id, at, code, message, session_id, version, workers_lost, worker_lost_at)
                select id, project_id, now(), 'worker_lost', 'gone', id, 1, 3, now() - interval '8 days' from agent";
    app.sql(lost).await;
    assert!(!printed(&doctor(&well).await).contains("lost workers"), "that is long ago");
    app.sql("update agent_error set worker_lost_at = now() - interval '60 seconds'").await;
    let lost = printed(&doctor(&well).await);
    let words = "3 turns of the agent \"agent\" of the project \"tests\" were given up (worker_lost), the last ";
    // Doctor counts until it reads the row, which may take a while on a busy machine.
    let seconds = lost.split_once(words).and_then(|(_, rest)| rest.split_once(" s ago")?.0.parse().ok());
    assert!(seconds.is_some_and(|seconds: u64| (60..600).contains(&seconds)), "{lost}");
    app.sql("delete from agent_error").await;

    app.text(ADA, "hi").await;
    app.sql("update turn set created_at = now() - interval '10 minutes', last_error = 'reply: line 2, column 5: fail: Jane'").await;
    let stuck = printed(&doctor(&well).await);
    assert!(
        stuck.contains("a turn for …0101 is 600 s old; its last error: reply: line 2, column 5: fail: …"),
        "{stuck}"
    );
    assert!(stuck.contains("is textback work running") && !stuck.contains(ADA), "{stuck}");
    app.sql("update turn set created_at = now()").await;
    app.simulator.plan_faults([twilio_simulator::Fault::Fail500]);
    app.text("+14155550102", "hi").await;
    app.workers.turns.step().await.expect("turns");
    app.workers.deliveries.step().await.expect("deliveries");
    app.sql("update delivery set created_at = now() - interval '10 minutes' where status = 'unknown'").await;
    let unsure = printed(&doctor(&well).await);
    assert!(unsure.contains("a delivery for") && unsure.contains("unknown: "), "{unsure}");

    app.text("+14155550103", "hi").await;
    app.sql("delete from turn").await;
    assert!(printed(&doctor(&well).await).contains("invariant_03_no_message_forgotten has 1 rows"));
    // Somebody changed the token at the carrier.
    app.simulator.add_account(twilio_simulator::Account::new(crate::harness::ACCOUNT_SID, "another token"));
    let wrong = printed(&doctor(&well).await);
    assert!(wrong.contains("messages can't be listed") && wrong.contains("check the credentials"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_table_is_locked_doctor_checks_everything_else_and_says_how_to_end_the_holder() {
    // Only the look at limits reads the first table. Every text needs the second one.
    for (table, unseen, readable) in [
        (
            "outbound_rate_window",
            &["limits"][..],
            &["schema", "invariants", "turns", "set aside", "carrier", "number"][..],
        ),
        ("turn", &["invariants", "due", "unclaimed", "stuck"], &["limits", "set aside", "carrier", "number"]),
        ("number", &["number"], &["limits", "turns", "set aside", "carrier"]),
    ] {
        let app = TestApp::with_agent(ECHO, json!({})).await;
        let holder = app.lock_table(table).await;
        let mut doctor = app.command("doctor", &app.secret_key);
        let output = tokio::task::spawn_blocking(move || doctor.output()).await.expect("it runs").expect("it runs");
        let told = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for what in unseen {
            let line = format!("BAD   {what:<12} could not be checked: another session holds a lock on a table");
            assert!(told.contains(&line), "{table}, {what}: {told}");
        }
        for what in readable {
            assert!(told.contains(&format!("ok    {what:<12} ")), "{table}, {what}: {told}");
        }
        let is_needed = table != "outbound_rate_window";
        assert_eq!(told.contains("BAD   tables       somebody holds a table"), is_needed, "{table}: {told}");
        assert!(told.contains("from pg_locks") && told.contains("pg_terminate_backend"), "{told}");
        assert!(!told.contains("textback migrate") && !told.contains("lock timeout"), "{told}");
        assert!(told.contains("things are wrong") || told.contains("1 thing is wrong"), "{told}");

        // The statement that it names finds the holder.
        let (_, query) = told.split_once("find the holder: ").expect("a statement");
        let query = query.split_once("; end it").expect("its end").0;
        let held: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select held.relation::text from ({query}) held")))
                .fetch_all(app.storage.pool())
                .await
                .unwrap_or_default();
        assert!(held.contains(&table.to_owned()), "{held:?}");
        holder.rollback().await.expect("let go");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_notices_a_pooler_a_wrong_address_and_a_database_that_only_reads() {
    let mut harness = ProcessHarness::start("doctor").await;
    harness.open(1, ProcessHarness::echo()).await;
    let well = harness.doctor();
    assert!(well.contains("all is well") && well.contains("signed webhooks for harness are accepted"), "{well}");
    assert!(well.contains("reach another connection"), "{well}");

    // The carrier signs over another address than serve believes to have: as by a proxy that is not
    // told of.
    let other = harness.to_api().await;
    let wrong = harness.doctor_with(&[("TEXTBACK_PUBLIC_URL", &format!("http://{other}"))]);
    assert!(wrong.contains("for harness are answered with 403") && wrong.contains("TEXTBACK_SECRET_KEY"), "{wrong}");

    harness.to_database.drop_notifications();
    let filtered = harness.doctor();
    assert!(filtered.contains("there is a pooler in transaction mode in between"), "{filtered}");
    // Its texts are answered all the same, by polling.
    assert_eq!(harness.simulator.say(ADA, crate::harness::NUMBER, "hi").await.webhook_status, Some(200));
    assert_eq!(harness.simulator.until_received(ADA, crate::harness::NUMBER, 1).await, ["hi"]);

    harness.sql("alter role current_user set default_transaction_read_only = on").await;
    let reads = harness.doctor();
    assert!(
        reads.contains("the database only reads") && reads.contains("reset default_transaction_read_only"),
        "{reads}"
    );
}
