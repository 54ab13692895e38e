//! Renders the page of the console and its parts. The script of the page compares a part with what
//! is shown and changes only what differs, so the focus stays where it is.

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use super::view::{MESSAGES, SESSIONS, Shown, ShownText, View, attachments, pause_of};
use super::words::{self, StatusText, Tone};
use crate::domain::message::Direction;
use crate::domain::session::SessionStatus;
use crate::storage::console::ConsoleMessage;
use crate::storage::session::Session;

/// The most characters of an agent's state that are shown.
const STATE_CHARACTERS: usize = 10_000;
/// The steps by which the clock of a session can be advanced.
const STEPS: [(u32, &str); 2] = [(24 * 3600, "24 hours"), (600, "10 minutes")];

/// The whole page: the phone, its session, and the list of sessions. `trouble` says why a text was
/// not sent.
pub fn console(shown: &Shown, trouble: Option<&str>, database_trouble: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "textback console" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/console/style.css";
                script type="module" src="/console/console.js" {}
            }
            body {
                header {
                    h1 { "textback" }
                    p { "A phone that texts through the same signed webhook as a real one." }
                    nav aria-label="Documentation" { a href="/docs" { "API documentation" } }
                }
                div #connection role="alert" hidden[database_trouble.is_none()] { (database_trouble.unwrap_or_default()) }
                main {
                    section.card.phone aria-labelledby="phone-title" { (phone_card(shown, trouble)) }
                    nav.card.sessions aria-labelledby="sessions-title" {
                        h2 #sessions-title tabindex="-1" { "Sessions" }
                        div #sessions { (sessions(shown)) }
                    }
                    section.card.detail aria-labelledby="session-title" {
                        h2 #session-title tabindex="-1" { "Session" }
                        p #done role="status" {}
                        div #session { (session(shown)) }
                    }
                }
            }
        }
    }
}

/// The phone: who texts whom, the texts, and the field for the next one.
fn phone_card(shown: &Shown, trouble: Option<&str>) -> Markup {
    let view = &shown.view;
    let is_other = !shown.numbers.contains(&view.number);
    html! {
        h2 #phone-title tabindex="-1" { "Phone" }
        form #view method="get" action="/console" {
            label { "This phone"
                input type="tel" name="phone" value=(view.phone) pattern=r"\+[1-9][0-9]{6,14}" required autocomplete="off"
                    title="A plus and 7 to 15 digits, such as +14155550101";
            }
            label { "texts"
                select name="number" {
                    @if is_other { option value=(view.number) selected { (view.number) } }
                    @for number in &shown.numbers { option value=(number) selected[*number == view.number] { (number) } }
                }
            }
            button.quiet.without-script { "Show" }
        }
        div #texts role="log" aria-live="polite" aria-relevant="additions" aria-label="Texts of this phone" tabindex="0" { (texts(shown)) }
        p #trouble role="alert" hidden[trouble.is_none()] { (trouble.unwrap_or_default()) }
        form #compose method="post" action="/console/texts" {
            input type="hidden" name="phone" value=(view.phone);
            input type="hidden" name="number" value=(view.number);
            label.hidden for="body" { "Text" }
            textarea #body name="body" rows="2" maxlength="1600" dir="auto" placeholder="Type a text" required {}
            button { "Send" }
        }
    }
}

/// The texts on the phone.
pub fn texts(shown: &Shown) -> Markup {
    html! {
        @if shown.texts.is_empty() { p.empty { "No texts yet. Say hello." } }
        @else { ol { @for text in &shown.texts { (text_item(text)) } } }
    }
}

fn text_item(text: &ShownText) -> Markup {
    html! {
        li.bubble.mine[text.mine].absent[!text.on_phone] data-key=(text.key) {
            span.hidden { @if text.mine { "You: " } @else if text.on_phone { "They: " } @else { "Not on the phone: " } }
            span.body dir="auto" { (text.body) }
            @if text.attachments > 0 { span.media { (count(text.attachments, "attachment")) } }
            small { (time(text.at)) " · " (status(&text.status)) (pause(text.paused_until)) }
        }
    }
}

/// The session that is open on the page, with its messages.
pub fn session(shown: &Shown) -> Markup {
    let view = &shown.view;
    let own = View::of_pair(&view.phone, &view.number).link();
    let Some(session) = &shown.session else {
        return match &view.session {
            Some(id) => {
                html! { p.empty { "There is no session " code { (id) } ". " a href=(own) data-view { "Show this phone's own session" } } }
            }
            None => {
                html! { p.empty { "This phone has no session with " (view.number) " yet. The first text opens one." } }
            }
        };
    };
    let is_own = shown.own_session == Some(session.id);
    let status = words::of_session(session.status, session.close_reason);
    html! {
        p.pair { bdi { (session.contact) } " with " bdi { (session.number.as_deref().unwrap_or("a removed number")) } " " (badge(&status)) }
        @if !is_own {
            p.notice {
                "This is not the current session of the phone. " a href=(own) data-view { "Show the phone's own" }
                @if let Some(number) = session.number.as_ref().filter(|_| session.contact != view.phone) {
                    " or " a href=(View::of_pair(&session.contact, number).link()) data-view { "take the phone " (session.contact) }
                }
            }
        }
        dl {
            div { dt { "Opened" } dd { (time(session.opened_at)) } }
            div { dt { "Last message" } dd { (time(session.last_message_at)) } }
            @if let Some(at) = session.closed_at { div { dt { "Closed" } dd { (time(at)) } } }
            div { dt { "Agent" } dd { "version " (session.agent_version) } }
        }
        @if session.status != SessionStatus::Closed { (clock(session)) }
        @if let Some(state) = &session.state { (agent_state(state)) }
        h3 { "Messages" }
        @if shown.messages.len() >= MESSAGES as usize { p.empty { "The latest " (MESSAGES) ":" } }
        ol.messages { @for message in &shown.messages { (message_item(message)) } }
    }
}

fn agent_state(state: &serde_json::Value) -> Markup {
    let mut text = serde_json::to_string_pretty(state).unwrap_or_default();
    if let Some((end, _)) = text.char_indices().nth(STATE_CHARACTERS) {
        text.truncate(end);
        text.push('…');
    }
    html! { details { summary { "State of the agent" } pre tabindex="0" { code { (text) } } } }
}

fn message_item(message: &ConsoleMessage) -> Markup {
    let (from, class) = match message.direction {
        Direction::Inbound => ("Contact", "inbound"),
        Direction::Outbound => ("textback", "outbound"),
    };
    html! {
        li.message.{ (class) } data-key=(message.id) {
            p.meta { b { (from) } @if let Some(kind) = words::of_kind(message.kind) { " · " (kind) } " · " (time(message.created_at)) }
            p.body dir="auto" { (message.body) }
            p.meta {
                (status(&words::of_message(message))) (pause(pause_of(message)))
                @if let Some(segments) = message.segments { " · " (count(usize::try_from(segments).unwrap_or_default(), "segment")) }
                @if attachments(message) > 0 { " · " (count(attachments(message), "attachment")) }
            }
        }
    }
}

/// When the inactivity timeout of the session is due, and buttons that advance its clock.
fn clock(session: &Session) -> Markup {
    html! {
        div.clock {
            p {
                @match (session.warning_due_at, session.end_due_at) {
                    (Some(warning), Some(end)) => { "Without another message: warning at " (time(warning)) ", end at " (time(end)) "." }
                    (None, Some(end)) => { "Warned. End at " (time(end)) ", unless a message comes." }
                    _ => { "The contact has not texted yet, so the inactivity timeout is not running." }
                }
            }
            @for (seconds, label) in STEPS {
                form method="post" action="/console/advance-clock" data-done=(format!("The clock of this session is {label} ahead.")) {
                    input type="hidden" name="session" value=(session.id);
                    input type="hidden" name="contact" value=(session.contact);
                    input type="hidden" name="number" value=(session.number.as_deref().unwrap_or_default());
                    input type="hidden" name="seconds" value=(seconds);
                    button.quiet title="Advances the clock of this session only" { "Advance " (label) }
                }
            }
        }
    }
}

/// The sessions of all contacts, each with its link.
pub fn sessions(shown: &Shown) -> Markup {
    let open = shown.session.as_ref().map(|session| session.id);
    html! {
        @if shown.sessions.is_empty() { p.empty { "No session yet." } }
        ul {
            @for session in &shown.sessions {
                li data-key=(session.id) {
                    a href=(shown.view.with_session(session.id).link()) data-view aria-current=[(open == Some(session.id)).then_some("true")] {
                        span.pair { bdi { (session.contact) } @if shown.own_session == Some(session.id) { span.own { "this phone" } } }
                        (badge(&words::of_session(session.status, session.close_reason)))
                        small { (time(session.last_message_at)) }
                    }
                }
            }
        }
        @if shown.has_older_sessions { p.empty { "The latest " (SESSIONS) "." } }
    }
}

fn badge(status: &StatusText) -> Markup {
    html! { span.badge.{ (status.tone.class()) } { (status.text) } }
}

fn status(status: &StatusText) -> Markup {
    let mark = match status.tone {
        Tone::Neutral => None,
        Tone::Good => Some("✓ "),
        Tone::Attention | Tone::Bad => Some("⚠ "),
    };
    html! { span.status.{ (status.tone.class()) } { @if let Some(mark) = mark { span aria-hidden="true" { (mark) } } (status.text) } }
}

fn pause(until: Option<DateTime<Utc>>) -> Markup {
    html! { @if let Some(until) = until { span.pause { "; paused until " (time(until)) } } }
}

/// A time. The script of the page writes it in the reader's zone.
fn time(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)) { (at.format("%F %H:%M:%S UTC")) } }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
