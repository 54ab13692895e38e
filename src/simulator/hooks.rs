//! What the simulated Twilio posts to us: inbound texts with retries and fallback, status callbacks, all signed; it takes no liberties with the form.
//!
//! <https://www.twilio.com/docs/messaging/guides/webhook-request>, connection overrides in the fragment:
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>.

use std::time::Duration;

use chrono::Utc;
use secrecy::SecretString;

use super::state::Message;
use super::{Simulator, media};
use crate::carriers::twilio::form::Form;
use crate::carriers::twilio::signature;

/// How a webhook went.
#[derive(Debug, Clone, Default)]
pub struct HookOutcome {
    /// The last answer's status; `None` when there was none.
    pub status: Option<u16>,
    /// How often it was posted, to all addresses.
    pub attempts: u32,
    /// What was wrong, in Twilio's terms.
    pub error: Option<String>,
}

/// What the fragment of a webhook address asks for.
struct Overrides {
    retries: u32,
    on: String,
    connect: Duration,
    read: Duration,
}

impl Overrides {
    fn read(fragment: Option<&str>) -> Self {
        let form = Form::read(fragment.unwrap_or_default().as_bytes());
        let number = |name: &str, usual: u64| form.filled(name).and_then(|value| value.parse().ok()).unwrap_or(usual);
        Self {
            retries: u32::try_from(number("rc", 1).min(5)).unwrap_or(1),
            on: form.filled("rp").unwrap_or_else(|| "ct".to_owned()),
            connect: Duration::from_millis(number("ct", 5_000).clamp(100, 10_000)),
            read: Duration::from_millis(number("rt", 15_000).clamp(100, 15_000)),
        }
    }

    fn retries_after(&self, policy: &str) -> bool {
        self.on.split(',').any(|on| on == policy || on == "all")
    }
}

impl Simulator {
    /// Posts an inbound text to its number's address, then to the fallback if that fails.
    pub(super) async fn announce(&self, message: &Message) -> HookOutcome {
        let _under_way = self.set_out();
        let (token, url, fallback) = {
            let memory = self.state.lock();
            if memory.lost {
                return HookOutcome { error: Some("lost on the way".to_owned()), ..HookOutcome::default() };
            }
            let number = memory.numbers.iter().find(|number| number.phone_number == message.to);
            let account = number.and_then(|number| memory.accounts.get(&number.account_sid));
            match (number, account) {
                (Some(number), Some(account)) => {
                    let service = number.service_sid.as_ref();
                    let service = memory.services.iter().find(|held| Some(&held.sid) == service);
                    // In a messaging service that does not defer to it, a number's own webhook is not asked.
                    let url = match service.filter(|service| !service.use_inbound_webhook_on_number) {
                        Some(service) => service.inbound_request_url.clone().unwrap_or_default(),
                        None => number.sms_url.clone(),
                    };
                    (account.auth_token.clone(), url, number.sms_fallback_url.clone())
                }
                _ => {
                    return HookOutcome {
                        error: Some(format!("nobody owns {}", message.to)),
                        ..HookOutcome::default()
                    };
                }
            }
        };
        if url.is_empty() {
            return HookOutcome { error: Some(format!("{} has no SmsUrl", message.to)), ..HookOutcome::default() };
        }
        let api_base = self.state.lock().api_base.clone();
        let form = inbound_form(message, api_base.as_deref());
        let mut outcome = self.post(&token, &url, &form).await;
        if outcome.error.is_some() && !fallback.is_empty() {
            let mut form = form;
            form.push(("ErrorCode".to_owned(), "11200".to_owned()));
            form.push(("ErrorUrl".to_owned(), url));
            let second = self.post(&token, &fallback, &form).await;
            outcome = HookOutcome { attempts: outcome.attempts + second.attempts, ..second };
        }
        outcome
    }

    /// Carries a text to its phone, and reports each step to the callback; ends when the call that created it may
    /// be answered.
    pub(super) async fn deliver(&self, message: Message) {
        let under_way = self.set_out();
        let simulator = self.clone();
        let (mut statuses, early, pause) = self.manner();
        let blocked = self.state.lock().blocked(&message.from);
        if blocked.is_some() {
            statuses = &["sent", "undelivered"];
        }
        let delivering = tokio::spawn(async move {
            let _under_way = under_way;
            for status in statuses {
                let pause = simulator.behaviour.pace + pause;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                if let Some(held) = simulator.state.lock().message_mut(&message.sid)
                    && held.status != "delivered"
                {
                    held.status = status;
                    held.error_code = blocked;
                    held.date_updated = Utc::now();
                    held.date_sent.get_or_insert(held.date_updated);
                }
                simulator.report(&message, status, blocked).await;
            }
        });
        if early {
            let _ = delivering.await;
        }
    }

    /// How the steps of the next text are reported: which, whether before the call is answered, and how late.
    fn manner(&self) -> (&'static [&'static str], bool, Duration) {
        const IN_ORDER: &[&str] = &["sent", "delivered"];
        let memory = self.state.lock();
        match memory.messages.len() % 5 {
            1 if memory.unruly => (IN_ORDER, true, Duration::ZERO),
            2 if memory.unruly => (&["delivered", "sent"], false, Duration::ZERO),
            3 if memory.unruly => (&["sent", "sent", "delivered", "delivered"], false, Duration::ZERO),
            4 if memory.unruly => (IN_ORDER, false, Duration::from_secs(2)),
            _ => (IN_ORDER, false, Duration::ZERO),
        }
    }

    async fn report(&self, message: &Message, status: &str, error_code: Option<i32>) {
        let Some(url) = &message.status_callback else { return };
        if self.state.lock().silent {
            return;
        }
        let Some(token) =
            self.state.lock().accounts.get(&message.account_sid).map(|account| account.auth_token.clone())
        else {
            return;
        };
        let mut form = vec![
            ("SmsSid".to_owned(), message.sid.clone()),
            ("SmsStatus".to_owned(), status.to_owned()),
            ("MessageStatus".to_owned(), status.to_owned()),
            ("To".to_owned(), message.to.clone()),
            ("MessageSid".to_owned(), message.sid.clone()),
            ("AccountSid".to_owned(), message.account_sid.clone()),
            ("From".to_owned(), message.from.clone()),
            ("ApiVersion".to_owned(), "2010-04-01".to_owned()),
        ];
        if let Some(code) = error_code.filter(|_| status == "undelivered") {
            form.push(("ErrorCode".to_owned(), code.to_string()));
        }
        self.post(&token, url, &form).await;
    }

    /// Posts a signed form, as often as the address asks for.
    async fn post(&self, token: &str, url: &str, form: &[(String, String)]) -> HookOutcome {
        // The fragment is for Twilio itself: it is neither signed nor sent.
        let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
        let overrides = Overrides::read(fragment);
        let signature = signature::sign(&SecretString::from(token.to_owned()), url, &Form::of(form.iter().cloned()));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut outcome = HookOutcome::default();
        loop {
            outcome.attempts += 1;
            let request = self
                .http
                .post(url)
                .header(signature::HEADER, &signature)
                .header("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
                .header("Accept", "*/*")
                .body(body.clone())
                .timeout(overrides.connect + overrides.read);
            let policy = match request.send().await {
                Ok(answer) => {
                    let status = answer.status();
                    outcome.status = Some(status.as_u16());
                    if status.is_success() {
                        outcome.error = None;
                        return outcome;
                    }
                    outcome.error = Some(format!("11200: the address answered {status}"));
                    if status.is_server_error() { "5xx" } else { "4xx" }
                }
                Err(error) => {
                    outcome.error = Some(format!("11200: {error}"));
                    if error.is_connect() { "ct" } else { "rt" }
                }
            };
            if outcome.attempts > overrides.retries || !overrides.retries_after(policy) {
                return outcome;
            }
        }
    }
}

fn inbound_form(message: &Message, api_base: Option<&str>) -> Vec<(String, String)> {
    let mut form: Vec<(String, String)> = [
        ("ToCountry", "US"),
        ("SmsMessageSid", &message.sid),
        ("NumMedia", &message.media.len().to_string()),
        ("SmsSid", &message.sid),
        ("SmsStatus", "received"),
        ("Body", &message.body),
        ("FromCountry", "US"),
        ("To", &message.to),
        ("NumSegments", "1"),
        ("ReferralNumMedia", "0"),
        ("MessageSid", &message.sid),
        ("AccountSid", &message.account_sid),
        ("From", &message.from),
        ("ApiVersion", "2010-04-01"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (n, (url, content_type)) in message.media.iter().enumerate() {
        let at_the_carrier = api_base.map(|base| format!("{base}{}", media::path(message, n)));
        form.push((format!("MediaUrl{n}"), at_the_carrier.unwrap_or_else(|| url.clone())));
        form.push((format!("MediaContentType{n}"), content_type.clone()));
    }
    form
}
