//! Tests that a process which dies at any failpoint under load loses nothing and doubles nothing.

use std::time::Duration;

use textback::failpoint::POINTS;
use twilio_simulator::Fault;

use crate::process_harness::{ExpectedReplies, ProcessHarness, Rng, setting};

/// Lets one process die at one point, and starts it again.
async fn die_at(harness: &mut ProcessHarness, point: &'static str, rng: &mut Rng, inside: bool) {
    // Some points are only reached when the carrier is unsure or its webhooks are lost.
    let rare = point.starts_with("reconcile.") || point.starts_with("backfill.");
    let serves = inside || point.starts_with("ingest.") || point.starts_with("status.");
    harness.simulator.report_statuses(!point.starts_with("reconcile."));
    harness.simulator.lose_webhooks(point.starts_with("backfill."));
    match point {
        "reconcile.in_commit" => harness.simulator.plan_faults([Fault::AcceptThen500; 12]),
        // Now and then the carrier has accepted, and we certainly don't know yet.
        "delivery.in_call" if rng.below(2) == 0 => harness.simulator.plan_faults([Fault::AcceptThenHang(2_000); 8]),
        _ => {}
    }
    let micros = [0, 200, 500, 900][usize::try_from(rng.below(4)).expect("small")];
    let failpoint = format!("{point}:{}:{micros}", 1 + rng.below(4));
    let armed = [("TEXTBACK_FAILPOINT", failpoint.as_str())];
    // What is rare must not all go to another worker.
    harness.work.truncate(if rare { 0 } else { 1 });
    let dying = if serves {
        harness.serve = None;
        harness.start_serve(&armed)
    } else {
        harness.start_work(&armed)
    };
    assert!(dying.aborts_within(Duration::from_secs(30)).await, "{failpoint} was not reached");
    if serves {
        harness.serve = Some(harness.start_serve(&[]));
    }
    while harness.work.len() < 2 {
        harness.work.push(harness.start_work(&[]));
    }
    harness.simulator.report_statuses(true);
    harness.simulator.lose_webhooks(false);
}

async fn run(seed: u64) {
    // Said before, so that a run that never comes to its verdict can be played again.
    println!("failpoints seed {seed} begins");
    let mut rng = Rng::of(seed);
    let mut harness = ProcessHarness::start(&format!("failpoints-{seed}")).await;
    // In every second seed `serve` runs the workers too, so it also dies at their failpoints.
    let inside = seed % 2 == 1;
    harness.variables.push(("TEXTBACK_WITH_WORKERS", inside.to_string()));
    harness.open(2, ProcessHarness::echo()).await;
    let mut told = harness.phones(10, 10_000, Duration::from_millis(100));
    let mut points = POINTS.to_vec();
    while !points.is_empty() {
        let next = rng.below(points.len() as u64);
        die_at(&mut harness, points.swap_remove(usize::try_from(next).expect("small")), &mut rng, inside).await;
    }
    told.close();
    let mut expected_replies = ExpectedReplies::default();
    while let Some(texted) = told.recv().await {
        expected_replies.note(texted);
    }
    let verdict = expected_replies.verdict(&harness).await;
    let arrangement = if inside { "workers in serve" } else { "workers apart" };
    println!("failpoints seed {seed}: {arrangement}, died at {} points; {verdict}", POINTS.len());
    verdict.must_be_clean(&format!("seed {seed}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_step_loses_and_doubles_nothing() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    for seed in first..first + setting("TEXTBACK_FAILPOINT_SEEDS", 2) {
        run(seed).await;
    }
}
