//! `/v1/usage`: how much of its limits the project has used.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::auth::Caller;
use super::{ApiState, Group, lists};
use crate::domain::outbound_limit::OutboundLimit;
use crate::http::problem::Problem;
use crate::storage::outbound_limits;

/// `/v1/usage`
pub struct Api;

/// How much of a limit is used.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct LimitUsage {
    limit: OutboundLimit,
    /// The most messages in a window. 0 means no limit.
    most: i32,
    /// How many messages were planned in the current window. Not counted while there is no limit.
    sent: i32,
    /// When the current window ends. Left out without a current window.
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
        state: Data<&ApiState>,
        caller: Caller,
        /// The number of a contact in E.164, or its short code. Then the answer has the limits of
        /// this contact too.
        contact: Query<Option<String>>,
    ) -> Result<Json<Usage>, Problem> {
        let project_id = caller.reader();
        let contact = lists::contact(contact.0)?;
        let used =
            outbound_limits::usage(&mut *state.storage.connection().await?, project_id, contact.as_deref()).await?;
        let of = |used: outbound_limits::Usage| {
            let outbound_limits::Usage { limit, most, sent, resets_at } = used;
            LimitUsage { limit, most, sent, resets_at }
        };
        Ok(Json(Usage { outbound: used.into_iter().map(of).collect() }))
    }
}
