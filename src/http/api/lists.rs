//! Pages of lists: their items and the cursor of the next page, in answers and in requests.

use std::str::FromStr;

use poem_openapi::Object;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use uuid::Uuid;

use super::ApiState;
use crate::domain::phone_number;
use crate::http::problem::Problem;
use crate::storage::number;
use crate::storage::pagination::{self, Page};

/// A page of a list.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct List<T: Type + ParseFromJSON + ToJSON> {
    pub items: Vec<T>,
    /// Give it as `cursor` to get the next page. The last page has none.
    pub next_cursor: Option<String>,
}

impl<T: Type + ParseFromJSON + ToJSON> List<T> {
    /// A page of rows as a page of answers.
    pub fn of<R: Into<T>>(page: Page<R>) -> Self {
        let next_cursor = page.next_cursor.map(|cursor| format!("{}.{cursor}", T::name()));
        Self { items: page.items.into_iter().map(Into::into).collect(), next_cursor }
    }

    /// The position that was requested. A cursor names the items of its list, because the positions
    /// of many lists are ids, and that of another list would silently show a part of this one.
    pub fn cursor<P: FromStr>(requested: Option<String>) -> Result<Option<P>, Problem> {
        let Some(cursor) = requested else { return Ok(None) };
        let position = cursor.split_once('.').filter(|(items, _)| **items == *T::name());
        position.and_then(|(_, position)| pagination::read_cursor(position)).map(Some).ok_or_else(|| {
            Problem::invalid(
                "cursor_invalid",
                "cursor must be the next_cursor of a page of this list; leave it out for the first page",
            )
        })
    }
}

/// The limit that was requested, or the default.
pub fn limit(requested: Option<u32>) -> Result<u32, Problem> {
    let limit = requested.unwrap_or(pagination::DEFAULT_LIMIT);
    if (1..=pagination::HIGHEST_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid(
            "limit_out_of_range",
            format!("limit must be 1 to {}, and is {limit}", pagination::HIGHEST_LIMIT),
        ))
    }
}

/// A parameter that filters a list by a number of the project: in E.164 or a short code, and one
/// that the project has or had. Anything else would find nothing, and the caller would not know
/// why.
pub async fn number(state: &ApiState, project_id: Uuid, requested: Option<String>) -> Result<Option<String>, Problem> {
    let Some(number) = requested else { return Ok(None) };
    if !phone_number::is_e164_or_short_code(&number) {
        return Err(Problem::invalid(
            "number_not_e164",
            format!(
                "number must be a number in E.164, such as +14155550101, with the plus as %2B, or a short code, such as 72975; it is {number:?}"
            ),
        ));
    }
    match number::is_of_project(&mut *state.storage.connection().await?, project_id, &number).await? {
        true => Ok(Some(number)),
        false => Err(Problem::invalid(
            "number_not_ours",
            format!(
                "number is {number:?}, which is not a number of this project; list the numbers with GET /v1/numbers"
            ),
        )),
    }
}

/// A parameter that filters a list by a contact. Sessions have contacts that are not in E.164,
/// because carriers pass on what the sender's network says.
pub fn contact(requested: Option<String>) -> Result<Option<String>, Problem> {
    requested.map(|contact| check_contact(contact, ", with the plus as %2B")).transpose()
}

/// A contact, whom messages come from and can go to. `hint`: how its plus is written.
pub fn check_contact(contact: String, hint: &str) -> Result<String, Problem> {
    if phone_number::is_dialable(&contact) {
        return Ok(contact);
    }
    Err(Problem::invalid(
        "contact_not_e164",
        format!(
            "contact must be a number in E.164, such as +14155550101{hint}, or 3 to 15 digits, as its texts come; it is {contact:?}"
        ),
    ))
}
