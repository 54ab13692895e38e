//! The registration of numbers, and what becomes of the messages that waited for it.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::bounds;
use crate::domain::delivery::DeliveryErrorClass;
use crate::domain::message_plan::MessagePlan;
use crate::domain::number::{
    RegistrationPolicy, RegistrationStatus, is_news_that_unregistered, plan_of_held, send_policy,
};

/// What the carrier tells of the registration of a number.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    /// `None`: nothing new.
    pub(super) registration: Option<RegistrationStatus>,
    pub(super) detail: Option<String>,
}

/// A number that is locked.
struct Locked {
    id: Uuid,
    registration: RegistrationStatus,
    registration_detail: Option<String>,
    policy: RegistrationPolicy,
}

/// Stores the registration of numbers, and their send policies by their countries' policies. Held
/// deliveries are planned again when the number may send. It locks the numbers and then their
/// deliveries, so it may be ended by a deadlock.
pub(super) async fn settle(
    connection: &mut PgConnection,
    numbers: &[Uuid],
    observed: &Observed,
) -> Result<(), sqlx::Error> {
    for number in lock(connection, numbers).await? {
        number.settle(connection, observed).await?;
    }
    Ok(())
}

/// Records that the carrier blocked deliveries because their numbers are not registered, each with
/// the carrier's code. The numbers are checked at once, because a report may be older than an
/// approval. All numbers are locked by one statement, in the order of their ids: two batches that
/// each have deliveries of the same numbers would otherwise wait for each other.
pub(super) async fn record_refusals(
    connection: &mut PgConnection,
    blocked: &[(Uuid, Option<i32>)],
) -> Result<(), sqlx::Error> {
    let (deliveries, codes): (Vec<Uuid>, Vec<Option<i32>>) = blocked.iter().copied().unzip();
    let numbers =
        sqlx::query_file!("sql/queries/number/of_deliveries.sql", &deliveries[..], &codes[..] as &[Option<i32>])
            .fetch_all(&mut *connection)
            .await?;
    let codes: HashMap<Uuid, Option<i32>> = numbers.into_iter().map(|number| (number.id, number.code)).collect();
    let ids: Vec<Uuid> = codes.keys().copied().collect();
    for number in lock(connection, &ids).await? {
        if is_news_that_unregistered(number.registration) {
            let code = codes.get(&number.id).copied().flatten();
            let code = code.map(|code| format!(" (error {code})")).unwrap_or_default();
            let observed = Observed {
                registration: Some(RegistrationStatus::Unregistered),
                detail: Some(format!("the carrier blocked a text for it{code}")),
            };
            number.settle(connection, &observed).await?;
        }
    }
    check_now(connection, &ids).await
}

/// Makes numbers due for a check.
pub(super) async fn check_now(connection: &mut PgConnection, numbers: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/number/check_now.sql", numbers).execute(connection).await?;
    Ok(())
}

async fn lock(connection: &mut PgConnection, numbers: &[Uuid]) -> Result<Vec<Locked>, sqlx::Error> {
    sqlx::query_file_as!(Locked, "sql/queries/number/load_registrations.sql", numbers).fetch_all(connection).await
}

impl Locked {
    async fn settle(self, connection: &mut PgConnection, observed: &Observed) -> Result<(), sqlx::Error> {
        // The registration may be the same, while the policy has changed.
        let (registration, detail) = match observed.registration {
            Some(registration) => (registration, observed.detail.clone()),
            None => (self.registration, observed.detail.clone().or(self.registration_detail)),
        };
        let policy = send_policy(self.policy, registration);
        let held = plan_of_held(policy, registration);
        let why = held.error_detail();
        sqlx::query_file!(
            "sql/queries/number/store_registration.sql",
            self.id,
            registration.as_str(),
            detail.map(|detail| bounds::error(&detail)),
            policy.as_str(),
            held == MessagePlan::Send,
            held.error_class().map(DeliveryErrorClass::as_str),
            why.as_deref(),
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
