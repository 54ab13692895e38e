//! `/v1/project`: the caller's project and its settings.

use chrono::{DateTime, NaiveTime, Utc};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::auth::Caller;
use super::{ApiState, Group};
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::storage::{country, number, project};

/// `/v1/project`
pub struct Api;

/// A text over one of these is stored and held with its reason. No turn answers it; the agent sees it as history with the next
/// text. 0 is off. STOP, START and HELP always pass.
#[derive(Object)]
struct Guards {
    /// Texts of one contact to one number in any minute.
    texts_per_contact_per_minute: i32,
    /// The same text so often within five minutes pauses its contact for ten: that also ends loops between two robots.
    repeats_in_five_minutes: i32,
    /// Texts to the whole project in one minute of the clock.
    texts_per_project_per_minute: i32,
}

/// Changes to the guards.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct GuardChanges {
    /// 0 to 1000.
    #[oai(validator(maximum(value = "1000"), minimum(value = "0")))]
    texts_per_contact_per_minute: Option<i32>,
    /// 0, or 2 to 100.
    #[oai(validator(maximum(value = "100"), minimum(value = "0")))]
    repeats_in_five_minutes: Option<i32>,
    /// 0 to 1000000.
    #[oai(validator(maximum(value = "1000000"), minimum(value = "0")))]
    texts_per_project_per_minute: Option<i32>,
}

/// When no warning and no scheduled text leaves, by the contact's own clock. They may span midnight.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct QuietHours {
    /// `HH:MM`
    from: String,
    /// `HH:MM`
    until: String,
}

/// A project with its settings.
#[derive(Object)]
struct Project {
    id: Uuid,
    name: String,
    guards: Guards,
    /// How many messages may be planned to one contact in an hour; 0 is off.
    outbound_per_contact_per_hour: i32,
    /// The same in 24 hours.
    outbound_per_contact_per_day: i32,
    /// How many messages of the whole project may be planned in a minute; 0 is off.
    outbound_per_project_per_minute: i32,
    /// The same in 24 hours.
    outbound_per_project_per_day: i32,
    /// Where the project sends (ISO 3166-1 alpha-2; `001`: numbers that belong to no country, such as +882). Null: the countries of its
    /// numbers, and wherever a contact is who wrote first. A list of your own holds for answers too.
    allowed_countries: Option<Vec<String>>,
    /// What somebody gets who texts HELP or INFO. Null: nothing of ours; the carrier answers by itself.
    help_message: Option<String>,
    /// Which number sends when nothing else says so.
    default_number: Option<String>,
    /// Null: texts leave at any hour.
    quiet_hours: Option<QuietHours>,
    created_at: DateTime<Utc>,
}

/// Changes to a project. What is left out stays; null clears.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct ProjectChanges {
    #[oai(validator(min_length = 1, max_length = 100))]
    name: Option<String>,
    guards: Option<GuardChanges>,
    /// How many messages may be planned to one contact in an hour; 0 is off. 0 to 100000.
    #[oai(validator(maximum(value = "100000"), minimum(value = "0")))]
    outbound_per_contact_per_hour: Option<i32>,
    /// The same in 24 hours. 0 to 100000.
    #[oai(validator(maximum(value = "100000"), minimum(value = "0")))]
    outbound_per_contact_per_day: Option<i32>,
    /// How many messages of the whole project may be planned in a minute; 0 is off. 0 to 10000000.
    #[oai(validator(maximum(value = "10000000"), minimum(value = "0")))]
    outbound_per_project_per_minute: Option<i32>,
    /// The same in 24 hours. 0 to 1000000000.
    #[oai(validator(maximum(value = "1000000000"), minimum(value = "0")))]
    outbound_per_project_per_day: Option<i32>,
    /// Up to 300 countries; null: those of the project's numbers.
    #[oai(validator(min_items = 1, max_items = 300))]
    allowed_countries: MaybeUndefined<Vec<String>>,
    #[oai(validator(min_length = 1, max_length = 1600))]
    help_message: MaybeUndefined<String>,
    /// A number of the project's.
    default_number: MaybeUndefined<String>,
    quiet_hours: MaybeUndefined<QuietHours>,
}

#[OpenApi(tag = "Group::Project")]
impl Api {
    /// Read the project and its settings
    #[oai(path = "/project", method = "get", operation_id = "get_project")]
    async fn get(&self, door: Data<&ApiState>, caller: Caller) -> Result<Json<Project>, Problem> {
        Ok(Json(project::settings(&mut *door.storage.connection().await?, caller.reader()).await?.into()))
    }

    /// Change the project and its settings
    #[oai(path = "/project", method = "patch", operation_id = "change_project")]
    async fn change(
        &self,
        door: Data<&ApiState>,
        caller: Caller,
        body: Json<ProjectChanges>,
    ) -> Result<Json<Project>, Problem> {
        let project_id = caller.writer()?;
        let asked = body.0;
        if let MaybeUndefined::Value(default) = &asked.default_number
            && number::find_by_number(&mut *door.storage.connection().await?, project_id, default).await?.is_none()
        {
            return Err(Problem::invalid("number_not_ours", format!("{default:?} is not a number of this project")));
        }
        let mut changes = Map::new();
        let mut change = |name: &str, value: Value| changes.insert(name.to_owned(), value);
        if let Some(name) = asked.name {
            change("name", name.into());
        }
        if let Some(guards) = asked.guards {
            for (name, value) in [
                ("texts_per_contact_per_minute", guards.texts_per_contact_per_minute),
                ("repeats_in_five_minutes", guards.repeats_in_five_minutes),
                ("texts_per_project_per_minute", guards.texts_per_project_per_minute),
            ] {
                if let Some(value) = value {
                    change(name, value.into());
                }
            }
        }
        for (name, value) in [
            ("outbound_per_contact_per_hour", asked.outbound_per_contact_per_hour),
            ("outbound_per_contact_per_day", asked.outbound_per_contact_per_day),
            ("outbound_per_project_per_minute", asked.outbound_per_project_per_minute),
            ("outbound_per_project_per_day", asked.outbound_per_project_per_day),
        ] {
            if let Some(value) = value {
                change(name, value.into());
            }
        }
        match asked.allowed_countries {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => _ = change("allowed_countries", Value::Null),
            MaybeUndefined::Value(countries) => {
                for iso2 in countries.iter().filter(|iso2| *iso2 != phone_number::INTERNATIONAL) {
                    if country::find(&mut *door.storage.connection().await?, project_id, iso2).await?.is_none() {
                        return Err(Problem::invalid(
                            "country_unknown",
                            format!(
                                "{iso2:?} is no country; write its ISO 3166-1 alpha-2 code, such as US (GET /v1/countries)"
                            ),
                        ));
                    }
                }
                change("allowed_countries", countries.into());
            }
        }
        for (name, value) in [("help_message", asked.help_message), ("default_number", asked.default_number)] {
            match value {
                MaybeUndefined::Undefined => {}
                MaybeUndefined::Null => _ = change(name, Value::Null),
                MaybeUndefined::Value(text) => _ = change(name, text.into()),
            }
        }
        match asked.quiet_hours {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => {
                change("quiet_from", Value::Null);
                change("quiet_until", Value::Null);
            }
            MaybeUndefined::Value(QuietHours { from, until }) => {
                change("quiet_from", of_the_clock(&from)?.into());
                change("quiet_until", of_the_clock(&until)?.into());
            }
        }
        Ok(Json(project::change(&mut *door.storage.connection().await?, project_id, &changes).await?.into()))
    }
}

/// A time of the day, as it was given.
fn of_the_clock(text: &str) -> Result<String, Problem> {
    let time = NaiveTime::parse_from_str(text, "%H:%M");
    time.map(|time| time.format("%H:%M").to_string())
        .map_err(|_| Problem::invalid("time_invalid", format!("{text:?} is no time of the day such as 21:00")))
}

impl From<project::Settings> for Project {
    fn from(settings: project::Settings) -> Self {
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
            default_number: settings.default_number,
            quiet_hours: settings
                .quiet_from
                .zip(settings.quiet_until)
                .map(|(from, until)| QuietHours { from: clock(from), until: clock(until) }),
            created_at: settings.created_at,
        }
    }
}
