//! The invariants: views that must be empty at all times.
//!
//! `migrate` replaces the views that changed, so they match this binary. `tests/it/schema.rs`
//! checks the rules of the schema.

use sqlx::{AssertSqlSafe, PgConnection, Row};

/// An invariant: its view and how that is made.
struct Invariant {
    view: &'static str,
    definition: &'static str,
}

macro_rules! invariants {
    ($($name:literal),* $(,)?) => {
        [$(Invariant {
            view: concat!("invariant_", $name),
            definition: include_str!(concat!("../../sql/invariants/", $name, ".sql")),
        }),*]
    };
}

const INVARIANTS: [Invariant; 12] = invariants![
    "01_one_row_per_carrier_message",
    "02_one_session_not_closed",
    "03_no_message_forgotten",
    "04_no_turn_without_an_open_session",
    "05_a_reply_has_its_turn_and_its_delivery",
    "06_no_delivery_in_the_dark",
    "07_no_delivery_to_who_opted_out",
    "08_no_warning_after_a_reply",
    "09_one_warning_and_one_end",
    "10_no_time_from_the_future",
    "11_every_row_has_what_it_belongs_to",
    "12_what_is_drawn_next_is_new",
];

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The view whose rows break it.
    pub view: &'static str,
    /// How many rows, counted to 100.
    pub rows: i64,
}

/// The statements that create the views.
pub(super) fn definitions() -> impl Iterator<Item = &'static str> {
    INVARIANTS.into_iter().map(|invariant| invariant.definition)
}

/// Reads all views. What it returns is wrong.
pub async fn check(connection: &mut PgConnection) -> Result<Vec<Breach>, sqlx::Error> {
    let mut breaches = Vec::new();
    for Invariant { view, .. } in INVARIANTS {
        // The name is a constant of ours: nothing from outside reaches this statement.
        let count = AssertSqlSafe(format!("select count(*) from (select 1 from {view} limit 100) breach"));
        let rows: i64 = sqlx::query(count).fetch_one(&mut *connection).await?.try_get(0)?;
        if rows > 0 {
            breaches.push(Breach { view, rows });
        }
    }
    Ok(breaches)
}
