//! Points in time from which metrics measure. No decision depends on them.

use std::time::{Duration, Instant};

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};

/// A time in the past by the clock of this process. The database tells it as an age in seconds, so
/// the clocks of both need not agree.
#[derive(Debug, Clone, Copy)]
pub struct Since(Instant);

impl Since {
    /// The time now.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// All are equal: claims are compared by what they claim.
impl PartialEq for Since {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Since {}

impl Type<Postgres> for Since {
    fn type_info() -> PgTypeInfo {
        <f64 as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Since {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let age = Duration::try_from_secs_f64(<f64 as Decode<Postgres>>::decode(value)?).unwrap_or_default();
        let now = Instant::now();
        Ok(Self(now.checked_sub(age).unwrap_or(now)))
    }
}
