//! A process dies at every step of the road, as kill -9 would end it, while people text: nothing is lost, nothing doubled.

use std::time::Duration;

use textback::failpoint::POINTS;
use textback::simulator::Fault;

use crate::stage::{Dice, Stage, Tally, setting};

/// Lets one process die at one point, and starts it again.
async fn die_at(stage: &mut Stage, point: &'static str, dice: &mut Dice) {
    // Some points are only reached when the carrier is unsure or its webhooks are lost.
    let serves = point.starts_with("intake.") || point.starts_with("status.");
    stage.simulator.report_statuses(!point.starts_with("reconcile."));
    stage.simulator.lose_webhooks(point.starts_with("read_back."));
    match point {
        "reconcile.in_commit" => stage.simulator.plan_faults([Fault::AcceptThen500; 12]),
        // Now and then the carrier has accepted, and we certainly don't know yet.
        "delivery.in_call" if dice.roll(2) == 0 => stage.simulator.plan_faults([Fault::AcceptThenHang(2_000); 8]),
        _ => {}
    }
    let micros = [0, 200, 500, 900][usize::try_from(dice.roll(4)).expect("small")];
    let failpoint = format!("{point}:{}:{micros}", 1 + dice.roll(4));
    let armed = [("TEXTBACK_FAILPOINT", failpoint.as_str())];
    let dying = if serves {
        stage.serve = None;
        stage.start_serve(&armed)
    } else {
        // What is rare must not all go to the other worker.
        let stay = if point.starts_with("reconcile.") || point.starts_with("read_back.") { 0 } else { 1 };
        stage.work.truncate(stay);
        stage.start_work(&armed)
    };
    assert!(dying.aborts_within(Duration::from_secs(30)).await, "{failpoint} was not reached");
    if serves {
        stage.serve = Some(stage.start_serve(&[]));
    } else {
        while stage.work.len() < 2 {
            stage.work.push(stage.start_work(&[]));
        }
    }
    stage.simulator.report_statuses(true);
    stage.simulator.lose_webhooks(false);
}

async fn run(seed: u64) {
    // Said before, so that a run that never comes to its verdict can be played again.
    println!("failpoints seed {seed} begins");
    let mut dice = Dice::of(seed);
    let mut stage = Stage::set(&format!("failpoints-{seed}")).await;
    stage.open(2, Stage::echo()).await;
    let mut told = stage.phones(10, 10_000, Duration::from_millis(100));
    let mut points = POINTS.to_vec();
    while !points.is_empty() {
        let next = dice.roll(points.len() as u64);
        die_at(&mut stage, points.swap_remove(usize::try_from(next).expect("small")), &mut dice).await;
    }
    told.close();
    let mut tally = Tally::default();
    while let Some(texted) = told.recv().await {
        tally.note(texted);
    }
    let verdict = tally.verdict(&stage).await;
    println!("failpoints seed {seed}: died at {} points; {verdict}", POINTS.len());
    verdict.must_be_clean(&format!("seed {seed}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_step_of_the_road_loses_and_doubles_nothing() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    for seed in first..first + setting("TEXTBACK_FAILPOINT_SEEDS", 1) {
        run(seed).await;
    }
}
