//! Lists as they are answered: items, a cursor for the next page, and how both are asked for; it knows no noun.

use std::str::FromStr;

use poem_openapi::Object;
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};

use crate::http::problem::Problem;
use crate::storage::pagination::{self, Page};

/// A page of a list.
#[derive(Object)]
pub struct List<T: Type + ParseFromJSON + ToJSON> {
    pub items: Vec<T>,
    /// Give it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T: Type + ParseFromJSON + ToJSON> List<T> {
    /// A page of rows as a page of answers.
    pub fn of<R: Into<T>>(page: Page<R>) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next_cursor: page.next_cursor }
    }
}

/// The limit that was asked for, or the usual one.
pub fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(pagination::DEFAULT_LIMIT);
    if (1..=pagination::HIGHEST_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid(
            "limit_out_of_range",
            format!("limit is {limit}; give 1 to {}", pagination::HIGHEST_LIMIT),
        ))
    }
}

/// The position that was asked for.
pub fn cursor<P: FromStr>(asked: Option<String>) -> Result<Option<P>, Problem> {
    match asked.filter(|cursor| !cursor.is_empty()) {
        None => Ok(None),
        Some(cursor) => pagination::read_cursor(&cursor).map(Some).ok_or_else(|| {
            Problem::invalid("cursor_invalid", "this cursor is not one of this list; begin without a cursor")
        }),
    }
}
