//! Tests what is counted next.

use super::*;

fn at(hours: f64) -> Hour {
    let start = DateTime::from_timestamp(1_767_225_600, 0).expect("2026-01-01");
    start + TimeDelta::seconds((hours * 3600.0).round() as i64)
}

/// Ten past twelve of a day on which all is counted.
fn progress() -> Progress {
    Progress {
        now: at(12.2),
        ended_before: at(12.0),
        settled_until: Some(at(12.0)),
        ended_until: Some(at(12.0)),
        is_over: true,
        counted_from: Some(at(0.0)),
        oldest: Some(at(0.0)),
        marked: Vec::new(),
    }
}

const ALL: Allowed = Allowed { live: true, marked: true, hours: 4 };
const NOT_LIVE: Allowed = Allowed { live: false, ..ALL };

/// A case, what is counted so far, what is allowed, and what comes next.
type Case = (&'static str, Progress, Allowed, Step);

fn check(table: &[Case]) {
    for (case, progress, allowed, expected) in table {
        assert_eq!(next(progress, *allowed), *expected, "{case}");
    }
}

#[test]
fn the_first_count_begins_with_the_newest_hours() {
    let first = Progress { settled_until: None, ended_until: None, counted_from: None, oldest: None, ..progress() };
    let ended = Progress { ended_until: Some(at(12.0)), is_over: false, ..first.clone() };
    let started = Progress {
        settled_until: Some(at(12.0)),
        ended_until: Some(at(12.0)),
        counted_from: Some(at(12.0)),
        ..first.clone()
    };
    check(&[
        (
            "the first time the dashboards are useful soon",
            first.clone(),
            ALL,
            Step::Live { since: at(10.0), until: at(13.0) },
        ),
        ("and then the hours before have ended", first, NOT_LIVE, Step::End { until: at(12.0) }),
        ("older transactions run", ended.clone(), NOT_LIVE, Step::Rest),
        ("they are over", Progress { is_over: true, ..ended }, NOT_LIVE, Step::Start { at: at(12.0) }),
        ("it is not known how old the rows are", started.clone(), NOT_LIVE, Step::FindOldest),
        (
            "the newest hours come first",
            Progress { oldest: Some(at(-100.5)), ..started.clone() },
            NOT_LIVE,
            Step::Backlog { since: at(8.0), until: at(12.0) },
        ),
        (
            "the last step is short",
            Progress { oldest: Some(at(10.0)), ..started.clone() },
            NOT_LIVE,
            Step::Backlog { since: at(10.0), until: at(12.0) },
        ),
        ("there is no row", Progress { oldest: Some(at(12.0)), ..started }, NOT_LIVE, Step::Rest),
    ]);
}

#[test]
fn what_is_counted_next_once_all_is_counted() {
    let all = progress();
    let later = Progress { now: at(22.2), ended_before: at(22.0), ..all.clone() };
    check(&[
        (
            "all is counted, and the hour that runs may be counted again",
            all.clone(),
            ALL,
            Step::Live { since: at(12.0), until: at(13.0) },
        ),
        ("the hour that runs was counted a moment ago", all.clone(), NOT_LIVE, Step::Rest),
        // For five minutes after its end an hour is counted with the next one.
        (
            "two hours run",
            Progress { now: at(13.05), ..all.clone() },
            ALL,
            Step::Live { since: at(12.0), until: at(14.0) },
        ),
        (
            "an old transaction runs",
            Progress {
                now: at(22.2),
                ended_before: at(22.0),
                is_over: false,
                ended_until: Some(at(13.0)),
                ..all.clone()
            },
            ALL,
            Step::Live { since: at(20.0), until: at(23.0) },
        ),
        ("ten hours have ended", later.clone(), NOT_LIVE, Step::End { until: at(22.0) }),
        (
            "they are settled in steps",
            Progress { ended_until: Some(at(22.0)), ..later.clone() },
            NOT_LIVE,
            Step::Settle { since: at(12.0), until: at(16.0) },
        ),
        (
            "not while an old transaction runs",
            Progress { ended_until: Some(at(22.0)), is_over: false, ..later },
            NOT_LIVE,
            Step::Rest,
        ),
        (
            "hours changed",
            Progress { marked: vec![at(3.0), at(1.0)], ..all.clone() },
            NOT_LIVE,
            Step::Recount { hour: at(3.0) },
        ),
        (
            "counting them again took long",
            Progress { marked: vec![at(3.0)], ..all.clone() },
            Allowed { marked: false, ..NOT_LIVE },
            Step::Rest,
        ),
        (
            "the clock went back",
            Progress { now: at(9.5), ended_before: at(9.0), ..all },
            ALL,
            Step::GoBack { to: at(9.0) },
        ),
    ]);
}

/// From nothing, and from any time later, the steps end, and count each hour before the last end
/// for good exactly once.
#[test]
fn the_steps_settle_each_hour_once() {
    let mut state = Progress { settled_until: None, ended_until: None, counted_from: None, oldest: None, ..progress() };
    let mut settled = Vec::new();
    for now in [12.2, 12.9, 13.05, 13.1, 45.0, 46.5] {
        state.now = at(now);
        state.ended_before = at((now - 5.0 / 60.0).floor());
        for steps in 0.. {
            assert!(steps < 100, "it does not end");
            let step = next(&state, Allowed { hours: 7, ..NOT_LIVE });
            if let Step::Settle { since, until } | Step::Backlog { since, until } = step {
                settled.extend((0..(until - since).num_hours()).map(|hour| since + TimeDelta::hours(hour)));
            }
            if step == Step::Rest {
                break;
            }
            state = step.after(&state, Some(at(-30.0)));
        }
    }
    settled.sort();
    let each: Vec<Hour> = (-30..46).map(|hour| at(f64::from(hour))).collect();
    assert_eq!(settled, each);
}

#[test]
fn after_the_clock_went_back_hours_are_settled_again() {
    let state = Progress { now: at(9.5), ended_before: at(9.0), ..progress() };
    let back = next(&state, ALL).after(&state, None);
    assert_eq!(
        (back.settled_until, back.ended_until, back.counted_from),
        (Some(at(9.0)), Some(at(9.0)), Some(at(0.0)))
    );
    let later = Progress { now: at(11.2), ended_before: at(11.0), ended_until: Some(at(11.0)), ..back };
    assert_eq!(next(&later, NOT_LIVE), Step::Settle { since: at(9.0), until: at(11.0) });
}

#[test]
fn steps_grow_while_they_are_quick_and_pauses_with_what_counting_took() {
    for (hours, milliseconds, then) in [(1, 10, 2), (20, 10, 24), (8, 500, 8), (8, 1_001, 4), (1, 5_000, 1)] {
        assert_eq!(next_width(hours, Duration::from_millis(milliseconds)), then, "{hours} in {milliseconds} ms");
    }
    for (milliseconds, seconds) in [(1, 60), (1_200, 60), (5_000, 250), (100_000, 3_600)] {
        assert_eq!(live_pause(Duration::from_millis(milliseconds)), Duration::from_secs(seconds), "{milliseconds} ms");
    }
}
