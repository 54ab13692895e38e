//! A simulated phone that texts a number and waits for the answers.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use twilio_simulator::{NewText, Remote};
use url::Url;

use crate::dev::running::RunningDev;
use crate::domain::keyword::Keyword;
use crate::http::console::guard::is_local;

/// How often the phone's screen is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Without the API of a textback dev, the answer is over when nothing came for so long after a
/// text. The texts of one answer come within a few milliseconds, and a simulated delivery takes 300
/// ms.
const QUIET: Duration = Duration::from_millis(1500);

/// How the wait for the answer to a text ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// All texts of the answer are on the screen.
    Answered,
    /// Nothing was said, and why.
    Silent(String),
    /// There is no answer, and why.
    NotAnswered(String),
}

/// What happened since the phone was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A text came from the number.
    Text(String),
    /// The wait for the answer to the oldest text ended.
    Ended(Fate),
}

/// A text whose answer is waited for.
struct Waiting {
    sid: String,
    since: Instant,
    /// Whether a text came since.
    answered: bool,
}

/// A phone and the number that it texts.
pub struct Conversation {
    remote: Remote,
    dev: Option<DevApi>,
    phone: String,
    number: String,
    within: Duration,
    seen: HashSet<String>,
    waiting: VecDeque<Waiting>,
    last_text: Instant,
}

impl Conversation {
    /// Begins with what is on the screen already, which is no answer. An answer is waited for at
    /// most `within`.
    pub async fn begin(
        remote: Remote,
        dev: Option<DevApi>,
        (phone, number): (String, String),
        within: Duration,
    ) -> Result<Self, String> {
        let seen = remote.screen(&phone).await.map_err(super::explain)?.into_iter().map(|text| text.sid).collect();
        let (waiting, last_text) = (VecDeque::new(), Instant::now());
        Ok(Self { remote, dev, phone, number, within, seen, waiting, last_text })
    }

    /// Texts the number.
    pub async fn text(&mut self, body: String, media_urls: Vec<String>, sid: Option<String>) -> Result<(), String> {
        let text = NewText { from: self.phone.clone(), to: self.number.clone(), body, media_urls, sid };
        let texted = self.remote.text(&text).await.map_err(super::explain)?;
        if let Some(error) = texted.error {
            return Err(format!("the text was not taken: {error}"));
        }
        self.waiting.push_back(Waiting { sid: texted.sid, since: Instant::now(), answered: false });
        Ok(())
    }

    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Looks at the phone once.
    pub async fn look(&mut self) -> Result<Vec<Event>, String> {
        // Asked before the screen is read, so that all texts that the API knows of are on the
        // screen.
        let told = match (&self.dev, self.waiting.front()) {
            (Some(dev), Some(waiting)) => dev.fate(&self.number, &self.phone, &waiting.sid).await,
            _ => None,
        };
        let mut events = Vec::new();
        for text in self.remote.screen(&self.phone).await.map_err(super::explain)? {
            if !text.mine && text.peer == self.number && self.seen.insert(text.sid) {
                events.push(Event::Text(text.body));
                self.last_text = Instant::now();
                self.waiting.iter_mut().for_each(|waiting| waiting.answered = true);
            }
        }
        let Some(waiting) = self.waiting.front() else { return Ok(events) };
        let is_quiet = self.dev.is_none() && waiting.answered && self.last_text.elapsed() > QUIET;
        let fate = match told {
            Some(fate) => Some(fate),
            None if is_quiet => Some(Fate::Answered),
            None if waiting.since.elapsed() > self.within => Some(Fate::NotAnswered(format!(
                "no answer came within {} seconds; the last_error of its agent (GET /v1/agents/{{id}}), textback doctor and the log say what may be wrong",
                self.within.as_secs()
            ))),
            None => None,
        };
        if let Some(fate) = fate {
            self.waiting.pop_front();
            events.push(Event::Ended(fate));
        }
        Ok(events)
    }
}

/// The API of the `textback dev` whose simulator is used. It tells what became of a text.
pub struct DevApi {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl DevApi {
    /// The API of the `textback dev` that runs with a data folder, if its simulator is the one at
    /// `simulator`.
    pub fn find(data_dir: &Path, simulator: &Url) -> Option<Self> {
        let running = RunningDev::find(data_dir)?;
        if !is_same(&running.carrier.parse().ok()?, simulator) {
            return None;
        }
        let key = std::fs::read_to_string(data_dir.join("api.key")).ok()?.trim().to_owned();
        Some(Self { http: reqwest::Client::new(), base: running.api, key })
    }

    /// What became of a text, by the carrier's id of it. `None`: it is not decided yet, or the API
    /// does not tell.
    async fn fate(&self, number: &str, contact: &str, sid: &str) -> Option<Fate> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("number", number).append_pair("contact", contact).append_pair("limit", SESSIONS);
        let sessions = self.get(&format!("/v1/sessions?{}", query.finish())).await?;
        // Another session may have begun after the text came, so it need not be in the newest.
        for session in sessions.get("items")?.as_array()? {
            let messages = self.messages(session.get("id")?.as_str()?).await?;
            if let Some(position) = position(&messages, sid) {
                return fate(&messages, position);
            }
        }
        None
    }

    /// The messages of a session, oldest first.
    async fn messages(&self, session: &str) -> Option<Vec<Value>> {
        let first = format!("/v1/sessions/{session}/messages?limit=200");
        let (mut messages, mut path) = (Vec::new(), first.clone());
        loop {
            let mut page = self.get(&path).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                messages.extend(items);
            }
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => path = format!("{first}&cursor={next}"),
                None => return Some(messages),
            }
        }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }
}

/// How many of the phone's latest sessions with the number are looked at.
const SESSIONS: &str = "5";

/// Whether two URLs lead to the same simulator.
fn is_same(one: &Url, other: &Url) -> bool {
    let is_same_host = one.host() == other.host() || is_local(one) && is_local(other);
    is_same_host && one.port_or_known_default() == other.port_or_known_default()
}

fn of<'a>(message: &'a Value, name: &str) -> &'a str {
    message.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Where a text is among the messages of a session.
fn position(messages: &[Value], sid: &str) -> Option<usize> {
    messages.iter().position(|message| of(message, "carrier_id") == sid && of(message, "direction") == "inbound")
}

/// What became of a text, by the messages of its session, oldest first.
fn fate(messages: &[Value], position: usize) -> Option<Fate> {
    let (text, after) = (messages.get(position)?, messages.get(position + 1..)?);
    let status = of(text, "status");
    match status {
        "handled" => {}
        "held" | "skipped" => {
            let reason = of(text, "reason");
            let more =
                if reason == "agent_failed" { "; GET /v1/agents/{id} has the last_error of its agent" } else { "" };
            return Some(Fate::NotAnswered(format!("the text is {status}: {reason}{more}")));
        }
        _ => return None,
    }
    let answers: Vec<&Value> = after.iter().filter(|message| of(message, "direction") == "outbound").collect();
    let is_under_way = |status: &str| matches!(status, "planned" | "sending" | "accepted" | "unknown" | "scheduled");
    if answers.iter().any(|answer| is_under_way(of(answer, "status"))) {
        return None;
    }
    let stopped = answers.iter().find(|answer| !matches!(of(answer, "status"), "sent" | "delivered"));
    Some(match stopped {
        Some(answer) => Fate::NotAnswered(format!("the answer is {}: {}", of(answer, "status"), of(answer, "reason"))),
        None if answers.is_empty() => Fate::Silent(why_silent(text).to_owned()),
        None => Fate::Answered,
    })
}

/// Why nothing was said to a text that was handled.
fn why_silent(text: &Value) -> &'static str {
    if of(text, "kind") != "keyword" {
        return "the agent had nothing to say";
    }
    match Keyword::of(of(text, "body")) {
        Some(Keyword::Stop) => "the contact opted out; the carrier confirms that, and textback says nothing",
        Some(Keyword::Start | Keyword::Yes) => {
            "the contact opted in; the carrier confirms that, and textback says nothing"
        }
        Some(Keyword::Help) | None => "the text is a consent keyword, which the carrier answers; textback says nothing",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_messages_of_a_session_tell_what_became_of_a_text() {
        let inbound =
            |status: &str| json!({"direction": "inbound", "carrier_id": "SM1", "status": status, "reason": "repeats"});
        let outbound =
            |status: &str| json!({"direction": "outbound", "carrier_id": "SM2", "status": status, "reason": "30007"});
        let silent = |why: &str| Some(Fate::Silent(why.to_owned()));
        let keyword = |body: &str| json!({"direction": "inbound", "carrier_id": "SM1", "status": "handled", "kind": "keyword", "body": body});
        let failed =
            json!({"direction": "inbound", "carrier_id": "SM1", "status": "skipped", "reason": "agent_failed"});
        let not = |why: &str| Some(Fate::NotAnswered(why.to_owned()));
        for (messages, expected) in [
            (vec![], None),
            (vec![outbound("sent")], None),
            (vec![inbound("waiting")], None),
            (vec![inbound("held")], not("the text is held: repeats")),
            (vec![inbound("skipped")], not("the text is skipped: repeats")),
            (vec![inbound("handled")], silent("the agent had nothing to say")),
            (vec![outbound("planned"), inbound("handled")], silent("the agent had nothing to say")),
            (
                vec![keyword("Stop")],
                silent("the contact opted out; the carrier confirms that, and textback says nothing"),
            ),
            (
                vec![failed],
                not("the text is skipped: agent_failed; GET /v1/agents/{id} has the last_error of its agent"),
            ),
            (vec![inbound("handled"), outbound("planned")], None),
            (vec![inbound("handled"), outbound("sent"), outbound("accepted")], None),
            (vec![inbound("handled"), outbound("sent"), outbound("delivered")], Some(Fate::Answered)),
            (vec![inbound("handled"), outbound("failed")], not("the answer is failed: 30007")),
            (
                vec![inbound("handled"), outbound("sent"), outbound("suppressed")],
                not("the answer is suppressed: 30007"),
            ),
        ] {
            let found = position(&messages, "SM1").and_then(|position| fate(&messages, position));
            assert_eq!(found, expected, "{messages:?}");
        }
    }

    #[test]
    fn a_simulator_of_this_machine_has_several_names() {
        let url = |text: &str| text.parse::<Url>().expect("a URL");
        for (one, other, same) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/", true),
            ("http://127.0.0.1:8081", "http://localhost:8081", true),
            ("http://127.0.0.1:8081", "http://[::1]:8081", true),
            ("http://127.0.0.1:8081", "http://127.0.0.1:8082", false),
            ("http://127.0.0.1:8081", "http://simulator.example:8081", false),
            ("http://192.168.1.5:8081", "http://192.168.1.5:8081", true),
        ] {
            assert_eq!(is_same(&url(one), &url(other)), same, "{one} {other}");
        }
    }
}
