//! How much one claim may take, in all and of one owner, so that nobody's trouble fills every slot; it claims nothing itself.

use std::collections::HashMap;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

/// The bounds of a claim. An owner may crowd out others: an agent with its turns, a carrier account with its deliveries. So may
/// a project with the turns of all its agents.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The most in all.
    pub most: i64,
    /// What each owner may have.
    pub owners: Quotas,
    /// What each project may have, all of its owners together. Only claims of turns ask for it: every other owner is a project.
    pub projects: Quotas,
    /// The only rows that are claimed, if not all may be.
    pub only: Option<Vec<Uuid>>,
}

/// How many rows a claim may take of each owner, or of each project.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    /// Those with quotas of their own.
    by_id: HashMap<Uuid, usize>,
    /// The quota of each other one.
    others: usize,
}

impl Quotas {
    /// The same quota for everybody.
    pub fn of(others: usize) -> Self {
        Self { by_id: HashMap::new(), others }
    }

    /// Sets the quota of one of them.
    pub fn set(&mut self, id: Uuid, quota: usize) {
        self.by_id.insert(id, quota);
    }

    /// The quota of one of them.
    pub fn get(&self, id: Uuid) -> usize {
        *self.by_id.get(&id).unwrap_or(&self.others)
    }

    /// Those of whom nothing may be claimed.
    pub fn full(&self) -> Vec<Uuid> {
        self.by_id.iter().filter(|(_, quota)| **quota == 0).map(|(id, _)| *id).collect()
    }

    /// Binds four parameters of a claim: those of whom nothing may be claimed, those with quotas of their own, these quotas, and the
    /// quota of each other one.
    fn bind<'q>(&self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        let (known, quotas): (Vec<Uuid>, Vec<i32>) =
            self.by_id.iter().filter(|(_, quota)| **quota > 0).map(|(id, quota)| (*id, as_integer(*quota))).unzip();
        query.bind(self.full()).bind(known).bind(quotas).bind(as_integer(self.others))
    }
}

/// A quota as PostgreSQL's integer; one beyond it is as good as none.
fn as_integer(quota: usize) -> i32 {
    i32::try_from(quota).unwrap_or(i32::MAX)
}

impl Room {
    /// Room for `most`, whoever they belong to.
    pub fn of(most: usize) -> Self {
        Self {
            most: i64::try_from(most).unwrap_or(i64::MAX),
            owners: Quotas::of(most),
            projects: Quotas::of(most),
            only: None,
        }
    }

    /// The owners and the projects of whom nothing may be claimed.
    pub fn barred(&self) -> Vec<Uuid> {
        [self.owners.full(), self.projects.full()].concat()
    }

    /// Whether there is somebody of whom nothing may be claimed.
    pub fn leaves_somebody_out(&self) -> bool {
        self.owners.by_id.values().chain(self.projects.by_id.values()).any(|quota| *quota == 0)
    }

    /// Binds the first five parameters of a claim.
    pub(super) fn bind<'q>(&self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        self.owners.bind(query.bind(self.most))
    }

    /// Binds the first nine parameters of a claim that bounds projects too.
    pub(super) fn bind_with_projects<'q>(
        &self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        self.projects.bind(self.bind(query))
    }
}
