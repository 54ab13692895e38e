//! How much one claim may take, in all and of one owner, so that nobody's trouble fills every slot; it claims nothing itself.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

/// The bounds of a claim. An owner is whoever may crowd out others: an agent with its turns, a carrier account with its
/// deliveries.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The most in all.
    pub most: i64,
    /// Owners of whom nothing is claimed.
    pub full: Vec<Uuid>,
    /// Owners with bounds of their own, and these bounds.
    pub owners: Vec<Uuid>,
    pub places: Vec<i32>,
    /// The bound of each other owner.
    pub others: i32,
    /// The only rows that are claimed, if not all may be.
    pub only: Option<Vec<Uuid>>,
}

impl Room {
    /// Room for `most`, whoever they belong to.
    pub fn of(most: usize) -> Self {
        Self {
            most: i64::try_from(most).unwrap_or(i64::MAX),
            others: i32::try_from(most).unwrap_or(i32::MAX),
            ..Self::default()
        }
    }

    /// The same with at most so many of one owner.
    pub fn with(mut self, owner: Uuid, places: usize) -> Self {
        if places == 0 {
            self.full.push(owner);
        } else {
            self.owners.push(owner);
            self.places.push(i32::try_from(places).unwrap_or(i32::MAX));
        }
        self
    }

    /// Binds the first five parameters of a claim.
    pub(super) fn bind<'q>(&self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(self.most)
            .bind(self.full.clone())
            .bind(self.owners.clone())
            .bind(self.places.clone())
            .bind(self.others)
    }

    /// How many of an owner may be claimed.
    pub fn for_owner(&self, owner: Uuid) -> usize {
        if self.full.contains(&owner) {
            return 0;
        }
        let of_its_own = self.owners.iter().position(|known| *known == owner).and_then(|at| self.places.get(at));
        usize::try_from(*of_its_own.unwrap_or(&self.others)).unwrap_or(0)
    }
}
