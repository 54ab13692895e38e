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
use crate::storage::model_budget::{self, UsedToday};
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

/// What the language models of the project used on this day of UTC. Requests that run count with
/// the most that they may use.
#[derive(Object)]
struct ModelUsage {
    /// How many tokens they may use. 0 means no limit.
    most_tokens: i64,
    tokens: i64,
    /// How much they may cost, in the unit of the project's `llm_prices`. 0 means no limit.
    most_cost: i64,
    cost: i64,
    /// When the day ends.
    resets_at: DateTime<Utc>,
}

/// How much of the project's limits is used.
#[derive(Object)]
struct Usage {
    outbound: Vec<LimitUsage>,
    llm: ModelUsage,
}

#[OpenApi(tag = "Group::Project")]
impl Api {
    /// Read how much of the project's limits is used
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
        let mut connection = state.storage.connection().await?;
        let used = outbound_limits::usage(&mut connection, project_id, contact.as_deref()).await?;
        let UsedToday { most_tokens, most_cost, tokens, cost, resets_at } =
            model_budget::used_today(&mut connection, project_id).await?;
        let llm = ModelUsage { most_tokens, tokens, most_cost, cost, resets_at };
        let of = |used: outbound_limits::Usage| {
            let outbound_limits::Usage { limit, most, sent, resets_at } = used;
            LimitUsage { limit, most, sent, resets_at }
        };
        Ok(Json(Usage { outbound: used.into_iter().map(of).collect(), llm }))
    }
}
