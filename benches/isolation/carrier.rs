//! A carrier on loopback for many tenants: it accepts every message, and records what each sender
//! sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use textback::carriers::twilio::form::Form;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::http::read;

/// What one number sent.
#[derive(Default, Clone)]
pub struct Sent {
    pub messages: usize,
    pub characters: usize,
}

#[derive(Default)]
struct Record {
    sent: HashMap<String, Sent>,
    /// When the words of the good tenant's replies came first, and how often each came.
    words: HashMap<String, (Instant, usize)>,
}

/// The carrier. Cheap to clone; all clones share what was recorded.
#[derive(Clone)]
pub struct Carrier {
    pub address: SocketAddr,
    /// The number whose replies are read word by word.
    read_closely: Arc<str>,
    record: Arc<Mutex<Record>>,
}

static SIDS: AtomicU64 = AtomicU64::new(1);

impl Carrier {
    /// Starts it on a free port. Words of replies are remembered of one number only: others may
    /// send megabytes.
    pub async fn start(read_closely: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let carrier = Self { address, read_closely: read_closely.into(), record: Arc::default() };
        let serving = carrier.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        carrier
    }

    /// Forgets what was sent.
    pub fn forget(&self) {
        *self.record.lock().expect("not poisoned") = Record::default();
    }

    /// What a number sent so far.
    pub fn sent_by(&self, number: &str) -> Sent {
        self.record.lock().expect("not poisoned").sent.get(number).cloned().unwrap_or_default()
    }

    /// When a word came first in a reply of the good tenant, and how often it came.
    pub fn reply_to(&self, word: &str) -> Option<(Instant, usize)> {
        self.record.lock().expect("not poisoned").words.get(word).copied()
    }

    async fn serve(self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::with_capacity(4096);
        while let Some((head, body)) = read(&mut stream, &mut buffer).await {
            let (status, answer) = self.answer(head.lines().next().unwrap_or_default(), &body);
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
                answer.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &str, body: &[u8]) -> (&'static str, String) {
        let path = request.split(' ').nth(1).unwrap_or_default();
        if request.starts_with("POST ") && path.contains("/Messages.json") {
            self.take(&Form::read(body));
            let sid = SIDS.fetch_add(1, Ordering::Relaxed);
            return ("201 Created", format!("{{\"sid\":\"SM{sid:032x}\",\"status\":\"queued\"}}"));
        }
        if let Some((_, query)) = path.split_once("/IncomingPhoneNumbers.json?") {
            let wanted = Form::read(query.as_bytes()).filled("PhoneNumber");
            let found = wanted.map(|wanted| describe(&wanted)).unwrap_or_default();
            return ("200 OK", format!("{{\"incoming_phone_numbers\":[{found}]}}"));
        }
        // The id of a number is made of its digits.
        if let Some((_, rest)) = path.split_once("/IncomingPhoneNumbers/PN") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return ("200 OK", describe(&format!("+{}", digits.trim_start_matches('0'))));
        }
        if path.contains("/v1/Services") {
            return ("200 OK", "{\"services\":[],\"meta\":{}}".to_owned());
        }
        ("200 OK", "{\"messages\":[]}".to_owned())
    }

    fn take(&self, form: &Form) {
        let now = Instant::now();
        let from = form.text("From").unwrap_or_default();
        let body = form.text("Body").unwrap_or_default();
        let mut record = self.record.lock().expect("not poisoned");
        if from == *self.read_closely {
            for word in body.split_whitespace() {
                record.words.entry(word.to_owned()).or_insert((now, 0)).1 += 1;
            }
        }
        let sent = record.sent.entry(from).or_default();
        sent.messages += 1;
        sent.characters += body.chars().count();
    }
}

fn describe(number: &str) -> String {
    let digits = number.trim_start_matches('+');
    format!("{{\"sid\":\"PN{digits:0>32}\",\"phone_number\":\"{number}\",\"capabilities\":{{\"sms\":true}}}}")
}
