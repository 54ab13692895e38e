//! Everything dies while people text: workers, the API, the database, the wires, the carrier's answers. Every text that
//! was acknowledged is answered exactly once, in order, and every invariant holds.
//!
//! `make test` runs three seeds, with and without callbacks, with and without workers in `serve`; `make chaos` runs more (TEXTBACK_CHAOS_SEEDS,
//! TEXTBACK_CHAOS_TEXTS, TEXTBACK_CHAOS_FIRST_SEED).

use std::time::Duration;

use twilio_simulator::Fault;

use crate::proxy::Cut;
use crate::stage::{Dice, Stage, Tally, setting};

const PHONES: u64 = 24;

/// Something dies.
async fn befall(stage: &mut Stage, dice: &mut Dice) -> &'static str {
    match dice.roll(7) {
        0 => {
            let one = usize::try_from(dice.roll(2)).expect("small");
            drop(stage.work.remove(one));
            stage.work.push(stage.start_work(&[]));
            "kill -9 work"
        }
        1 => {
            stage.serve = None;
            stage.serve = Some(stage.start_serve(&[]));
            "kill -9 serve"
        }
        2 => {
            stage.crash_database().await;
            "database crash"
        }
        3 => {
            stage.cut_connections().await;
            "all connections cut"
        }
        4 => {
            let cut = [Cut::Before, Cut::During, Cut::After][usize::try_from(dice.roll(3)).expect("small")];
            // What every statement of ours brings along in the wire's protocol.
            stage.to_database.cut("sqlx_s_", cut);
            "a database connection cut"
        }
        5 => {
            stage.to_carrier.cut("POST /2010-04-01", Cut::After);
            "accept, then reset"
        }
        _ => {
            stage.simulator.plan_faults([
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
    let mut dice = Dice::of(seed);
    let mut stage = Stage::set(&format!("chaos-{seed}")).await;
    // In every other pair of seeds `serve` has workers too, and most turns begin and end there.
    let inside = seed / 2 % 2 == 1;
    stage.variables.push(("TEXTBACK_WITH_WORKERS", inside.to_string()));
    stage.open(2, Stage::echo()).await;
    // Callbacks are best effort. In every other story none comes, and only the carrier's list tells; in the others
    // they come as they like: before the answer, in the wrong order, twice.
    let silent = seed % 2 == 1;
    stage.simulator.report_statuses(!silent);
    stage.simulator.shuffle_statuses(!silent);
    let mut events = vec![
        if inside { "workers in serve" } else { "workers apart" },
        if silent { "no callbacks" } else { "unruly callbacks" },
    ];
    let mut told = stage.phones(PHONES, texts / PHONES, Duration::ZERO);
    let (mut tally, mut count) = (Tally::default(), 0);
    while let Some(texted) = told.recv().await {
        tally.note(texted);
        count += 1;
        if count % (texts / 8).max(1) == 0 {
            events.push(befall(&mut stage, &mut dice).await);
        }
    }
    let verdict = tally.verdict(&stage).await;
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
