//! `/v1/project`: the caller's project and its settings.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveTime, Utc};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::auth::Caller;
use super::visible::{named, visible};
use super::{ApiState, Group, changes, texts};
use crate::domain::keyword::OwnWords;
use crate::domain::outbound_limit::OutboundLimit;
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::storage::model_budget::{self, PriceRow};
use crate::storage::{country, number, project};

/// `/v1/project`
pub struct Api;

/// The rate limits and the loop detection for inbound messages. A message over a limit is stored as
/// `held` with its reason. The agent does not answer it, and sees it in the history with the next
/// message. 0 means no limit. STOP, START and HELP always pass.
#[derive(Object)]
struct Guards {
    /// Messages of one contact to one number in any minute.
    texts_per_contact_per_minute: i32,
    /// A contact that sends the same text this many times within five minutes, and gets the same
    /// answers again and again, is paused for ten minutes. This ends loops between two automatic
    /// senders. Whoever gets another answer each time is not paused.
    repeats_in_five_minutes: i32,
    /// Messages to the whole project in a minute of the clock.
    texts_per_project_per_minute: i32,
}

/// Changes to the rate limits and the loop detection. A field that is left out stays as it is.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct GuardChanges {
    /// 0 to 1000.
    #[oai(validator(maximum(value = "1000"), minimum(value = "0")))]
    texts_per_contact_per_minute: MaybeUndefined<i32>,
    /// 0, or 3 to 100.
    #[oai(validator(maximum(value = "100"), minimum(value = "0")))]
    repeats_in_five_minutes: MaybeUndefined<i32>,
    /// 0 to 1000000.
    #[oai(validator(maximum(value = "1000000"), minimum(value = "0")))]
    texts_per_project_per_minute: MaybeUndefined<i32>,
}

/// When no warning and no scheduled message is sent, in the contact's own time. They may span
/// midnight.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct QuietHours {
    /// The beginning, as `HH:MM`.
    from: String,
    /// The end, as `HH:MM`.
    until: String,
}

/// The project's own words for what a contact wants, such as ARRET or BAJA, besides STOP, START,
/// HELP and the other words of carriers. They are compared, kept and told in lower case, without
/// marks and with one blank between two words.
#[derive(Object)]
struct Keywords {
    /// Opts out, as STOP does.
    opt_out: Vec<String>,
    /// Opts in again, as START does.
    opt_in: Vec<String>,
    /// Is answered with the `help_message`, as HELP is.
    help: Vec<String>,
}

/// Changes to the project's own words: up to 20 in each list, each a word or a short phrase of at
/// most 32 characters. A list that is left out stays as it is. Null or an empty list removes its
/// words.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct KeywordChanges {
    #[oai(validator(max_items = 20))]
    opt_out: MaybeUndefined<Vec<String>>,
    #[oai(validator(max_items = 20))]
    opt_in: MaybeUndefined<Vec<String>>,
    #[oai(validator(max_items = 20))]
    help: MaybeUndefined<Vec<String>>,
}

/// What the project pays for the tokens of a model, in millionths of a currency of its choice.
/// `1000000` is one dollar, if all prices are in dollars.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
struct ModelPrice {
    /// The model, as `llm.model` of the agents names it.
    #[oai(validator(min_length = 1, max_length = 200))]
    model: String,
    /// What a million tokens of requests cost (0 to 1000000000000).
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "0")))]
    input: i64,
    /// What a million tokens of requests cost that the provider had cached. Without it as much as
    /// the others.
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "0")))]
    cached_input: Option<i64>,
    /// What a million tokens of answers cost.
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "0")))]
    output: i64,
}

/// A project with its settings.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct Project {
    id: Uuid,
    name: String,
    guards: Guards,
    /// How many messages the project may send to one contact in an hour. 0 means no limit.
    outbound_per_contact_per_hour: i32,
    /// The same in 24 hours.
    outbound_per_contact_per_day: i32,
    /// How many messages the project may send in a minute. 0 means no limit.
    outbound_per_project_per_minute: i32,
    /// The same in 24 hours.
    outbound_per_project_per_day: i32,
    /// The countries that the project sends to, as ISO 3166-1 alpha-2 codes. `001` stands for
    /// numbers of no country, such as +882. Without a list the project sends to the countries of
    /// its numbers and to contacts who wrote first. A list applies to answers too.
    allowed_countries: Option<Vec<String>>,
    /// What a contact gets who sends HELP or INFO. Without it only the carrier answers, and to a
    /// short code, where the carrier does not, textback answers with words of its own.
    help_message: Option<String>,
    /// What a contact gets who sends STOP to a short code. Without it textback confirms with words
    /// of its own. To other numbers only the carrier answers.
    opt_out_message: Option<String>,
    /// The same for START.
    opt_in_message: Option<String>,
    keywords: Keywords,
    /// The number that sends if nothing else decides.
    default_number: Option<String>,
    quiet_hours: Option<QuietHours>,
    /// How many tokens language models may use on a day of UTC. 0 means no limit.
    llm_max_tokens_per_day: i64,
    /// How much they may cost on a day of UTC, in the unit of `llm_prices`. 0 means no limit. A
    /// model without a price costs nothing.
    llm_max_cost_per_day: i64,
    /// What the project pays for models.
    llm_prices: Vec<ModelPrice>,
    created_at: DateTime<Utc>,
}

/// Changes to a project. A field that is left out stays as it is. Null removes a setting.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct ProjectChanges {
    #[oai(validator(min_length = 1, max_length = 100))]
    name: MaybeUndefined<String>,
    guards: MaybeUndefined<GuardChanges>,
    /// How many messages the project may send to one contact in an hour (0 to 100000). 0 means no
    /// limit.
    #[oai(validator(maximum(value = "100000"), minimum(value = "0")))]
    outbound_per_contact_per_hour: MaybeUndefined<i32>,
    /// The same in 24 hours. 0 to 100000.
    #[oai(validator(maximum(value = "100000"), minimum(value = "0")))]
    outbound_per_contact_per_day: MaybeUndefined<i32>,
    /// How many messages the project may send in a minute (0 to 10000000). 0 means no limit.
    #[oai(validator(maximum(value = "10000000"), minimum(value = "0")))]
    outbound_per_project_per_minute: MaybeUndefined<i32>,
    /// The same in 24 hours. 0 to 1000000000.
    #[oai(validator(maximum(value = "1000000000"), minimum(value = "0")))]
    outbound_per_project_per_day: MaybeUndefined<i32>,
    /// Up to 300 countries. Null stands for those of the project's numbers.
    #[oai(validator(min_items = 1, max_items = 300))]
    allowed_countries: MaybeUndefined<Vec<String>>,
    #[oai(validator(min_length = 1, max_length = 1600))]
    help_message: MaybeUndefined<String>,
    /// The confirmation of STOP from a short code, as its carriers approved it.
    #[oai(validator(min_length = 1, max_length = 1600))]
    opt_out_message: MaybeUndefined<String>,
    /// The same for START.
    #[oai(validator(min_length = 1, max_length = 1600))]
    opt_in_message: MaybeUndefined<String>,
    keywords: MaybeUndefined<KeywordChanges>,
    /// A number of the project.
    default_number: MaybeUndefined<String>,
    quiet_hours: MaybeUndefined<QuietHours>,
    /// How many tokens language models may use on a day of UTC (0 to 1000000000000). 0 means no
    /// limit. Over it, contacts get the error message of the agent.
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "0")))]
    llm_max_tokens_per_day: MaybeUndefined<i64>,
    /// How much they may cost on a day of UTC, in the unit of `llm_prices` (0 to 1000000000000). 0
    /// means no limit.
    #[oai(validator(maximum(value = "1000000000000"), minimum(value = "0")))]
    llm_max_cost_per_day: MaybeUndefined<i64>,
    /// What the project pays for models: up to 100, each once. They replace those that it had. Null
    /// removes them.
    #[oai(validator(max_items = 100))]
    llm_prices: MaybeUndefined<Vec<ModelPrice>>,
}

#[OpenApi(tag = "Group::Project")]
impl Api {
    /// Read the project and its settings
    #[oai(path = "/project", method = "get", operation_id = "get_project")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller) -> Result<Json<Project>, Problem> {
        let mut connection = state.storage.connection().await?;
        let settings = project::settings(&mut connection, caller.reader()).await?;
        let prices = model_budget::prices(&mut connection, caller.reader()).await?;
        Ok(Json(Project::of(settings, prices)))
    }

    /// Change the project and its settings
    #[oai(path = "/project", method = "patch", operation_id = "change_project")]
    async fn change(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        body: Json<ProjectChanges>,
    ) -> Result<Json<Project>, Problem> {
        let project_id = caller.writer()?;
        let mut requested = body.0;
        if let MaybeUndefined::Value(default) = &requested.default_number
            && number::find_by_number(&mut *state.storage.connection().await?, project_id, default).await?.is_none()
        {
            return Err(Problem::invalid("number_not_ours", format!("{default:?} is not a number of this project")));
        }
        if let MaybeUndefined::Value(countries) = &requested.allowed_countries {
            known_countries(&state, project_id, countries).await?;
        }
        if let MaybeUndefined::Value(name) = &requested.name {
            named("name", name, "give the project a name")?;
        }
        for (name, text) in [
            ("help_message", &requested.help_message),
            ("opt_out_message", &requested.opt_out_message),
            ("opt_in_message", &requested.opt_in_message),
        ] {
            if let MaybeUndefined::Value(text) = text {
                visible(name, Some(text), "set it to null to have none")?;
                texts::fits_a_message(name, Some(text))?;
            }
        }
        let keywords = keyword_changes(std::mem::take(&mut requested.keywords));
        let limits = WantedLimits::of(&requested);
        let prices = price_changes(std::mem::take(&mut requested.llm_prices))?;
        let mut changes = changed(requested)?;
        let mut transaction = state.storage.transaction().await?;
        if let Some(keywords) = keywords {
            let current = project::lock_keywords(&mut transaction, project_id).await?;
            changes.extend(changed_keywords(current, keywords)?);
        }
        let changed = project::change(&mut transaction, project_id, &changes).await?;
        limits.refuse_unreachable(&changed)?;
        if let Some(prices) = prices {
            model_budget::set_prices(&mut transaction, project_id, &prices).await?;
        }
        let prices = model_budget::prices(&mut transaction, project_id).await?;
        transaction.commit().await?;
        Ok(Json(Project::of(changed, prices)))
    }
}

/// Which of the shorter limits a request sets. One that is above the longer limit is never reached,
/// although its caller counts on it. A longer limit that is set alone below the shorter one counts
/// as it was said, and nothing is refused.
struct WantedLimits {
    per_contact_per_hour: bool,
    per_project_per_minute: bool,
}

impl WantedLimits {
    const fn of(requested: &ProjectChanges) -> Self {
        Self {
            per_contact_per_hour: matches!(requested.outbound_per_contact_per_hour, MaybeUndefined::Value(_)),
            per_project_per_minute: matches!(requested.outbound_per_project_per_minute, MaybeUndefined::Value(_)),
        }
    }

    /// Refuses a shorter limit that was set above the longer one. 0 means no limit.
    fn refuse_unreachable(&self, now: &project::Settings) -> Result<(), Problem> {
        use OutboundLimit::{ContactPerDay, ContactPerHour, ProjectPerDay, ProjectPerMinute};
        let (hour, of_contact) = (now.outbound_per_contact_per_hour, now.outbound_per_contact_per_day);
        let (minute, of_project) = (now.outbound_per_project_per_minute, now.outbound_per_project_per_day);
        for (is_wanted, (shorter, given), (longer, most)) in [
            (self.per_contact_per_hour, (ContactPerHour, hour), (ContactPerDay, of_contact)),
            (self.per_project_per_minute, (ProjectPerMinute, minute), (ProjectPerDay, of_project)),
        ] {
            if is_wanted && most > 0 && given > most {
                return Err(Problem::invalid(
                    "limits_contradict",
                    format!(
                        "{shorter} is {given} and would never be reached, because {longer} is {most}; lower the first or raise the second"
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The prices that a request sets. `None`: it leaves them as they are.
fn price_changes(given: MaybeUndefined<Vec<ModelPrice>>) -> Result<Option<Vec<PriceRow>>, Problem> {
    let given = match given {
        MaybeUndefined::Undefined => return Ok(None),
        MaybeUndefined::Null => Vec::new(),
        MaybeUndefined::Value(given) => given,
    };
    let mut models = BTreeSet::new();
    for ModelPrice { model, .. } in &given {
        named("llm_prices.model", model, "give the name of the model, as the agents have it")?;
        if !models.insert(model) {
            let detail = format!("llm_prices has the model {model:?} twice; give each model one price");
            return Err(Problem::invalid("value_refused", detail));
        }
    }
    let row = |ModelPrice { model, input, cached_input, output }| PriceRow { model, input, cached_input, output };
    Ok(Some(given.into_iter().map(row).collect()))
}

/// The lists of keywords that a request changes. `None`: it changes none.
fn keyword_changes(keywords: MaybeUndefined<KeywordChanges>) -> Option<KeywordChanges> {
    match keywords {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(KeywordChanges {
            opt_out: MaybeUndefined::Null,
            opt_in: MaybeUndefined::Null,
            help: MaybeUndefined::Null,
        }),
        MaybeUndefined::Value(changes) => Some(changes),
    }
}

/// The keywords as a request leaves them, by their names in storage.
fn changed_keywords(current: OwnWords, changes: KeywordChanges) -> Result<Map<String, Value>, Problem> {
    let changed = |current: Vec<String>, change: MaybeUndefined<Vec<String>>| match change {
        MaybeUndefined::Undefined => current,
        MaybeUndefined::Null => Vec::new(),
        MaybeUndefined::Value(words) => words,
    };
    let words = OwnWords::new(
        &changed(current.opt_out, changes.opt_out),
        &changed(current.opt_in, changes.opt_in),
        &changed(current.help, changes.help),
    )
    .map_err(|fault| Problem::invalid("keywords_invalid", format!("keywords can't be used: {fault}")))?;
    let lists = [("opt_out_words", words.opt_out), ("opt_in_words", words.opt_in), ("help_words", words.help)];
    Ok(lists.into_iter().map(|(name, words)| (name.to_owned(), words.into())).collect())
}

/// Checks that each code is the code of a country.
async fn known_countries(state: &ApiState, project_id: Uuid, codes: &[String]) -> Result<(), Problem> {
    for iso2 in codes.iter().filter(|iso2| *iso2 != phone_number::INTERNATIONAL) {
        if country::find(&mut *state.storage.connection().await?, project_id, iso2).await?.is_none() {
            return Err(Problem::invalid(
                "country_unknown",
                format!(
                    "allowed_countries must be ISO 3166-1 alpha-2 codes such as US (see GET /v1/countries); one is {iso2:?}"
                ),
            ));
        }
    }
    Ok(())
}

/// The settings that a request changes, by their names in storage.
fn changed(requested: ProjectChanges) -> Result<Map<String, Value>, Problem> {
    let mut changes = Map::new();
    let mut change = |name: &str, value: MaybeUndefined<Value>| match value {
        MaybeUndefined::Undefined => {}
        MaybeUndefined::Null => _ = changes.insert(name.to_owned(), Value::Null),
        MaybeUndefined::Value(value) => _ = changes.insert(name.to_owned(), value),
    };
    let given = |value: Option<Value>| value.map_or(MaybeUndefined::Undefined, MaybeUndefined::Value);
    change("name", given(changes::value("name", requested.name)?.map(Value::from)));
    if let Some(limits) = changes::value("guards", requested.guards)? {
        for (name, value) in [
            ("texts_per_contact_per_minute", limits.texts_per_contact_per_minute),
            ("repeats_in_five_minutes", limits.repeats_in_five_minutes),
            ("texts_per_project_per_minute", limits.texts_per_project_per_minute),
        ] {
            change(name, given(changes::value(&format!("guards.{name}"), value)?.map(Value::from)));
        }
    }
    for (limit, value) in [
        (OutboundLimit::ContactPerHour, requested.outbound_per_contact_per_hour),
        (OutboundLimit::ContactPerDay, requested.outbound_per_contact_per_day),
        (OutboundLimit::ProjectPerMinute, requested.outbound_per_project_per_minute),
        (OutboundLimit::ProjectPerDay, requested.outbound_per_project_per_day),
    ] {
        change(limit.as_str(), given(changes::value(limit.as_str(), value)?.map(Value::from)));
    }
    change("allowed_countries", value_of(requested.allowed_countries));
    change("help_message", value_of(requested.help_message));
    change("opt_out_message", value_of(requested.opt_out_message));
    change("opt_in_message", value_of(requested.opt_in_message));
    change("default_number", value_of(requested.default_number));
    let (from, until) = match requested.quiet_hours {
        MaybeUndefined::Undefined => (MaybeUndefined::Undefined, MaybeUndefined::Undefined),
        MaybeUndefined::Null => (MaybeUndefined::Null, MaybeUndefined::Null),
        MaybeUndefined::Value(QuietHours { from, until }) => {
            let (from, until) = (time_of_day(&from)?, time_of_day(&until)?);
            if from == until {
                return Err(Problem::invalid(
                    "time_invalid",
                    format!(
                        "quiet_hours.from and quiet_hours.until are both {from}, so it would be quiet all day or never; give two times, or null to have none"
                    ),
                ));
            }
            (MaybeUndefined::Value(from.into()), MaybeUndefined::Value(until.into()))
        }
    };
    for (limit, value) in [
        ("llm_max_tokens_per_day", requested.llm_max_tokens_per_day),
        ("llm_max_cost_per_day", requested.llm_max_cost_per_day),
    ] {
        change(limit, given(changes::value(limit, value)?.map(Value::from)));
    }
    change("quiet_from", from);
    change("quiet_until", until);
    Ok(changes)
}

fn value_of<T: Into<Value>>(given: MaybeUndefined<T>) -> MaybeUndefined<Value> {
    match given {
        MaybeUndefined::Undefined => MaybeUndefined::Undefined,
        MaybeUndefined::Null => MaybeUndefined::Null,
        MaybeUndefined::Value(value) => MaybeUndefined::Value(value.into()),
    }
}

/// A time of day in the form that is stored.
fn time_of_day(text: &str) -> Result<String, Problem> {
    let time = NaiveTime::parse_from_str(text, "%H:%M");
    time.map(|time| time.format("%H:%M").to_string()).map_err(|_| {
        Problem::invalid("time_invalid", format!("quiet_hours must be times of day such as 21:00; one is {text:?}"))
    })
}

impl Project {
    fn of(settings: project::Settings, prices: Vec<PriceRow>) -> Self {
        let clock = |time: NaiveTime| time.format("%H:%M").to_string();
        Self {
            id: settings.id,
            name: settings.name,
            guards: Guards {
                texts_per_contact_per_minute: settings.texts_per_contact_per_minute,
                repeats_in_five_minutes: settings.repeats_in_five_minutes,
                texts_per_project_per_minute: settings.texts_per_project_per_minute,
            },
            outbound_per_contact_per_hour: settings.outbound_per_contact_per_hour,
            outbound_per_contact_per_day: settings.outbound_per_contact_per_day,
            outbound_per_project_per_minute: settings.outbound_per_project_per_minute,
            outbound_per_project_per_day: settings.outbound_per_project_per_day,
            allowed_countries: settings.allowed_countries,
            help_message: settings.help_message,
            opt_out_message: settings.opt_out_message,
            opt_in_message: settings.opt_in_message,
            keywords: Keywords {
                opt_out: settings.opt_out_words,
                opt_in: settings.opt_in_words,
                help: settings.help_words,
            },
            default_number: settings.default_number,
            quiet_hours: settings
                .quiet_from
                .zip(settings.quiet_until)
                .map(|(from, until)| QuietHours { from: clock(from), until: clock(until) }),
            llm_max_tokens_per_day: settings.llm_max_tokens_per_day,
            llm_max_cost_per_day: settings.llm_max_cost_per_day,
            llm_prices: prices
                .into_iter()
                .map(|PriceRow { model, input, cached_input, output }| ModelPrice {
                    model,
                    input,
                    cached_input,
                    output,
                })
                .collect(),
            created_at: settings.created_at,
        }
    }
}
