//! The load generator: contacts that post signed webhooks over plain sockets, and a carrier that
//! accepts every message.
//!
//! Both use a minimal HTTP/1.1, with a Content-Length on connections that stay open, so that they
//! are never the limit. Each text contains its number (`t42`), and the reply that begins with the
//! same number stops its clock.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use textback::carriers::twilio::form::Form;
use textback::carriers::twilio::signature;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::http::read;

pub const ACCOUNT_SID: &str = "AC00000000000000000000000000000000";
pub const AUTH_TOKEN: &str = "bench-token";
pub const NUMBER: &str = "+14155550199";
/// How many contacts text. The bound has the same number of contacts.
pub const CONTACTS: u64 = 20_000;

/// How many texts there were in all runs.
static TEXTED: AtomicU64 = AtomicU64::new(0);

/// How many texts there were. Contacts text in turn, so each has texted once after `CONTACTS`
/// texts.
pub fn texted() -> u64 {
    TEXTED.load(Ordering::Relaxed)
}

/// When each text of a run was due, acknowledged and answered, in microseconds of the run; 0: not
/// yet.
pub struct Clocks {
    began: Instant,
    due: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
    answered: Vec<AtomicU64>,
    answers: AtomicUsize,
    /// Second replies to one text.
    pub doubled: AtomicUsize,
    /// Texts that may be in flight at a time; each reply releases the next one.
    in_flight: Semaphore,
}

impl Clocks {
    fn of(texts: usize, in_flight: usize) -> Self {
        let clocks = || (0..texts).map(|_| AtomicU64::new(0)).collect();
        Self {
            began: Instant::now(),
            due: clocks(),
            acknowledged: clocks(),
            answered: clocks(),
            answers: AtomicUsize::new(0),
            doubled: AtomicUsize::new(0),
            in_flight: Semaphore::new(in_flight),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    fn answer(&self, text: usize) {
        let Some(answered) = self.answered.get(text) else { return };
        if answered.swap(self.now(), Ordering::Relaxed) == 0 {
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.in_flight.add_permits(1);
        } else {
            self.doubled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many texts have their answer.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    fn since_due(&self, clocks: &[AtomicU64]) -> Vec<f64> {
        let took = |(due, at): (&AtomicU64, &AtomicU64)| {
            let (due, at) = (due.load(Ordering::Relaxed), at.load(Ordering::Relaxed));
            (at != 0).then(|| at.saturating_sub(due) as f64 / 1e3)
        };
        self.due.iter().zip(clocks).filter_map(took).collect()
    }

    /// Milliseconds from when a text was due to its acknowledgement.
    pub fn acknowledgements(&self) -> Vec<f64> {
        self.since_due(&self.acknowledged)
    }

    /// Milliseconds from when a text was due to the carrier's acceptance of its answer.
    pub fn replies(&self) -> Vec<f64> {
        self.since_due(&self.answered)
    }

    /// When the texts were due that were acknowledged last of all, in seconds, and the milliseconds
    /// that took.
    pub fn slowest(&self) -> Vec<(f64, f64)> {
        let took = |(due, at): (&AtomicU64, &AtomicU64)| {
            let (due, at) = (due.load(Ordering::Relaxed), at.load(Ordering::Relaxed));
            (at != 0).then(|| (due as f64 / 1e6, at.saturating_sub(due) as f64 / 1e3))
        };
        let mut all: Vec<(f64, f64)> = self.due.iter().zip(&self.acknowledged).filter_map(took).collect();
        all.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        all.truncate(60);
        all
    }

    /// How many of a kind happened a second between two seconds of the run.
    pub fn rate(&self, acknowledged: bool, from: f64, until: f64) -> f64 {
        let clocks = if acknowledged { &self.acknowledged } else { &self.answered };
        let seconds = |clock: &AtomicU64| clock.load(Ordering::Relaxed) as f64 / 1e6;
        let within = clocks.iter().map(seconds).filter(|at| *at > from && *at <= until).count();
        within as f64 / (until - from)
    }
}

/// The clocks of the run that the carrier serves now.
pub type Current = Arc<Mutex<Arc<Clocks>>>;

/// The clocks before the first run.
pub fn nothing() -> Current {
    Arc::new(Mutex::new(Arc::new(Clocks::of(0, 0))))
}

/// The webhook that texts are posted to.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub path: String,
    /// The address that is signed over.
    pub url: String,
}

/// The pace of the texts.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// A fixed rate, whether or not earlier texts are answered (an open loop).
    Rate(u64),
    /// A fixed number in flight: the next text is sent when one is answered by the agent (a closed
    /// loop).
    Window(usize),
    /// One text per connection: the next is sent when it is acknowledged (a closed loop).
    Acknowledged,
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "{rate}/s"),
            Self::Window(_) | Self::Acknowledged => f.write_str("saturated"),
        }
    }
}

/// Posts texts for some seconds, and waits until all are acknowledged.
pub async fn text(target: &Target, current: &Current, pace: Pace, seconds: f64, connections: usize) -> Arc<Clocks> {
    let most = match pace {
        Pace::Rate(rate) => (rate as f64 * seconds) as usize,
        // More than any disk here could take.
        Pace::Window(_) | Pace::Acknowledged => (seconds * 100_000.0) as usize,
    };
    let in_flight = if let Pace::Window(window) = pace { window } else { 0 };
    // The connections are open before the first text.
    let opened = futures::future::join_all((0..connections).map(|_| Connection::open(target.address))).await;
    let clocks = Arc::new(Clocks::of(most, in_flight));
    *current.lock().expect("not poisoned") = clocks.clone();
    let next = Arc::new(AtomicUsize::new(0));
    let posting: Vec<_> = opened
        .into_iter()
        .map(|connection| {
            tokio::spawn(post_texts(connection, target.clone(), clocks.clone(), next.clone(), most, pace, seconds))
        })
        .collect();
    for connection in posting {
        connection.await.expect("a connection");
    }
    clocks
}

async fn post_texts(
    mut connection: Connection,
    target: Target,
    clocks: Arc<Clocks>,
    next: Arc<AtomicUsize>,
    most: usize,
    pace: Pace,
    seconds: f64,
) {
    let token = SecretString::from(AUTH_TOKEN.to_owned());
    let run = uuid::Uuid::now_v7().simple().to_string();
    loop {
        if let Pace::Window(_) = pace {
            clocks.in_flight.acquire().await.expect("open").forget();
        }
        let text = next.fetch_add(1, Ordering::Relaxed);
        let over = !matches!(pace, Pace::Rate(_)) && clocks.began.elapsed().as_secs_f64() > seconds;
        if text >= most || over {
            // This releases the other connections, which then end too.
            clocks.in_flight.add_permits(1);
            return;
        }
        let due = match pace {
            Pace::Rate(rate) => {
                let due = text as f64 / rate as f64;
                tokio::time::sleep_until((clocks.began + Duration::from_secs_f64(due)).into()).await;
                (due * 1e6) as u64
            }
            Pace::Window(_) | Pace::Acknowledged => clocks.now(),
        };
        clocks.due[text].store(due, Ordering::Relaxed);
        let from = format!("+1212{:07}", TEXTED.fetch_add(1, Ordering::Relaxed) % CONTACTS * 7919 % CONTACTS);
        let sid = format!("SM{}{text:08}", &run[8..]);
        let body = format!("t{text} hello from the bench");
        let pairs = [
            ("MessageSid", sid.as_str()),
            ("AccountSid", ACCOUNT_SID),
            ("From", &from),
            ("To", NUMBER),
            ("Body", &body),
            ("NumMedia", "0"),
        ];
        let form = Form::of(pairs);
        let signature = signature::sign(&token, &target.url, &form);
        let form = form.encode();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/x-www-form-urlencoded\r\nX-Twilio-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{form}",
            target.path,
            form.len()
        );
        let status = connection.request(request.as_bytes()).await;
        assert!((200..300).contains(&status), "a text was answered with {status}");
        clocks.acknowledged[text].store(clocks.now(), Ordering::Relaxed);
    }
}

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Sends a request and returns the status of the response.
    pub async fn request(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.expect("it is sent");
        let (head, _) = read(&mut self.stream, &mut self.buffer).await.expect("an answer");
        head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

/// Starts a carrier that accepts every message and stops its clock. It answers other requests as
/// attaching a number needs.
pub async fn carrier(current: Current) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, current.clone()));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, current: Current) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    let sids = uuid::Uuid::now_v7().simple().to_string();
    let mut accepted = 0_u64;
    while let Some((head, body)) = read(&mut stream, &mut buffer).await {
        let (status, answer) =
            if head.starts_with("POST ") && head.lines().next().is_some_and(|line| line.contains("/Messages")) {
                if let Some(text) = message_number(&body) {
                    let clocks = current.lock().expect("not poisoned").clone();
                    clocks.answer(text);
                }
                accepted += 1;
                ("201 Created", format!("{{\"sid\":\"SM{}{accepted:012}\",\"status\":\"queued\"}}", &sids[12..]))
            } else if head.starts_with("GET ") && head.contains("/IncomingPhoneNumbers.json") {
                ("200 OK", format!("{{\"incoming_phone_numbers\":[{}]}}", number()))
            } else if head.contains("/v1/Services") {
                ("200 OK", "{\"services\":[],\"meta\":{}}".to_owned())
            } else {
                ("200 OK", number())
            };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn number() -> String {
    format!("{{\"sid\":\"PN1\",\"phone_number\":\"{NUMBER}\",\"capabilities\":{{\"sms\":true}}}}")
}

/// The number in the body of a message.
fn message_number(form: &[u8]) -> Option<usize> {
    let body = form.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"Body="))?;
    let digits = body.strip_prefix(b"t")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}
