//! `/v1/usage`: how much of its limits the project has used; it changes nothing.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::auth::Caller;
use super::{ApiState, Group};
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::storage::outbound_limits;

/// `/v1/usage`
pub struct Api;

/// How much of a limit is used.
#[derive(Object)]
struct LimitUsage {
    /// The setting of the project: `outbound_per_project_per_minute`, `outbound_per_project_per_day`,
    /// `outbound_per_contact_per_hour` or `outbound_per_contact_per_day`.
    limit: String,
    /// The most messages in a window. 0: the limit is off.
    most: i32,
    /// How many were planned in the window that runs. Not counted while the limits of its kind are off.
    sent: i32,
    /// When the window ends. Null: none runs.
    resets_at: Option<DateTime<Utc>>,
}

/// How much of the project's limits is used.
#[derive(Object)]
struct Usage {
    outbound: Vec<LimitUsage>,
}

#[OpenApi(tag = "Group::Project")]
impl Api {
    /// Read how much of the project's outbound limits is used
    #[oai(path = "/usage", method = "get", operation_id = "get_usage")]
    async fn get(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        /// A contact in E.164 whose limits are told too.
        contact: Query<Option<String>>,
    ) -> Result<Json<Usage>, Problem> {
        let project_id = caller.reader();
        if let Some(contact) = contact.0.as_deref().filter(|contact| !phone_number::is_e164(contact)) {
            return Err(Problem::invalid(
                "contact_not_e164",
                format!("contact is {contact:?}, which is not in E.164, such as +14155550101 (write the plus as %2B)"),
            ));
        }
        let used =
            outbound_limits::usage(&mut *door.storage.connection().await?, project_id, contact.0.as_deref()).await?;
        let of = |used: outbound_limits::Usage| {
            let outbound_limits::Usage { limit, most, sent, resets_at } = used;
            LimitUsage { limit, most, sent, resets_at }
        };
        Ok(Json(Usage { outbound: used.into_iter().map(of).collect() }))
    }
}
