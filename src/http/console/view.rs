//! Reads what a page of the console shows: a phone with its texts, a session with its messages, and
//! the sessions.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use poem::Request;
use twilio_simulator::PhoneText;
use uuid::Uuid;

use super::ConsoleState;
use super::words::{self, StatusText, Tone};
use crate::domain::message::{Direction, MessageStatus};
use crate::domain::phone_number::is_e164;
use crate::http::problem::Problem;
use crate::http::query::{self, ReadBy};
use crate::storage::console::{self, ConsoleMessage, Of};
use crate::storage::session::{self, Filter, Session};

/// The phone that is shown when none is asked for.
const FIRST_PHONE: &str = "+14155550101";
/// How many sessions, messages of a session and texts of a phone are shown: the latest.
pub const SESSIONS: u32 = 50;
pub const MESSAGES: u32 = 200;

/// The query of a page. No value in it is checked yet.
#[derive(Debug, Clone, Default)]
pub struct PageQuery {
    phone: Option<String>,
    number: Option<String>,
    session: Option<String>,
}

impl PageQuery {
    /// Reads the query of a request. Errors when a parameter is unknown, repeated or unreadable.
    pub fn read(request: &Request) -> Result<Self, Problem> {
        let mut query = Self::default();
        let given = request.uri().query().unwrap_or_default();
        query::read(given, &["phone", "number", "session"], ReadBy::Page, |name, value, _| {
            let field = match name {
                "phone" => &mut query.phone,
                "number" => &mut query.number,
                _ => &mut query.session,
            };
            *field = Some(value.to_owned());
            Ok(())
        })?;
        Ok(query)
    }
}

/// What a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The phone of the person at the page.
    pub phone: String,
    /// The number that the phone texts.
    pub number: String,
    /// The session that was opened. Without one the phone's own is shown.
    pub session: Option<String>,
}

impl View {
    /// What a query says, and for the rest the first phone and the first number.
    pub fn of(query: PageQuery, numbers: &[String]) -> Self {
        let given = |text: Option<String>| {
            text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\0'))
        };
        Self {
            phone: given(query.phone).unwrap_or_else(|| FIRST_PHONE.to_owned()),
            number: given(query.number).or_else(|| numbers.first().cloned()).unwrap_or_default(),
            session: given(query.session),
        }
    }

    /// The view of a phone and of its own session.
    pub fn of_pair(phone: &str, number: &str) -> Self {
        Self { phone: phone.to_owned(), number: number.to_owned(), session: None }
    }

    /// The same phone with this session.
    pub fn with_session(&self, id: Uuid) -> Self {
        Self { session: Some(id.to_string()), ..self.clone() }
    }

    /// The address of this view's page.
    pub fn link(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut link = format!("/console?phone={}&number={}", encoded(&self.phone), encoded(&self.number));
        if let Some(session) = &self.session {
            link.push_str("&session=");
            link.push_str(&encoded(session));
        }
        link
    }

    /// Why this phone can't text this number, if so.
    pub fn trouble(&self, numbers: &[String]) -> Option<String> {
        if !is_e164(&self.phone) {
            return Some(format!("{:?} is no phone number; write it like {FIRST_PHONE}", self.phone));
        }
        let known = numbers.contains(&self.number);
        (!known)
            .then(|| format!("the simulated carrier has no number {:?}; it has {}", self.number, numbers.join(", ")))
    }
}

/// Everything that a page shows.
#[derive(Debug)]
pub struct Shown {
    pub view: View,
    pub numbers: Vec<String>,
    pub texts: Vec<ShownText>,
    /// The latest sessions of all contacts, newest first.
    pub sessions: Vec<Session>,
    /// Whether there are older ones.
    pub has_older_sessions: bool,
    /// The newest session of the phone with the number.
    pub own_session: Option<Uuid>,
    /// The session that is open on the page.
    pub session: Option<Session>,
    /// Its latest messages, oldest first.
    pub messages: Vec<ConsoleMessage>,
}

impl Shown {
    /// A page without anything from the database.
    pub fn nothing(view: View, numbers: Vec<String>) -> Self {
        Self {
            view,
            numbers,
            texts: Vec::new(),
            sessions: Vec::new(),
            has_older_sessions: false,
            own_session: None,
            session: None,
            messages: Vec::new(),
        }
    }
}

/// Reads what a view shows.
pub async fn load(state: &ConsoleState, view: &View) -> Result<Shown, sqlx::Error> {
    let mut connection = state.storage.connection().await?;
    let project_id = state.project_id;
    let sessions = session::list(&mut connection, project_id, &Filter::default(), None, SESSIONS).await?;
    let of_pair = Filter { number: Some(view.number.clone()), contact: Some(view.phone.clone()), status: None };
    let own = session::list(&mut connection, project_id, &of_pair, None, 1).await?.items;
    let own_session = own.first().map(|session| session.id);
    let chosen = match &view.session {
        Some(id) => id.parse().ok(),
        None => own_session,
    };
    let session = match chosen {
        Some(id) => session::find(&mut connection, project_id, id).await?,
        None => None,
    };
    let messages = match &session {
        Some(session) => console::messages(&mut connection, project_id, Of::Session(session.id), MESSAGES).await?,
        None => Vec::new(),
    };
    let pair = Of::Pair { number: &view.number, contact: &view.phone };
    let stored = console::messages(&mut connection, project_id, pair, MESSAGES).await?;
    Ok(Shown {
        texts: merge(texts_of(state, view), &stored),
        view: view.clone(),
        numbers: state.simulator.phone_numbers(),
        has_older_sessions: sessions.next_cursor.is_some(),
        sessions: sessions.items,
        own_session,
        session,
        messages,
    })
}

/// The texts between a phone and a number that the simulated carrier knows.
pub fn texts_of(state: &ConsoleState, view: &View) -> Vec<PhoneText> {
    let mut texts = state.simulator.screen(&view.phone);
    texts.retain(|text| text.peer == view.number);
    texts
}

/// A text of the phone, with how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownText {
    /// The same for the same text, whatever happens to it.
    pub key: String,
    /// Whether the phone sent it.
    pub mine: bool,
    /// Whether the phone has it. One that failed before is shown all the same.
    pub on_phone: bool,
    pub body: String,
    pub attachments: usize,
    pub at: DateTime<Utc>,
    pub status: StatusText,
    pub paused_until: Option<DateTime<Utc>>,
}

/// The texts of a phone in their order: those that the carrier knows, and the messages that it
/// never got or has forgotten, each after the message before it.
fn merge(texts: Vec<PhoneText>, messages: &[ConsoleMessage]) -> Vec<ShownText> {
    let known: HashSet<&str> = texts.iter().map(|text| text.sid.as_str()).collect();
    let stored: HashMap<&str, &ConsoleMessage> =
        messages.iter().filter_map(|message| Some((message.carrier_id.as_deref()?, message))).collect();
    // The messages that the carrier does not know, by the text that they follow. Their times can't
    // order them, because somebody may have advanced the clock of their session.
    let mut following: HashMap<Option<&str>, Vec<&ConsoleMessage>> = HashMap::new();
    let mut before = None;
    for message in messages {
        match message.carrier_id.as_deref().filter(|id| known.contains(id)) {
            Some(id) => before = Some(id),
            None => following.entry(before).or_default().push(message),
        }
    }
    let mut shown: Vec<ShownText> =
        following.get(&None).into_iter().flatten().map(|message| unknown(message)).collect();
    let mut keys = HashSet::new();
    for text in &texts {
        // A text that is delivered to us again has the same id.
        if keys.insert(text.sid.as_str()) {
            shown.push(known_text(text, stored.get(text.sid.as_str()).copied()));
            shown.extend(following.get(&Some(text.sid.as_str())).into_iter().flatten().map(|message| unknown(message)));
        }
    }
    shown
}

fn known_text(text: &PhoneText, message: Option<&ConsoleMessage>) -> ShownText {
    let without_us = if text.mine { "With the carrier" } else { "On the phone" };
    ShownText {
        key: text.sid.clone(),
        mine: text.mine,
        on_phone: true,
        body: text.body.clone(),
        attachments: message.map_or(0, attachments),
        at: text.at,
        status: match message {
            Some(message) => words::of_message(message),
            None => StatusText { tone: Tone::Neutral, text: without_us.to_owned() },
        },
        paused_until: message.and_then(pause_of),
    }
}

fn unknown(message: &ConsoleMessage) -> ShownText {
    let mine = message.direction == Direction::Inbound;
    ShownText {
        key: message.carrier_id.clone().unwrap_or_else(|| message.id.to_string()),
        mine,
        on_phone: mine || matches!(message.status, MessageStatus::Sent | MessageStatus::Delivered),
        body: message.body.clone(),
        attachments: attachments(message),
        at: message.created_at,
        status: words::of_message(message),
        paused_until: pause_of(message),
    }
}

pub fn attachments(message: &ConsoleMessage) -> usize {
    message.media.as_ref().map_or(0, |media| media.0.len())
}

/// Until when the contact is paused, for a message that got no answer.
pub fn pause_of(message: &ConsoleMessage) -> Option<DateTime<Utc>> {
    message.paused_until.filter(|_| message.status == MessageStatus::Held)
}

#[cfg(test)]
mod tests {
    use sqlx::types::Json;
    use twilio_simulator::MessageStatus as CarrierStatus;

    use super::*;
    use crate::domain::message::{MessageKind, SkipReason};

    fn text(sid: &str, mine: bool) -> PhoneText {
        PhoneText {
            sid: sid.to_owned(),
            mine,
            peer: "+14155550199".to_owned(),
            body: format!("text {sid}"),
            service_sid: None,
            status: if mine { CarrierStatus::Received } else { CarrierStatus::Delivered },
            at: Utc::now(),
        }
    }

    fn message(carrier_id: Option<&str>, direction: Direction, status: MessageStatus) -> ConsoleMessage {
        ConsoleMessage {
            id: Uuid::now_v7(),
            session_id: Uuid::nil(),
            direction,
            kind: MessageKind::Text,
            body: "stored".to_owned(),
            segments: Some(1),
            media: Some(Json(Vec::new())),
            status,
            skip_reason: (status == MessageStatus::Held).then_some(SkipReason::Paused),
            carrier_id: carrier_id.map(str::to_owned),
            error_code: None,
            error_class: None,
            error_detail: None,
            waits_for_registration: false,
            paused_until: Some(Utc::now()),
            created_at: Utc::now(),
        }
    }

    #[test]
    fn the_phone_shows_what_the_carrier_knows_and_what_it_never_got_in_order() {
        use Direction::{Inbound, Outbound};
        let messages = [
            message(Some("forgotten"), Inbound, MessageStatus::Handled),
            message(Some("a"), Inbound, MessageStatus::Handled),
            message(None, Outbound, MessageStatus::Failed),
            message(Some("b"), Outbound, MessageStatus::Delivered),
            message(Some("c"), Inbound, MessageStatus::Held),
        ];
        let texts = vec![text("a", true), text("b", false), text("c", true), text("new", true), text("a", true)];
        let shown = merge(texts, &messages);
        let bodies: Vec<(&str, bool, &str)> =
            shown.iter().map(|text| (text.body.as_str(), text.on_phone, text.status.text.as_str())).collect();
        assert_eq!(
            bodies,
            [
                ("stored", true, "Handled"),
                ("text a", true, "Handled"),
                ("stored", false, "Failed"),
                ("text b", true, "Delivered"),
                ("text c", true, "Not answered: the contact is paused, because its messages looked like a loop"),
                ("text new", true, "With the carrier"),
            ]
        );
        let paused: Vec<bool> = shown.iter().map(|text| text.paused_until.is_some()).collect();
        assert_eq!(paused, [false, false, false, false, true, false]);
        let keys: HashSet<&str> = shown.iter().map(|text| text.key.as_str()).collect();
        assert_eq!(keys.len(), shown.len(), "each has a key of its own");
    }

    #[test]
    fn an_address_asks_for_a_view_and_a_view_has_its_address() {
        let numbers = ["+14155550199".to_owned()];
        let first = View::of(PageQuery::default(), &numbers);
        assert_eq!(first.link(), "/console?phone=%2B14155550101&number=%2B14155550199");
        assert!(first.trouble(&numbers).is_none());
        let query = |phone: &str, number: &str| {
            let query = PageQuery {
                phone: Some(phone.to_owned()),
                number: Some(number.to_owned()),
                session: Some(" ".to_owned()),
            };
            View::of(query, &numbers)
        };
        assert_eq!(query(" +4915112345678 ", "").phone, "+4915112345678");
        assert_eq!(query("", "").session, None);
        for (phone, number) in
            [("../numbers", "+14155550199"), ("+1", "+14155550199"), ("\"><script>", ""), ("+14155550101", "+1999")]
        {
            assert!(query(phone, number).trouble(&numbers).is_some(), "{phone} {number}");
        }
        let hostile = query("+1&number=2#\"'<>", "+14155550199").link();
        assert!(!hostile.contains(['"', '\'', '<', '>', '#']) && hostile.matches('&').count() == 1, "{hostile}");
    }
}
