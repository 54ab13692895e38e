//! Searches over rows that fail in known ways, without a database.

use crate::jobs::runtime::search::*;

fn row(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// Rows that are due, and which of them fail, how.
struct Server {
    due: Vec<Uuid>,
    fails: Vec<(Uuid, Fault)>,
    now: Instant,
    set_aside: Vec<Uuid>,
    /// After so many claims nothing fails any more.
    heals_after: usize,
    claims: usize,
}

impl Server {
    fn new(due: u128, fails: &[u128], fault: Fault) -> Self {
        let fails = fails.iter().map(|n| (row(*n), fault)).collect();
        let due = (0..due).map(row).collect();
        Self { due, fails, now: Instant::now(), set_aside: Vec::new(), heals_after: usize::MAX, claims: 0 }
    }

    /// Claims as the worker does until nothing is left to do at once; whether that ended without an
    /// error.
    fn work(&mut self, search: &mut Search, most: usize) -> bool {
        for _ in 0..10_000 {
            let group = match search.step(most) {
                Step::All => None,
                Step::Group(group) => Some(group),
                Step::Search { width } => {
                    let due = self.due.iter().take(width).copied().collect();
                    if search.begin(due, width, self.now).is_some() {
                        return false;
                    }
                    match search.step(most) {
                        Step::All => None,
                        Step::Group(group) => Some(group),
                        Step::Search { .. } => return true,
                    }
                }
            };
            let rows: Vec<Uuid> = match &group {
                Some(group) => group.iter().filter(|row| self.due.contains(row)).copied().collect(),
                None => self.due.iter().take(most).copied().collect(),
            };
            self.claims += 1;
            let fault = self.fails.iter().find(|(row, _)| rows.contains(row)).map(|(_, fault)| *fault);
            let fault = fault.filter(|_| self.claims <= self.heals_after);
            let group = match (fault, group) {
                (None, None) => {
                    self.due.retain(|row| !rows.contains(row));
                    search.succeeded();
                    if rows.is_empty() {
                        return true;
                    }
                    continue;
                }
                (Some(_), None) => {
                    if search.want(sqlx::Error::PoolTimedOut, self.now).is_some() {
                        return false;
                    }
                    continue;
                }
                (_, Some(group)) => group,
            };
            match fault {
                None => {
                    self.due.retain(|row| !rows.contains(row));
                    search.claimed(&group, rows.len());
                }
                Some(fault) => search.failed(group, fault, sqlx::Error::PoolTimedOut, self.now),
            }
            match search.conclude(self.now) {
                Conclusion::GoesOn => {}
                Conclusion::Rests => return true,
                Conclusion::Nobody(_) => return false,
                Conclusion::Blamed(rows) => {
                    for (row, _) in rows {
                        self.set_aside.push(row);
                        self.due.retain(|due| *due != row);
                        search.forget(row);
                    }
                }
            }
        }
        panic!("it never rests");
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn whoever_fails_alone_beside_others_is_to_blame() {
    use Fault::{Row, RowOrMoment, RowOrServer};
    // (fault, times, seconds, control, only), to blame
    for (fault, times, seconds, has_control, is_only, blamed) in [
        (Row, 1, 0, true, false, true),
        (Row, 9, 99, false, false, false),
        (Row, 2, 99, false, true, false),
        (Row, 9, 9, false, true, false),
        (Row, 3, 10, false, true, true),
        (RowOrServer, 1, 0, true, false, true),
        (RowOrServer, 9, 99, false, true, false),
        (RowOrMoment, 2, 99, true, false, false),
        (RowOrMoment, 9, 9, true, false, false),
        (RowOrMoment, 3, 10, true, false, true),
        (RowOrMoment, 9, 99, false, true, false),
    ] {
        let told = format!("{fault:?} {times} {seconds} {has_control} {is_only}");
        assert_eq!(is_to_blame(fault, times, Duration::from_secs(seconds), has_control, is_only), blamed, "{told}");
    }
}

#[test]
fn the_rows_that_fail_are_found_and_the_others_claimed_wherever_they_lie() {
    for fails in [&[0][..], &[63], &[31], &[0, 1, 2, 3], &[0, 20, 40, 63]] {
        let (mut server, mut search) = (Server::new(64, fails, Fault::RowOrServer), Search::default());
        assert!(server.work(&mut search, 64));
        let mut set_aside = server.set_aside.clone();
        set_aside.sort();
        assert_eq!(set_aside, fails.iter().map(|n| row(*n)).collect::<Vec<_>>());
        assert!(server.due.is_empty());
    }
}

#[test]
fn a_fault_that_hits_all_rows_is_no_rows_and_is_over_when_it_is_over() {
    for fault in [Fault::Row, Fault::RowOrServer, Fault::RowOrMoment] {
        let (mut server, mut search) = (Server::new(20, &(0..20).collect::<Vec<_>>(), fault), Search::default());
        for _ in 0..100 {
            assert!(!server.work(&mut search, 64));
            server.wait(1);
        }
        assert!(server.claims < 1_000, "{}", server.claims);
        server.fails.clear();
        assert!(server.work(&mut search, 64));
        assert!(server.set_aside.is_empty() && server.due.is_empty(), "{fault:?}");
    }
}

#[test]
fn a_fault_that_ends_during_the_search_is_no_rows() {
    for heals_after in 1..40 {
        let all: Vec<u128> = (0..16).collect();
        let (mut server, mut search) = (Server::new(16, &all, Fault::RowOrServer), Search::default());
        server.heals_after = heals_after;
        server.work(&mut search, 64);
        server.work(&mut search, 64);
        assert!(server.set_aside.is_empty(), "{heals_after}");
    }
}

#[test]
fn a_shortage_of_the_moment_is_met_three_times_before_a_row_is_blamed_and_the_others_go_on() {
    let (mut server, mut search) = (Server::new(8, &[2], Fault::RowOrMoment), Search::default());
    for n in 0..30 {
        server.due.push(row(100 + n));
        server.work(&mut search, 8);
        assert!(server.due.iter().all(|due| *due == row(2)), "{n}: {:?}", server.due);
        assert!(n >= 9 || server.set_aside.is_empty(), "{n}");
        server.wait(1);
    }
    assert_eq!(server.set_aside, [row(2)]);
}

#[test]
fn a_shortage_that_passes_leaves_nothing_behind() {
    let (mut server, mut search) = (Server::new(8, &[2], Fault::RowOrMoment), Search::default());
    server.work(&mut search, 8);
    server.wait(5);
    server.fails.clear();
    assert!(server.work(&mut search, 8) && server.due.is_empty());
    server.due.push(row(2));
    server.fails = vec![(row(2), Fault::RowOrMoment)];
    for n in 0..2 {
        server.due.push(row(100 + n));
        server.wait(60);
        server.work(&mut search, 8);
    }
    assert!(server.set_aside.is_empty(), "it counts from the beginning");
}

#[test]
fn the_only_row_is_blamed_for_what_is_surely_its_own_and_after_a_while() {
    for (fault, blamed) in [(Fault::Row, true), (Fault::RowOrServer, false), (Fault::RowOrMoment, false)] {
        let (mut server, mut search) = (Server::new(1, &[0], fault), Search::default());
        for second in 0..60 {
            server.work(&mut search, 8);
            assert!(second >= 10 || server.set_aside.is_empty());
            server.wait(1);
        }
        assert_eq!(!server.set_aside.is_empty(), blamed, "{fault:?}");
        // Somebody else comes, and is claimed at once.
        server.due.push(row(1));
        server.wait(1);
        server.work(&mut search, 8);
        assert!(!server.due.contains(&row(1)), "{fault:?}");
    }
}

/// As where the claim takes a row that is not among the first that are due.
#[test]
fn a_search_that_finds_nobody_gets_wider() {
    let mut search = Search::default();
    let now = Instant::now();
    assert_eq!(search.step(8), Step::All);
    assert!(search.want(sqlx::Error::PoolTimedOut, now).is_none());
    for width in [8, 32, 128] {
        assert_eq!(search.step(8), Step::Search { width });
        assert!(search.begin((0..width as u128).map(row).collect(), width, now).is_none());
        while let Step::Group(group) = search.step(8) {
            // Somebody else holds them all.
            search.claimed(&group, 0);
            if width == 128 || matches!(search.conclude(now), Conclusion::GoesOn) {
                continue;
            }
            panic!("it goes on");
        }
    }
}
