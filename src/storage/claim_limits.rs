//! The limits of one claim, in all and for each owner, so that slow work of one owner does not fill every slot. Claims
//! nothing itself.

use std::collections::HashMap;

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

/// The limits of a claim. An owner could crowd out others: an agent with its turns, a project with its deliveries. So
/// could a project with the turns of all its agents.
#[derive(Debug, Clone, Default)]
pub struct ClaimLimits {
    /// The most in all.
    pub most: i64,
    /// What each owner may have.
    pub owners: Quotas,
    /// What each project may have with all of its owners. Only claims of turns use it: no other work has several owners
    /// that share a project and could crowd out others.
    pub projects: Quotas,
    /// The only rows to claim, if not all may be claimed.
    pub only: Option<Vec<Uuid>>,
}

/// How many rows a claim may take of each owner, or of each project.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    /// The ids with a quota of their own.
    by_id: HashMap<Uuid, usize>,
    /// The quota of every other id.
    others: usize,
}

impl Quotas {
    /// The same quota for every id.
    pub fn of(others: usize) -> Self {
        Self { by_id: HashMap::new(), others }
    }

    /// Sets the quota of one id.
    pub fn set(&mut self, id: Uuid, quota: usize) {
        self.by_id.insert(id, quota);
    }

    /// The quota of one id.
    pub fn get(&self, id: Uuid) -> usize {
        *self.by_id.get(&id).unwrap_or(&self.others)
    }

    /// The ids with a quota of 0.
    pub fn full(&self) -> Vec<Uuid> {
        self.by_id.iter().filter(|(_, quota)| **quota == 0).map(|(id, _)| *id).collect()
    }

    /// Binds four parameters of a claim: the ids with a quota of 0, the ids with other quotas, these quotas, and the
    /// quota of every other id.
    fn bind<'q>(&self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        let (known, quotas): (Vec<Uuid>, Vec<i32>) =
            self.by_id.iter().filter(|(_, quota)| **quota > 0).map(|(id, quota)| (*id, as_integer(*quota))).unzip();
        query.bind(self.full()).bind(known).bind(quotas).bind(as_integer(self.others))
    }
}

/// A quota as PostgreSQL's integer. A larger one is as good as none.
fn as_integer(quota: usize) -> i32 {
    i32::try_from(quota).unwrap_or(i32::MAX)
}

impl ClaimLimits {
    /// Room for `most`, whoever they belong to.
    pub fn of(most: usize) -> Self {
        Self {
            most: i64::try_from(most).unwrap_or(i64::MAX),
            owners: Quotas::of(most),
            projects: Quotas::of(most),
            only: None,
        }
    }

    /// The owners and the projects with a quota of 0.
    pub fn barred(&self) -> Vec<Uuid> {
        [self.owners.full(), self.projects.full()].concat()
    }

    /// Whether any owner or project has a quota of 0.
    pub fn leaves_somebody_out(&self) -> bool {
        self.owners.by_id.values().chain(self.projects.by_id.values()).any(|quota| *quota == 0)
    }

    /// Binds the first five parameters of a claim.
    pub(super) fn bind<'q>(&self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        self.owners.bind(query.bind(self.most))
    }

    /// Binds the first nine parameters of a claim that also limits projects.
    pub(super) fn bind_with_projects<'q>(
        &self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        self.projects.bind(self.bind(query))
    }
}
