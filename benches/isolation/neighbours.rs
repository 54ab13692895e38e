//! The noisy neighbours: what the other tenants do while the latency of the measured tenant is
//! timed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::carrier::Carrier;
use crate::harness::{ECHO, Harness, OTHER_ADDRESS, Tenant};
use crate::load_generator::{self, Line};
use crate::{scripts, service};

/// A kind of noisy neighbour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    Alone,
    SlowScripts,
    TwentyAgents,
    TwentyTenants,
    SlowChecks,
    MemoryBombs,
    Services,
    TwentyHangingServices,
    TwentyHangingTenants,
    Poison,
    Templates,
    LongFailures,
    Keyless,
    Scrapers,
    LockedTable,
    Flood,
    Sends,
    LongReply,
}

impl Neighbour {
    pub const ALL: [Self; 18] = [
        Self::Alone,
        Self::SlowScripts,
        Self::TwentyAgents,
        Self::TwentyTenants,
        Self::SlowChecks,
        Self::MemoryBombs,
        Self::Services,
        Self::TwentyHangingServices,
        Self::TwentyHangingTenants,
        Self::Poison,
        Self::Templates,
        Self::LongFailures,
        Self::Keyless,
        Self::Scrapers,
        Self::LockedTable,
        Self::Flood,
        Self::Sends,
        Self::LongReply,
    ];

    /// Its name in TEXTBACK_ISOLATION_ROWS, and its name in the table.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Alone => ("alone", "nothing (alone)"),
            Self::SlowScripts => ("slow", "3 agents × 3 messages of slow operations"),
            Self::TwentyAgents => ("agents", "20 hostile agents of one project"),
            Self::TwentyTenants => ("tenants", "20 hostile agents of 20 projects"),
            Self::SlowChecks => ("checks", "8 clients that save slow scripts"),
            Self::MemoryBombs => ("memory", "4 agents that double a list"),
            Self::Services => ("services", "a service that hangs, one that answers 2 MB"),
            Self::TwentyHangingServices => ("hanging", "20 services of one project that hang"),
            Self::TwentyHangingTenants => ("hangers", "20 services of 20 projects that hang"),
            Self::Poison => ("poison", "a state of 12,000 × 1e99999"),
            Self::Templates => ("templates", "4 clients that send costly templates"),
            Self::LongFailures => ("failures", "failures of 50 MB"),
            Self::Keyless => ("keyless", "1,000 connections without a key, 1 MB each"),
            Self::Scrapers => ("scrapers", "64 scrapers, 300,000 due rows (no workers)"),
            Self::LockedTable => ("lock", "`message` locked for 20 s"),
            Self::Flood => ("flood", "500 contacts who text as fast as they can"),
            Self::Sends => ("sends", "2,000 sends by the API"),
            Self::LongReply => ("reply", "replies of 2 MB"),
        }
    }

    /// How long it runs before the measured tenant texts. A hostile state must be stored first.
    pub fn lead(self) -> Duration {
        Duration::from_secs(if self == Self::Poison { 6 } else { 1 })
    }

    /// Whether there are workers; without them, only acknowledgements are measured.
    pub fn replies(self) -> bool {
        self != Self::Scrapers
    }
}

/// How often something happened, by its name.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<BTreeMap<String, usize>>>);

impl Notes {
    fn add(&self, what: impl Into<String>) {
        *self.0.lock().expect("not poisoned").entry(what.into()).or_default() += 1;
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").iter().map(|(what, count)| format!("{what}: {count}")).collect()
    }
}

/// Running neighbours.
pub struct RunningNeighbours {
    neighbour: Neighbour,
    runtime: Handle,
    tenants: Vec<Tenant>,
    numbers: Vec<String>,
    tasks: Vec<JoinHandle<()>>,
    notes: Notes,
}

impl RunningNeighbours {
    /// Creates the tenants of a kind of neighbour, and starts them on a separate runtime.
    pub async fn begin(neighbour: Neighbour, harness: &Arc<Harness>, runtime: &Handle) -> Self {
        let mut running = Self {
            neighbour,
            runtime: runtime.clone(),
            tenants: Vec::new(),
            numbers: Vec::new(),
            tasks: Vec::new(),
            notes: Notes::default(),
        };
        match neighbour {
            Neighbour::Alone => {}
            Neighbour::SlowScripts => {
                let sources = [scripts::BIG_INTEGERS, scripts::LONG_SEARCHES, scripts::DEEP_COMPARISON];
                let lines = running.agents(harness, &sources, 1).await;
                lines.into_iter().for_each(|line| running.text_repeatedly(line, 3, 3, 0));
            }
            Neighbour::TwentyAgents | Neighbour::TwentyTenants => {
                let kinds =
                    [scripts::LOOP, scripts::MEMORY_BOMB, scripts::SORTING, scripts::TEXT_BOMB, scripts::BIG_INTEGERS];
                let sources: Vec<&str> = kinds.into_iter().cycle().take(20).collect();
                let tenants = if neighbour == Neighbour::TwentyTenants { 20 } else { 1 };
                let lines = running.agents(harness, &sources, tenants).await;
                lines.into_iter().for_each(|line| running.text_repeatedly(line, 3, 40, 1_000));
            }
            Neighbour::SlowChecks => running.save_slow_scripts(harness).await,
            Neighbour::MemoryBombs => {
                let lines = running.agents(harness, &[scripts::MEMORY_BOMB; 4], 1).await;
                lines.into_iter().for_each(|line| running.text_repeatedly(line, 3, 60, 500));
            }
            Neighbour::Services => running.services(harness, &["hang", "big"], 1, (20, 200)).await,
            Neighbour::TwentyHangingServices => running.services(harness, &["hang"; 20], 1, (20, 500)).await,
            Neighbour::TwentyHangingTenants => running.services(harness, &["hang"; 20], 20, (20, 500)).await,
            Neighbour::Poison => running.services(harness, &["poison"], 1, (5, 300)).await,
            Neighbour::Templates => running.send_costly_templates(harness).await,
            Neighbour::LongFailures => {
                let lines = running.agents(harness, &[scripts::LONG_FAILURE], 1).await;
                lines.into_iter().for_each(|line| running.text_repeatedly(line, 3, 60, 500));
            }
            Neighbour::Keyless => running.send_without_a_key(harness),
            Neighbour::Scrapers => running.scrape(harness).await,
            Neighbour::LockedTable => running.lock(harness),
            Neighbour::Flood => {
                let lines = running.agents(harness, &[ECHO], 1).await;
                // 64 at a time, 20,000 in all.
                for _ in 0..64 {
                    lines.iter().for_each(|line| running.text_repeatedly(line.clone(), 500, 20_000 / 64, 0));
                }
            }
            Neighbour::Sends => running.send(harness).await,
            Neighbour::LongReply => {
                let lines = running.agents(harness, &[scripts::LONG_REPLY], 1).await;
                lines.into_iter().for_each(|line| running.text_repeatedly(line, 1, 3, 2_000));
            }
        }
        running
    }

    fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(self.runtime.spawn(task));
    }

    async fn tenant(&mut self, harness: &Harness) -> Tenant {
        let tenant = harness.tenant(self.tenants.len() + 2, OTHER_ADDRESS).await;
        // What is sent is measured with the limits as they are.
        if !matches!(self.neighbour, Neighbour::Sends | Neighbour::LongReply) {
            harness.unlimited(&tenant).await;
        }
        self.tenants.push(tenant.clone());
        tenant
    }

    fn number(&mut self) -> String {
        let number = format!("+1415556{:04}", 1_000 + self.numbers.len());
        self.numbers.push(number.clone());
        number
    }

    /// A number for each script, shared out among so many projects.
    async fn agents(&mut self, harness: &Harness, sources: &[&str], projects: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            if index < projects {
                self.tenant(harness).await;
            }
            let tenant = self.tenants[index % projects].clone();
            let number = self.number();
            lines.push(harness.script(&tenant, &number, &format!("agent {index}"), source).await);
        }
        lines
    }

    /// Texts a number: so many messages from so many contacts, the first one of each at once, then
    /// one every so many milliseconds.
    fn text_repeatedly(&mut self, line: Line, contacts: usize, most: usize, every: u64) {
        // Contacts of one task are no other task's.
        let first = 2_000_000 + self.tasks.len() * 7;
        let notes = self.notes.clone();
        self.run(async move {
            for message in 0..most {
                let contact = format!("+1646{:07}", first + message % contacts);
                let status = line.text(&contact, &format!("go {message}")).await;
                if !matches!(status, Some(200..300)) {
                    notes.add(
                        status.map_or("webhook without an answer".to_owned(), |status| format!("webhook {status}")),
                    );
                }
                if message + 1 >= contacts {
                    tokio::time::sleep(Duration::from_millis(every)).await;
                }
            }
        });
    }

    async fn save_slow_scripts(&mut self, harness: &Arc<Harness>) {
        let tenant = self.tenant(harness).await;
        for client in 0..8 {
            let (harness, tenant, notes) = (harness.clone(), tenant.clone(), self.notes.clone());
            self.run(async move {
                for attempt in 0..100 {
                    let name = format!("slow {client} {attempt}");
                    let agent = json!({"name": name, "kind": "script", "source": scripts::SLOW_TO_READ});
                    note_answer(&notes, harness.try_call(&tenant, Method::POST, "agents", agent).await);
                }
            });
        }
    }

    async fn send_costly_templates(&mut self, harness: &Arc<Harness>) {
        let tenant = self.tenant(harness).await;
        let number = self.number();
        harness.script(&tenant, &number, "sender", ECHO).await;
        // Short enough to be saved, and one step of it takes a second or more.
        let body = json!({"body": "{{ [name] * 20000000 }}"});
        note_answer(&self.notes, harness.try_call(&tenant, Method::PUT, "templates/costly", body).await);
        for client in 0..4 {
            let (harness, tenant, notes, number) =
                (harness.clone(), tenant.clone(), self.notes.clone(), number.clone());
            self.run(async move {
                for attempt in 0..50 {
                    let to = format!("+1646301{:04}", client * 100 + attempt);
                    let send = json!({"to": to, "from": number, "template": "costly", "variables": {"name": "Ada"}});
                    note_answer(&notes, harness.try_call(&tenant, Method::POST, "messages", send).await);
                }
            });
        }
    }

    /// Agents at a service that does what its path says, shared out among so many projects. Each is
    /// texted by so many contacts, once in so many milliseconds.
    async fn services(&mut self, harness: &Harness, paths: &[&str], projects: usize, (contacts, every): (usize, u64)) {
        let address = service::start(&self.runtime).await;
        for (index, path) in paths.iter().enumerate() {
            if index < projects {
                self.tenant(harness).await;
            }
            let tenant = self.tenants[index % projects].clone();
            let url = format!("http://{address}/{path}");
            let name = format!("{path} {index}");
            let agent = json!({"name": name, "kind": "http", "url": url, "first_message": "process"});
            let agent = harness.agent(&tenant, agent).await;
            let number = self.number();
            let line = harness.number(&tenant, &number, &agent).await;
            self.text_repeatedly(line, contacts, 200, every);
        }
    }

    fn send_without_a_key(&mut self, harness: &Harness) {
        let address = harness.address;
        for _ in 0..1_000 {
            let notes = self.notes.clone();
            self.run(async move {
                // Who is refused comes again, five times at most.
                for _ in 0..5 {
                    notes.add("connections begun");
                    notes.add(send_a_megabyte(address).await);
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            });
        }
    }

    async fn scrape(&mut self, harness: &Arc<Harness>) {
        if let Err(error) = make_due_rows(&harness.database_url, 300_000).await {
            self.notes.add(format!("due rows could not be made ({error})"));
        }
        let own = format!("http://{}/metrics", harness.metrics_address);
        let shared = format!("http://{}/metrics", harness.address);
        let has_own = harness.http.get(&own).send().await.is_ok();
        self.notes.add(if has_own { "on a listener of its own" } else { "on the carrier's port" });
        let url = if has_own { own } else { shared };
        for _ in 0..64 {
            let (http, url, notes) = (harness.http.clone(), url.clone(), self.notes.clone());
            self.run(async move {
                for _ in 0..20_000 {
                    match http.get(&url).send().await {
                        Ok(answer) => {
                            notes.add(format!("scrapes answered {}", answer.status().as_u16()));
                            let _ = answer.bytes().await;
                        }
                        Err(_) => notes.add("scrapes without an answer"),
                    }
                }
            });
        }
    }

    fn lock(&mut self, harness: &Harness) {
        let url = harness.database_url.clone();
        self.run(async move {
            // The load begins a second after this.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let mut connection = PgConnection::connect(&url).await.expect("a connection");
            let lock = "begin; lock table textback.message in access exclusive mode; select pg_sleep(20); rollback";
            sqlx::raw_sql(lock).execute(&mut connection).await.expect("locked and let go");
        });
    }

    async fn send(&mut self, harness: &Arc<Harness>) {
        let tenant = self.tenant(harness).await;
        let number = self.number();
        harness.script(&tenant, &number, "echo", ECHO).await;
        for client in 0..16 {
            let (harness, tenant, notes, from) = (harness.clone(), tenant.clone(), self.notes.clone(), number.clone());
            self.run(async move {
                // 16 × 125 messages, ten to each of 200 contacts.
                for message in 0..125 {
                    let contact = format!("+1646{:07}", 2_000_000 + (client * 125 + message) % 200);
                    let body = json!({"to": contact, "from": from, "body": format!("sale {client} {message}")});
                    note_answer(&notes, harness.try_call(&tenant, Method::POST, "messages", body).await);
                }
            });
        }
    }

    /// Waits until what is sent has left: how much that is, is what these rows are for. No longer
    /// than 40 s.
    async fn finish(&self, carrier: &Carrier) {
        if !matches!(self.neighbour, Neighbour::Sends | Neighbour::LongReply) {
            return;
        }
        let until = Instant::now() + Duration::from_secs(40);
        let (mut sent, mut since) = (0, Instant::now());
        while Instant::now() < until {
            let now = self.sent(carrier).0;
            if now != sent || !self.tasks.iter().all(JoinHandle::is_finished) {
                (sent, since) = (now, Instant::now());
            }
            if since.elapsed() > Duration::from_secs(4) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Messages and characters that the carrier took of the other tenants.
    fn sent(&self, carrier: &Carrier) -> (usize, usize) {
        let each = self.numbers.iter().map(|number| carrier.sent_by(number));
        each.fold((0, 0), |(messages, characters), sent| (messages + sent.messages, characters + sent.characters))
    }

    /// Stops all of it.
    pub async fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    /// Stops all of it, and tells what became of the other tenants.
    pub async fn end(mut self, harness: &Harness, carrier: &Carrier) -> String {
        self.finish(carrier).await;
        self.stop().await;
        let mut told = self.notes.lines();
        let projects: Vec<&str> = self.tenants.iter().map(|tenant| tenant.project_id.as_str()).collect();
        if !projects.is_empty() {
            told.extend(
                outcome_of(&harness.database_url, &projects).await.unwrap_or_else(|error| vec![error.to_string()]),
            );
        }
        let (messages, characters) = self.sent(carrier);
        if !self.numbers.is_empty() {
            told.push(format!("{messages} SMS of {characters} characters sent"));
        }
        if told.is_empty() { "–".to_owned() } else { told.join("; ") }
    }
}

fn note_answer(notes: &Notes, answer: Result<(u16, Value), reqwest::Error>) {
    match answer {
        Ok((status, told)) => {
            let code = told["code"].as_str().map(|code| format!(" {code}")).unwrap_or_default();
            notes.add(format!("answers {status}{code}"));
        }
        Err(_) => notes.add("requests without an answer"),
    }
}

/// Posts 1 MB without a key in pieces over ten seconds, and tells how that ended.
async fn send_a_megabyte(address: std::net::SocketAddr) -> &'static str {
    let Some(mut stream) = load_generator::connect(address, OTHER_ADDRESS).await else { return "not let in" };
    let (mut answers, mut requests) = stream.split();
    let sending = async move {
        let head = "POST /v1/agents HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 1000001\r\n\r\n";
        requests.write_all(head.as_bytes()).await?;
        for _ in 0..20 {
            requests.write_all(&[b' '; 50_000]).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // The last byte does not come, so the request stays where it is.
        tokio::time::sleep(Duration::from_secs(600)).await;
        std::io::Result::Ok(())
    };
    let mut first = [0; 12];
    tokio::select! {
        read = answers.read_exact(&mut first) => match read {
            Ok(_) if first.ends_with(b"401") => "refused with 401 before their body was there",
            Ok(_) if first.ends_with(b"503") => "refused with 503 before their body was there",
            Ok(_) if first.ends_with(b"408") => "ended with 408",
            Ok(_) => "answered otherwise before their body was there",
            Err(_) => "closed",
        },
        _ = sending => "closed",
    }
}

/// Rows that are due and that nobody serves. Columns that this bench does not know get a value by
/// their type.
async fn make_due_rows(url: &str, count: usize) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let read = "select column_name::text, data_type::text from information_schema.columns
                 where table_schema = 'textback' and table_name = 'turn' and is_nullable = 'NO' and column_default is null";
    let columns: Vec<(String, String)> = sqlx::query_as(read).fetch_all(&mut connection).await?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let values: Vec<&str> = columns
        .iter()
        .map(|(_, kind)| match kind.as_str() {
            "uuid" => "gen_random_uuid()",
            "timestamp with time zone" => "now()",
            "text" => "''",
            _ => "0",
        })
        .collect();
    let insert = format!(
        "set session_replication_role = replica; insert into textback.turn ({}) select {} from generate_series(1, {count}); analyze textback.turn",
        names.join(", "),
        values.join(", ")
    );
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut connection).await?;
    Ok(())
}

/// What became of the messages to some projects, as the database has it.
async fn outcome_of(url: &str, projects: &[&str]) -> Result<Vec<String>, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let read = "select case when message.skip_reason is not null then 'skipped as ' || message.skip_reason::text
                            when message.seq <= session.handled_seq then 'answered' else 'waiting' end as fate, count(*)
                  from textback.message join textback.session on session.id = message.session_id
                 where message.project_id = any($1::uuid[]) and message.direction = 'inbound' group by 1 order by 1";
    let projects: Vec<String> = projects.iter().map(|id| (*id).to_owned()).collect();
    let fates: Vec<(String, i64)> = sqlx::query_as(read).bind(projects).fetch_all(&mut connection).await?;
    let all: i64 = fates.iter().map(|(_, count)| count).sum();
    let told: Vec<String> = fates.into_iter().map(|(fate, count)| format!("{count} {fate}")).collect();
    Ok(if all == 0 { Vec::new() } else { vec![format!("of {all} messages in {}", told.join(", "))] })
}
