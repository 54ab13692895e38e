//! `/v1/templates`: named texts with variables, for messages and scripts.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::auth::Caller;
use super::lists::{self, List};
use super::visible::visible;
use super::{ApiState, Group};
use crate::agents::template::is_name;
use crate::domain::bounds;
use crate::http::problem::Problem;
use crate::storage::template;

/// `/v1/templates`
pub struct Api;

/// A template to be stored.
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct NewTemplate {
    /// 1 to 500 characters, with `{{variables}}` in the syntax of Jinja. A message is refused if
    /// its variables lack one of them, or have another one.
    #[oai(validator(min_length = 1, max_length = 500))]
    body: String,
}

/// A text with variables.
#[derive(Object)]
struct Template {
    name: String,
    body: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(ApiResponse)]
enum TemplateDeleted {
    /// The template was removed
    #[oai(status = 204)]
    Deleted,
}

#[OpenApi(tag = "Group::Templates")]
impl Api {
    /// Create or replace a template
    #[oai(path = "/templates/:name", method = "put", operation_id = "put_template")]
    async fn put(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        /// Letters, digits, `_`, `.` and `-`, up to 100 of them.
        name: Path<String>,
        body: Json<NewTemplate>,
    ) -> Result<Json<Template>, Problem> {
        let project_id = caller.writer()?;
        named(&name)?;
        visible("body", Some(&body.body), "write a text")?;
        let checked = state.agent_runtime.runners.check_template(project_id, &body.body).await;
        checked.map_err(|error| {
            Problem::of_template("template_has_faults", error.map(|what| format!("the template is not valid: {what}")))
        })?;
        Ok(Json(template::put(&mut *state.storage.connection().await?, project_id, &name, &body.body).await?.into()))
    }

    /// List templates by their names
    #[oai(path = "/templates", method = "get", operation_id = "list_templates")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        cursor: Query<Option<String>>,
        limit: Query<Option<u32>>,
    ) -> Result<Json<List<Template>>, Problem> {
        let (cursor, limit) = (List::<Template>::cursor(cursor.0)?, lists::limit(limit.0)?);
        Ok(Json(List::of(
            template::list(&mut *state.storage.connection().await?, caller.reader(), cursor, limit).await?,
        )))
    }

    /// Read a template
    #[oai(path = "/templates/:name", method = "get", operation_id = "get_template")]
    async fn get(&self, state: Data<&ApiState>, caller: Caller, name: Path<String>) -> Result<Json<Template>, Problem> {
        let found = template::find(&mut *state.storage.connection().await?, caller.reader(), &name).await?;
        Ok(Json(found.ok_or_else(|| Problem::not_found("template"))?.into()))
    }

    /// Remove a template
    #[oai(path = "/templates/:name", method = "delete", operation_id = "delete_template")]
    async fn delete(
        &self,
        state: Data<&ApiState>,
        caller: Caller,
        name: Path<String>,
    ) -> Result<TemplateDeleted, Problem> {
        let project_id = caller.writer()?;
        let is_deleted = template::delete(&mut *state.storage.connection().await?, project_id, &name).await?;
        match is_deleted {
            true => Ok(TemplateDeleted::Deleted),
            false => Err(Problem::not_found("template")),
        }
    }
}

/// Refuses a name that the database would refuse, by the name.
fn named(name: &str) -> Result<(), Problem> {
    match is_name(name) {
        true => Ok(()),
        false => Err(Problem::invalid(
            "value_refused",
            format!(
                "the name of a template has 1 to 100 letters, digits, _, . and -, and begins with a letter, a digit or _; it is {:?}",
                bounds::text(name, 80)
            ),
        )),
    }
}

impl From<template::Template> for Template {
    fn from(template: template::Template) -> Self {
        let template::Template { name, body, created_at, updated_at } = template;
        Self { name, body, created_at, updated_at }
    }
}
