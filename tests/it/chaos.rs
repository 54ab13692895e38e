//! Kills workers, the API, the database and connections at random under load. Each acknowledged
//! message must be answered exactly once and in order, and every invariant must hold.
//!
//! `make test` runs three seeds, with and without callbacks, with and without workers in `serve`.
//! `make chaos` runs more (TEXTBACK_CHAOS_SEEDS, TEXTBACK_CHAOS_TEXTS, TEXTBACK_CHAOS_FIRST_SEED).

use std::time::Duration;

use twilio_simulator::Fault;

use crate::process_harness::{ExpectedReplies, ProcessHarness, Rng, setting};
use crate::proxy::Cut;

const PHONES: u64 = 24;

/// Something dies.
async fn befall(harness: &mut ProcessHarness, rng: &mut Rng) -> &'static str {
    match rng.below(7) {
        0 => {
            let one = usize::try_from(rng.below(2)).expect("small");
            drop(harness.work.remove(one));
            harness.work.push(harness.start_work(&[]));
            "kill -9 work"
        }
        1 => {
            harness.serve = None;
            harness.serve = Some(harness.start_serve(&[]));
            "kill -9 serve"
        }
        2 => {
            harness.crash_database().await;
            "database crash"
        }
        3 => {
            harness.cut_connections().await;
            "all connections cut"
        }
        4 => {
            let cut = [Cut::Before, Cut::During, Cut::After][usize::try_from(rng.below(3)).expect("small")];
            // What every statement of ours brings along in the proxy's protocol.
            harness.to_database.cut("sqlx_s_", cut);
            "a database connection cut"
        }
        5 => {
            harness.to_carrier.cut("POST /2010-04-01", Cut::After);
            "accept, then reset"
        }
        _ => {
            harness.simulator.plan_faults([
                Fault::AcceptThen500,
                Fault::TooManyRequests,
                Fault::Fail500,
                Fault::AcceptThenGarbage,
                Fault::AcceptThenHang(5_000),
            ]);
            "unsure carrier"
        }
    }
}

async fn run(seed: u64, texts: u64) {
    // Said before, so that a run that never comes to its verdict can be played again.
    println!("chaos seed {seed} begins");
    let mut rng = Rng::of(seed);
    let mut harness = ProcessHarness::start(&format!("chaos-{seed}")).await;
    // In every other pair of seeds `serve` has workers too, and most turns begin and end there.
    let inside = seed / 2 % 2 == 1;
    harness.variables.push(("TEXTBACK_WITH_WORKERS", inside.to_string()));
    harness.open(2, ProcessHarness::echo()).await;
    // Callbacks are best effort. In every other test none comes, and only the carrier's list tells;
    // in the others they come as they like: before the answer, in the wrong order, twice.
    let silent = seed % 2 == 1;
    harness.simulator.report_statuses(!silent);
    harness.simulator.shuffle_statuses(!silent);
    let mut events = vec![
        if inside { "workers in serve" } else { "workers apart" },
        if silent { "no callbacks" } else { "unruly callbacks" },
    ];
    let mut told = harness.phones(PHONES, texts / PHONES, Duration::ZERO);
    let (mut expected_replies, mut count) = (ExpectedReplies::default(), 0);
    while let Some(texted) = told.recv().await {
        expected_replies.note(texted);
        count += 1;
        if count % (texts / 8).max(1) == 0 {
            events.push(befall(&mut harness, &mut rng).await);
        }
    }
    let verdict = expected_replies.verdict(&harness).await;
    println!("chaos seed {seed}: {verdict}; {}", events.join(", "));
    verdict.must_be_clean(&format!("seed {seed}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_text_is_answered_exactly_once_whatever_dies() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    for seed in first..first + setting("TEXTBACK_CHAOS_SEEDS", 3) {
        run(seed, setting("TEXTBACK_CHAOS_TEXTS", 480)).await;
    }
}
