//! Consent keywords, and the append-only record of opt-outs and opt-ins.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::consent::{ConsentKind, ConsentSource};
use crate::storage::new_id;
use crate::storage::pagination::{Page, rows_to_read};

/// Twilio's default words (<https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>; REVOKE and OPTOUT since
/// 29 April 2025, <https://www.twilio.com/docs/api/errors/30004>). The carrier acts on them whatever we do, so our
/// record has to follow.
const STOP: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START: [&str; 2] = ["START", "UNSTOP"];
const HELP: [&str; 2] = ["HELP", "INFO"];

/// A text that is not for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// No more texts.
    Stop,
    /// Texts again.
    Start,
    /// What is this?
    Help,
    /// Texts again, to somebody who has opted out; to everybody else an ordinary answer.
    Yes,
}

impl Keyword {
    /// The word of this keyword.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Help => "help",
            Self::Yes => "yes",
        }
    }

    /// The keyword that a text is: exactly one word, its case and the blanks around it ignored, and one trailing mark.
    pub fn of(body: &str) -> Option<Self> {
        let word = body.trim();
        let word = word.strip_suffix(['.', '!', '?', ',', ';']).unwrap_or(word).trim_end();
        // No keyword is longer; nothing else need be put into capitals.
        if word.len() > 11 {
            return None;
        }
        let word = word.to_ascii_uppercase();
        let word = word.as_str();
        if STOP.contains(&word) {
            Some(Self::Stop)
        } else if START.contains(&word) {
            Some(Self::Start)
        } else if HELP.contains(&word) {
            Some(Self::Help)
        } else {
            (word == "YES").then_some(Self::Yes)
        }
    }
}

/// A record of what a contact said about messages.
#[derive(Debug, Clone)]
pub struct Consent {
    pub id: Uuid,
    /// Our number.
    pub number: String,
    pub contact: String,
    pub kind: ConsentKind,
    pub source: ConsentSource,
    /// What the contact texted, or the operator's note.
    pub said: Option<String>,
    pub message_id: Option<Uuid>,
    pub recorded_at: DateTime<Utc>,
}

/// Which records to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub number: Option<String>,
    pub contact: Option<String>,
}

/// What an operator records.
#[derive(Debug, Clone)]
pub struct NewConsent {
    pub project_id: Uuid,
    pub number_id: Uuid,
    pub contact: String,
    pub kind: ConsentKind,
    pub note: Option<String>,
}

/// The records of a project, newest first, before the one that the cursor names.
pub async fn list(
    connection: &mut PgConnection,
    project_id: Uuid,
    filter: &Filter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Page<Consent>, sqlx::Error> {
    let rows = sqlx::query_file_as!(
        Consent,
        "sql/queries/consent/list.sql",
        project_id,
        filter.number.as_deref(),
        filter.contact.as_deref(),
        before,
        rows_to_read(limit),
    )
    .fetch_all(connection)
    .await?;
    Ok(Page::of(rows, limit, |consent: &Consent| consent.id.to_string()))
}

/// Records for an operator what a contact wants of a number. An opt-out cancels planned messages and ends the session.
pub async fn record(connection: &mut PgConnection, consent: &NewConsent) -> Result<Consent, sqlx::Error> {
    let id = new_id();
    sqlx::query_file!(
        "sql/queries/consent/record.sql",
        id,
        consent.project_id,
        consent.number_id,
        consent.contact,
        consent.kind.as_str(),
        consent.note.as_deref(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_file_as!(Consent, "sql/queries/consent/find.sql", consent.project_id, id).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_word_in_any_case_with_blanks_around_it_and_one_mark_behind_it_is_a_keyword() {
        for (body, keyword) in [
            ("STOP", Keyword::Stop),
            ("  stop\n", Keyword::Stop),
            ("Unsubscribe!", Keyword::Stop),
            ("quit ;", Keyword::Stop),
            ("optout", Keyword::Stop),
            ("start", Keyword::Start),
            ("UnStop.", Keyword::Start),
            ("yes", Keyword::Yes),
            ("Info?", Keyword::Help),
        ] {
            assert_eq!(Keyword::of(body), Some(keyword), "{body:?}");
        }
    }

    #[test]
    fn a_sentence_is_no_keyword_however_it_begins() {
        for body in [
            "",
            " ",
            "!",
            "stop please",
            "please stop",
            "stop!!",
            "stop.!",
            "st op",
            "ЅTOP",
            "stopp",
            "yes sir",
            "non-stop",
            "#stop",
        ] {
            assert_eq!(Keyword::of(body), None, "{body:?}");
        }
    }

    /// The rule once more, written as a set of all texts that match, and not as steps.
    fn by_enumeration(body: &str) -> bool {
        let all = STOP.iter().chain(&START).chain(&HELP).chain(&["YES"]);
        let bare = body.trim().to_ascii_uppercase();
        all.flat_map(|word| {
            let marks = ["", ".", "!", "?", ",", ";"];
            marks.map(|mark| (word.to_string(), mark))
        })
        .any(|(word, mark)| {
            bare == format!("{word}{mark}")
                || (!mark.is_empty()
                    && bare
                        .strip_suffix(mark)
                        .is_some_and(|rest| rest.starts_with(&word) && rest[word.len()..].trim().is_empty()))
        })
    }

    proptest! {
        #[test]
        fn the_rule_is_the_rule_whatever_is_texted(
            body in "[ \t]{0,2}(stop|STOPALL|unsubscribe|Cancel|end|quit|revoke|optout|start|unstop|help|info|yes|no|maybe|STOP please)[ ]{0,2}[.!?,;x]{0,2}[ \n]{0,2}"
        ) {
            prop_assert_eq!(Keyword::of(&body).is_some(), by_enumeration(&body));
        }

        #[test]
        fn nothing_that_is_texted_takes_us_down(body: String) {
            let _ = Keyword::of(&body);
        }
    }
}
