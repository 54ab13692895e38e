//! A process dies at every step of the road, as kill -9 would end it, while people text: nothing is lost, nothing doubled.

use std::time::Duration;

use textback::failpoint::POINTS;
use twilio_simulator::Fault;

use crate::stage::{Dice, Stage, Tally, setting};

/// Lets one process die at one point, and starts it again.
async fn die_at(stage: &mut Stage, point: &'static str, dice: &mut Dice, inside: bool) {
    // Some points are only reached when the carrier is unsure or its webhooks are lost.
    let rare = point.starts_with("reconcile.") || point.starts_with("read_back.");
    let serves = inside || point.starts_with("intake.") || point.starts_with("status.");
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
    // What is rare must not all go to another worker.
    stage.work.truncate(if rare { 0 } else { 1 });
    let dying = if serves {
        stage.serve = None;
        stage.start_serve(&armed)
    } else {
        stage.start_work(&armed)
    };
    assert!(dying.aborts_within(Duration::from_secs(30)).await, "{failpoint} was not reached");
    if serves {
        stage.serve = Some(stage.start_serve(&[]));
    }
    while stage.work.len() < 2 {
        stage.work.push(stage.start_work(&[]));
    }
    stage.simulator.report_statuses(true);
    stage.simulator.lose_webhooks(false);
}

async fn run(seed: u64) {
    // Said before, so that a run that never comes to its verdict can be played again.
    println!("failpoints seed {seed} begins");
    let mut dice = Dice::of(seed);
    let mut stage = Stage::set(&format!("failpoints-{seed}")).await;
    // In every other story `serve` has workers too: then it dies at their points, and nobody but it begins what it takes in.
    let inside = seed % 2 == 1;
    stage.variables.push(("TEXTBACK_WITH_WORKERS", inside.to_string()));
    stage.open(2, Stage::echo()).await;
    let mut told = stage.phones(10, 10_000, Duration::from_millis(100));
    let mut points = POINTS.to_vec();
    while !points.is_empty() {
        let next = dice.roll(points.len() as u64);
        die_at(&mut stage, points.swap_remove(usize::try_from(next).expect("small")), &mut dice, inside).await;
    }
    told.close();
    let mut tally = Tally::default();
    while let Some(texted) = told.recv().await {
        tally.note(texted);
    }
    let verdict = tally.verdict(&stage).await;
    let place = if inside { "workers in serve" } else { "workers apart" };
    println!("failpoints seed {seed}: {place}, died at {} points; {verdict}", POINTS.len());
    verdict.must_be_clean(&format!("seed {seed}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_step_of_the_road_loses_and_doubles_nothing() {
    let first = setting("TEXTBACK_CHAOS_FIRST_SEED", 10);
    for seed in first..first + setting("TEXTBACK_FAILPOINT_SEEDS", 2) {
        run(seed).await;
    }
}
