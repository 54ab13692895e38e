//! The load generator: posts signed webhooks with the retries of a carrier, and measures the
//! latency of each message.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use textback::carriers::twilio::form::Form;
use textback::carriers::twilio::signature;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::carrier::Carrier;
use crate::http::read;

/// How long the carrier waits for the answer of a webhook.
const CARRIER_WAITS: Duration = Duration::from_secs(15);
/// A message that has no answer by then counts as not answered.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// The way of messages to one number. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    url: String,
    account_sid: String,
    token: SecretString,
    number: String,
    origin: IpAddr,
    idle: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub fn to(address: SocketAddr, url: &str, account_sid: &str, token: &str, number: &str, origin: IpAddr) -> Self {
        Self(Arc::new(Inner {
            address,
            url: url.to_owned(),
            account_sid: account_sid.to_owned(),
            token: SecretString::from(token.to_owned()),
            number: number.to_owned(),
            origin,
            idle: Mutex::default(),
        }))
    }

    /// Posts a message once; the status, or nothing when no answer came in time.
    pub async fn post(&self, contact: &str, sid: &str, body: &str) -> Option<u16> {
        tokio::time::timeout(CARRIER_WAITS, self.post_without_timeout(contact, sid, body)).await.ok().flatten()
    }

    /// Posts a message with an id of its own.
    pub async fn text(&self, contact: &str, body: &str) -> Option<u16> {
        self.post(contact, &new_sid(), body).await
    }

    async fn post_without_timeout(&self, contact: &str, sid: &str, body: &str) -> Option<u16> {
        let inner = &self.0;
        let pairs = [
            ("MessageSid", sid),
            ("AccountSid", &inner.account_sid),
            ("From", contact),
            ("To", &inner.number),
            ("Body", body),
            ("NumMedia", "0"),
        ];
        let form = Form::of(pairs);
        let signature = signature::sign(&inner.token, &inner.url, &form);
        let form = form.encode();
        let path = inner.url.splitn(4, '/').nth(3).unwrap_or_default();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nX-Twilio-Signature: {signature}\r\nContent-Length: {}\r\n\r\n{form}",
            inner.address,
            form.len()
        );
        let kept = inner.idle.lock().expect("not poisoned").pop();
        if let Some(stream) = kept
            && let Some(status) = self.request(stream, &request).await
        {
            return Some(status);
        }
        // A connection that was kept may have been closed meanwhile: a new one is tried.
        self.request(connect(inner.address, inner.origin).await?, &request).await
    }

    async fn request(&self, mut stream: TcpStream, request: &str) -> Option<u16> {
        stream.write_all(request.as_bytes()).await.ok()?;
        let (head, _) = read(&mut stream, &mut Vec::with_capacity(1024)).await?;
        let status = head.get(9..12)?.parse().ok()?;
        if !head.to_ascii_lowercase().contains("connection: close") {
            self.0.idle.lock().expect("not poisoned").push(stream);
        }
        Some(status)
    }
}

/// An id as the carrier gives them.
pub fn new_sid() -> String {
    format!("SM{}", uuid::Uuid::now_v7().simple())
}

/// A connection from an address of this machine.
pub async fn connect(address: SocketAddr, origin: IpAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(origin, 0)).ok()?;
    let stream = socket.connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// What the good tenant's webhooks were answered.
#[derive(Default)]
pub struct Answers {
    pub accepted: AtomicUsize,
    pub unavailable: AtomicUsize,
    pub other: AtomicUsize,
    /// No answer within the carrier's time.
    pub none: AtomicUsize,
}

/// What the good tenant got.
pub struct Outcome {
    pub messages: usize,
    /// Milliseconds from when a message was due to its acknowledgement; infinite where there was
    /// none.
    pub acknowledged: Vec<f64>,
    /// Milliseconds from when a message was due to the carrier's acceptance of its reply; infinite
    /// where there was none in time.
    pub replied: Vec<f64>,
    pub doubled: usize,
    pub answers: Arc<Answers>,
    /// The slowest answer of a webhook, whatever it was.
    pub slowest_webhook: Duration,
}

impl Outcome {
    pub fn answered(&self) -> usize {
        self.replied.iter().filter(|took| took.is_finite()).count()
    }
}

/// The marker that identifies a message of the measured tenant in its reply.
fn marker_of(run: &str, message: usize) -> String {
    format!("{run}-{message}.")
}

/// A contact of the good tenant. Each texts once a run, so that no two of its messages share a
/// turn.
pub fn contact_of(message: usize) -> String {
    format!("+1212{:07}", 2_000_000 + message)
}

/// Texts at a steady rate (an open loop), and waits until everything is answered, or for thirty
/// seconds more.
pub async fn load(line: &Line, carrier: &Carrier, run: &str, rate: f64, seconds: f64, replies: bool) -> Outcome {
    let messages = (rate * seconds) as usize;
    let began = Instant::now();
    let answers = Arc::new(Answers::default());
    let slowest = Arc::new(Mutex::new(Duration::ZERO));
    let mut posting = Vec::with_capacity(messages);
    for message in 0..messages {
        let due = began + Duration::from_secs_f64(message as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let (line, answers, slowest, word) = (line.clone(), answers.clone(), slowest.clone(), marker_of(run, message));
        posting.push(tokio::spawn(async move {
            post_until_accepted(&line, &contact_of(message), &word, due, &answers, &slowest).await
        }));
    }
    let last = Instant::now();
    let reply_to = |message: usize| carrier.reply_to(&marker_of(run, message));
    while replies && last.elapsed() < ANSWERED_WITHIN && !(0..messages).all(|message| reply_to(message).is_some()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut acknowledged = Vec::with_capacity(messages);
    for task in posting {
        acknowledged.push(task.await.ok().flatten().map_or(f64::INFINITY, milliseconds));
    }
    let replied = (0..messages).map(|message| {
        let due = began + Duration::from_secs_f64(message as f64 / rate);
        let took = reply_to(message).map(|(at, _)| at.saturating_duration_since(due));
        took.filter(|took| *took <= ANSWERED_WITHIN).map_or(f64::INFINITY, milliseconds)
    });
    let replied = if replies { replied.collect() } else { Vec::new() };
    let doubled = (0..messages).filter(|message| reply_to(*message).is_some_and(|(_, times)| times > 1)).count();
    let slowest_webhook = *slowest.lock().expect("not poisoned");
    Outcome { messages, acknowledged, replied, doubled, answers, slowest_webhook }
}

/// Posts a message, and again a second after each failure, until it is accepted or thirty seconds
/// are over.
async fn post_until_accepted(
    line: &Line,
    contact: &str,
    body: &str,
    due: Instant,
    answers: &Answers,
    slowest: &Mutex<Duration>,
) -> Option<Duration> {
    let sid = new_sid();
    loop {
        let started = Instant::now();
        let status = line.post(contact, &sid, body).await;
        {
            let mut slowest = slowest.lock().expect("not poisoned");
            *slowest = (*slowest).max(started.elapsed());
        }
        let counter = match status {
            Some(200..300) => &answers.accepted,
            Some(503) => &answers.unavailable,
            Some(_) => &answers.other,
            None => &answers.none,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if matches!(status, Some(200..300)) {
            return Some(due.elapsed());
        }
        if due.elapsed() > ANSWERED_WITHIN {
            return None;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Each contact of the good tenant has its session before anything is measured.
pub async fn warm_up(line: &Line, carrier: &Carrier, run: &str, contacts: usize) {
    let until = Instant::now() + Duration::from_secs(60);
    let asking = (0..contacts).map(|contact| async move {
        let status = line.text(&contact_of(contact), &marker_of(run, contact)).await;
        assert_eq!(status, Some(200), "a message of the warm-up is accepted");
    });
    futures::StreamExt::collect::<Vec<_>>(futures::StreamExt::buffer_unordered(futures::stream::iter(asking), 16))
        .await;
    while !(0..contacts).all(|contact| carrier.reply_to(&marker_of(run, contact)).is_some()) {
        assert!(Instant::now() < until, "the warm-up was not answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
