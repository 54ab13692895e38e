//! Sends the changes of a page as server-sent events.
//!
//! The first event has every part of the page, later ones the parts that changed, so a page that
//! connects again misses nothing. A change wakes the stream: one of the simulated carrier at once,
//! one of the database within [`CHECK`].
//!
//! docs/decisions/036-console.md has the reasons.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, StreamExt};
use maud::Markup;
use poem::web::sse::Event;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use twilio_simulator::PhoneText;

use super::view::{self, Shown, View};
use super::{ConsoleState, DATABASE_TROUBLE, pages, read_within_limit};
use crate::secret::sha256;
use crate::storage::console;

/// How often the database is asked whether anything was written. The question costs it some 50 µs.
const CHECK: Duration = Duration::from_millis(100);
/// The shortest time between two checks.
const PAUSE: Duration = Duration::from_millis(20);
/// After which time without a change the page is told that the server is there. The script of the
/// page takes the server for gone after 12 s without an event.
const ALIVE: Duration = Duration::from_secs(4);
/// How long a stream lasts. The listener ends a response after 60 s, and the page connects again.
const LASTS: Duration = Duration::from_secs(45);

/// The parts of a page that change: the ids of their elements, and how they are rendered.
type Part = (&'static str, fn(&Shown) -> Markup);
const PARTS: [Part; 3] = [("texts", pages::texts), ("session", pages::session), ("sessions", pages::sessions)];

/// The events of a view, until the stream is old or the process stops.
pub fn events(state: ConsoleState, view: View) -> impl Stream<Item = Event> {
    let changes = Changes {
        state,
        view,
        ends: Instant::now() + LASTS,
        last_event: Instant::now(),
        snapshot: None,
        texts: Vec::new(),
        fingerprints: [None; PARTS.len()],
        is_in_trouble: false,
    };
    let events = futures::stream::unfold(changes, async |mut changes: Changes| {
        let event = changes.next().await?;
        Some((event, changes))
    });
    events.boxed()
}

/// What a page was sent.
struct Changes {
    state: ConsoleState,
    view: View,
    ends: Instant,
    last_event: Instant,
    /// The database's snapshot that the page shows.
    snapshot: Option<String>,
    /// The carrier's texts that the page shows.
    texts: Vec<PhoneText>,
    /// The fingerprints of the parts that the page shows.
    fingerprints: [Option<[u8; 32]>; PARTS.len()],
    is_in_trouble: bool,
}

impl Changes {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.state.draining.load(Ordering::Relaxed) || Instant::now() >= self.ends {
                return None;
            }
            let event = match read_within_limit(self.check()).await {
                Ok(changed) if changed.is_empty() => None,
                Ok(changed) => {
                    self.is_in_trouble = false;
                    Some(Event::message(Value::Object(changed).to_string()).event_type("parts"))
                }
                Err(error) => self.trouble(&error),
            };
            let is_quiet = self.last_event.elapsed() >= ALIVE;
            if let Some(event) = event.or_else(|| is_quiet.then(|| Event::message("{}").event_type("alive"))) {
                self.last_event = Instant::now();
                return Some(event);
            }
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                () = self.state.simulator.until_change() => {}
                () = tokio::time::sleep(CHECK) => {}
            }
        }
    }

    /// The parts that differ from what the page shows. Reads only the snapshot if nothing was
    /// written.
    async fn check(&mut self) -> Result<Map<String, Value>, sqlx::Error> {
        // Before anything is read: what is written while we read is read again.
        let snapshot = {
            let mut connection = self.state.storage.connection().await?;
            console::snapshot(&mut connection).await?
        };
        let texts = view::texts_of(&self.state, &self.view);
        let mut changed = Map::new();
        if self.snapshot.as_ref() == Some(&snapshot) && self.texts == texts {
            return Ok(changed);
        }
        let shown = view::load(&self.state, &self.view).await?;
        for ((id, render), fingerprint) in PARTS.iter().zip(&mut self.fingerprints) {
            let part = render(&shown).into_string();
            let new = Some(sha256(part.as_bytes()));
            if *fingerprint != new {
                *fingerprint = new;
                changed.insert((*id).to_owned(), Value::String(part));
            }
        }
        self.snapshot = Some(snapshot);
        self.texts = texts;
        Ok(changed)
    }

    /// Tells the page once that the database does not answer. What it shows is then sent whole.
    fn trouble(&mut self, error: &sqlx::Error) -> Option<Event> {
        if self.is_in_trouble {
            return None;
        }
        tracing::warn!(%error, "the console could not read sessions");
        self.is_in_trouble = true;
        self.snapshot = None;
        self.fingerprints = [None; PARTS.len()];
        Some(Event::message(json!({"detail": DATABASE_TROUBLE}).to_string()).event_type("trouble"))
    }
}
