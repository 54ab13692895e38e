//! The limits of one claim, in all and for each owner, so that slow jobs of one owner do not fill
//! every slot. The SQL function `within_quotas` applies them.

use std::collections::HashMap;

use uuid::Uuid;

/// The limits of a claim. An owner could crowd out others: an agent with its turns, a project with
/// its deliveries. So could a project with the turns of all its agents.
#[derive(Debug, Clone, Default)]
pub struct ClaimLimits {
    /// The most in all.
    pub most: i64,
    /// What each owner may have.
    pub owners: Quotas,
    /// What each project may have with all of its owners. Only claims of turns use it: no other
    /// kind of job has several owners that share a project and could crowd out others.
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

    /// The quotas as parameters of a claim.
    pub(super) fn parameters(&self) -> QuotaParameters {
        let (limited, quotas): (Vec<Uuid>, Vec<i32>) =
            self.by_id.iter().filter(|(_, quota)| **quota > 0).map(|(id, quota)| (*id, as_integer(*quota))).unzip();
        QuotaParameters { full: self.full(), limited, quotas, others: as_integer(self.others) }
    }
}

/// The four parameters of a claim that are quotas.
pub(super) struct QuotaParameters {
    /// The ids with a quota of 0.
    pub full: Vec<Uuid>,
    /// The ids with another quota of their own.
    pub limited: Vec<Uuid>,
    /// The quota of each limited id.
    pub quotas: Vec<i32>,
    /// The quota of every other id.
    pub others: i32,
}

/// A quota as PostgreSQL's integer. A larger one is as good as none.
fn as_integer(quota: usize) -> i32 {
    i32::try_from(quota).unwrap_or(i32::MAX)
}

impl ClaimLimits {
    /// At most `most` in all, whoever they belong to.
    pub fn of(most: usize) -> Self {
        Self {
            most: i64::try_from(most).unwrap_or(i64::MAX),
            owners: Quotas::of(most),
            projects: Quotas::of(most),
            only: None,
        }
    }

    /// The owners and the projects with a quota of 0.
    pub fn full(&self) -> Vec<Uuid> {
        [self.owners.full(), self.projects.full()].concat()
    }

    /// Whether any owner or project has a quota of 0.
    pub fn leaves_somebody_out(&self) -> bool {
        self.owners.by_id.values().chain(self.projects.by_id.values()).any(|quota| *quota == 0)
    }
}
