//! Renders the pages of the console.

use maud::{DOCTYPE, Markup, html};
use serde_json::json;
use twilio_simulator::PhoneText;

use crate::domain::session::SessionStatus;
use crate::storage::message::Message;
use crate::storage::session::Session;

/// The page: a phone on the left, the sessions on the right.
pub fn console(numbers: &[String]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "textback console" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/console/style.css";
                script src="/console/htmx.js" defer {}
            }
            body {
                header {
                    h1 { "textback" }
                    p { "A simulated phone on the left. It texts through the same signed webhook as a real one." }
                    nav { a href="/docs/" { "API" } }
                }
                main {
                    section.phone aria-labelledby="phone-title" {
                        h2 #phone-title { "Phone" }
                        div.who {
                            label { "I am" input form="compose" name="phone" value="+14155550101" pattern=r"\+[0-9]{7,15}" required; }
                            label { "texting"
                                select form="compose" name="number" { @for number in numbers { option { (number) } } }
                            }
                        }
                        div #screen role="log" aria-live="polite" aria-label="Texts" tabindex="0"
                            hx-get="/console/texts" hx-include=".who, #screen" hx-trigger="load, every 1s"
                            "hx-on:htmx:after:swap"="this.scrollTop = this.scrollHeight" {}
                        form #compose hx-post="/console/texts" hx-target="#screen" "hx-on:htmx:after:request"="this.body.value = ''; this.body.focus()" {
                            label.hidden for="body" { "Text" }
                            textarea #body name="body" rows="2" maxlength="1600" placeholder="Type a text"
                                onkeydown="if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); this.form.requestSubmit() }" {}
                            button { "Send" }
                        }
                    }
                    section.storage aria-labelledby="sessions-title" {
                        h2 #sessions-title { "Sessions" }
                        div #sessions hx-get="/console/sessions" hx-include="#sessions" hx-trigger="load, every 1s" {}
                    }
                }
            }
        }
    }
}

/// The texts on a phone's screen.
pub fn screen(texts: &[PhoneText], trouble: Option<&str>) -> Markup {
    html! {
        @if texts.is_empty() { p.empty { "No texts yet. Say hello." } }
        @for text in texts {
            div.bubble.mine[text.mine] {
                span.hidden { @if text.mine { "You: " } @else { "They: " } }
                span.body { (text.body) }
                small { (text.at.format("%H:%M:%S")) " " (text.status) }
            }
        }
        @if let Some(trouble) = trouble { p.trouble role="alert" { "Your text did not get through: " (trouble) } }
    }
}

/// The newest sessions, and the messages of the newest one.
pub fn sessions(sessions: &[Session], newest: Option<&Session>, messages: &[Message]) -> Markup {
    html! {
        table {
            thead { tr { th { "Contact" } th { "Number" } th { "Status" } th { "Agent" } th { "Last message" } } }
            tbody {
                @for session in sessions {
                    tr {
                        td { (session.contact) } td { (session.number.as_deref().unwrap_or_default()) }
                        td.short { (session.status) @if let Some(reason) = &session.close_reason { " (" (reason) ")" } }
                        td { "version " (session.agent_version) }
                        td.short { (session.last_message_at.format("%F %H:%M:%S")) }
                    }
                }
                @if sessions.is_empty() { tr { td colspan="5" { "No session yet." } } }
            }
        }
        @if let Some(session) = newest {
            h3 { "The newest" }
            @if let Some(state) = &session.state { p { "State: " code { (state) } } }
            @if session.status != SessionStatus::Closed { (clock(session)) }
            table {
                thead { tr { th { "At" } th { "Kind" } th { "Text" } th { "Status" } } }
                tbody {
                    @for message in messages {
                        tr {
                            td.short { (message.created_at.format("%H:%M:%S%.3f")) }
                            td { (message.direction) " " (message.kind) }
                            td { (message.body) }
                            td.short { (message.status) @if let Some(reason) = &message.reason { " (" (reason) ")" } }
                        }
                    }
                }
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
                    (Some(warning), Some(end)) => {
                        "Without another message: warning at " (warning.format("%F %H:%M:%S")) ", end at " (end.format("%F %H:%M:%S")) "."
                    }
                    (None, Some(end)) => { "Warned. End at " (end.format("%F %H:%M:%S")) ", unless a message comes." }
                    _ => { "The contact has not texted yet, so the inactivity timeout is not running." }
                }
            }
            @for (seconds, label) in [(24 * 3600, "Advance 24 hours"), (600, "Advance 10 minutes")] {
                button type="button" hx-post="/console/advance-clock" hx-target="#sessions" title="Advances the clock of this session only"
                    hx-vals=(json!({"contact": session.contact, "number": session.number, "seconds": seconds})) { (label) }
                " "
            }
        }
    }
}

/// An error in place of a page.
pub fn trouble(what: &str) -> Markup {
    html! { p.trouble role="alert" { (what) } }
}

/// A part of a page with its fingerprint, which the next request sends back.
pub fn with_fingerprint(part: &Markup, fingerprint: &str) -> Markup {
    html! { (part) input type="hidden" name="seen" value=(fingerprint); }
}
