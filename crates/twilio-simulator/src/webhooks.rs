//! Posts signed webhooks: inbound messages, with retries and fallback, and status callbacks.
//!
//! <https://www.twilio.com/docs/messaging/guides/webhook-request>. The fragment of a URL sets
//! time-outs and retries:
//! <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>.

use std::time::Duration;

use chrono::Utc;

use crate::Simulator;
use crate::form::{self, Form};
use crate::media;
use crate::message::{API_VERSION, Message, MessageStatus};
use crate::signature::{self, signature};

type Pairs = Vec<(String, String)>;

/// The result of a webhook.
#[derive(Debug, Clone, Default)]
pub struct WebhookOutcome {
    /// The status of the last answer; `None` without an answer.
    pub status: Option<u16>,
    /// How many times it was posted, to the first URL and to the fallback.
    pub attempts: u32,
    /// The error that Twilio's debugger would show.
    pub error: Option<String>,
}

impl WebhookOutcome {
    fn not_posted(error: String) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

/// Where the webhook of an inbound message goes.
struct Target {
    auth_token: String,
    url: String,
    fallback_url: String,
    api_base: Option<String>,
}

/// The connection overrides in the fragment of a URL.
struct Overrides {
    retries: u32,
    policies: String,
    connect_timeout: Duration,
    read_timeout: Duration,
}

impl Overrides {
    fn parse(fragment: &str) -> Self {
        let form = Form::parse(fragment.as_bytes());
        let milliseconds = |name, default: u64| form.number(name).unwrap_or(default).max(100);
        Self {
            retries: form.number("rc").unwrap_or(1).min(5),
            policies: form.non_empty("rp").unwrap_or("ct").to_owned(),
            connect_timeout: Duration::from_millis(milliseconds("ct", 5_000).min(10_000)),
            read_timeout: Duration::from_millis(milliseconds("rt", 15_000).min(15_000)),
        }
    }

    fn retries_after(&self, policy: &str) -> bool {
        self.policies.split(',').any(|chosen| chosen == policy || chosen == "all")
    }
}

/// The status callbacks of one message.
struct CallbackPlan {
    statuses: &'static [MessageStatus],
    /// Whether the call that creates the message is answered only after them.
    before_answer: bool,
    /// An extra delay before each of them.
    delay: Duration,
}

impl CallbackPlan {
    const IN_ORDER: &'static [MessageStatus] = &[MessageStatus::Sent, MessageStatus::Delivered];
    const BLOCKED: &'static [MessageStatus] = &[MessageStatus::Sent, MessageStatus::Undelivered];
    const REVERSED: &'static [MessageStatus] = &[MessageStatus::Delivered, MessageStatus::Sent];
    const DOUBLED: &'static [MessageStatus] =
        &[MessageStatus::Sent, MessageStatus::Sent, MessageStatus::Delivered, MessageStatus::Delivered];

    const fn in_order() -> Self {
        Self { statuses: Self::IN_ORDER, before_answer: false, delay: Duration::ZERO }
    }

    /// The plan of the n-th message when callbacks are shuffled: each kind of disorder in turn.
    const fn shuffled(message: usize) -> Self {
        match message % 5 {
            1 => Self { before_answer: true, ..Self::in_order() },
            2 => Self { statuses: Self::REVERSED, ..Self::in_order() },
            3 => Self { statuses: Self::DOUBLED, ..Self::in_order() },
            4 => Self { delay: Duration::from_secs(2), ..Self::in_order() },
            _ => Self::in_order(),
        }
    }
}

impl Simulator {
    /// Posts an inbound message to the webhook of its number, then to the fallback if that fails.
    pub(crate) async fn post_inbound(&self, message: &Message) -> WebhookOutcome {
        let _in_flight = self.begin_request();
        let target = match self.target(message) {
            Ok(target) => target,
            Err(error) => return WebhookOutcome::not_posted(error),
        };
        let mut form = inbound_form(message, target.api_base.as_deref());
        let outcome = self.post(&target.auth_token, &target.url, &form).await;
        if outcome.error.is_none() || target.fallback_url.is_empty() {
            return outcome;
        }
        form.push(("ErrorCode".to_owned(), "11200".to_owned()));
        form.push(("ErrorUrl".to_owned(), target.url));
        let second = self.post(&target.auth_token, &target.fallback_url, &form).await;
        WebhookOutcome { attempts: outcome.attempts + second.attempts, ..second }
    }

    /// Where the webhook of a message goes, or why there is none.
    fn target(&self, message: &Message) -> Result<Target, String> {
        let records = self.store.lock();
        if records.switches.webhooks_lost {
            return Err("lost on the way".to_owned());
        }
        let of_number = records.number(&message.to);
        let own = of_number.map(|number| (&number.sms_url, &number.sms_fallback_url, number.service_sid.as_deref()));
        let of_code = records.short_code(&message.to);
        let own = own.or(of_code.map(|code| (&code.sms_url, &code.sms_fallback_url, code.service_sid.as_deref())));
        let account = records.owner(&message.to).and_then(|sid| records.accounts.get(sid));
        let (Some((sms_url, fallback_url, service_sid)), Some(account)) = (own, account) else {
            return Err(format!("nobody owns {}", message.to));
        };
        // In a messaging service that does not defer to it, the number's own webhook is not used.
        let service = records.service(service_sid).filter(|service| !service.use_inbound_webhook_on_number);
        let url = match service {
            Some(service) => service.inbound_request_url.clone().unwrap_or_default(),
            None => sms_url.clone(),
        };
        if url.is_empty() {
            return Err(format!("{} has no SmsUrl", message.to));
        }
        Ok(Target {
            auth_token: account.auth_token.clone(),
            url,
            fallback_url: fallback_url.clone(),
            api_base: records.api_base.clone(),
        })
    }

    /// Delivers a message to its phone and posts a status callback for each step. Returns when the
    /// call that created the message may be answered.
    pub(crate) async fn deliver(&self, message: Message) {
        let in_flight = self.begin_request();
        let simulator = self.clone();
        let (plan, blocked) = {
            let records = self.store.lock();
            let plan = match records.switches.callbacks_shuffled {
                true => CallbackPlan::shuffled(records.messages.len()),
                false => CallbackPlan::in_order(),
            };
            (plan, records.blocked_code(&message.from))
        };
        let statuses = if blocked.is_some() { CallbackPlan::BLOCKED } else { plan.statuses };
        // A messaging service tells when it has chosen the sender.
        let chosen = message.service_sid.as_ref().map(|_| MessageStatus::Queued);
        let statuses: Vec<MessageStatus> = chosen.into_iter().chain(statuses.iter().copied()).collect();
        let delay = self.settings.status_delay + plan.delay;
        let delivery = tokio::spawn(async move {
            let _in_flight = in_flight;
            for status in statuses {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                simulator.advance(&message.sid, status, blocked);
                simulator.post_status(&message, status, blocked).await;
            }
        });
        if plan.before_answer {
            let _ = delivery.await;
        }
    }

    /// Sets the status of a message, unless it is delivered already.
    fn advance(&self, sid: &str, status: MessageStatus, error_code: Option<i32>) {
        let mut records = self.store.lock();
        let Some(message) = records.message_mut(sid) else { return };
        if message.status == MessageStatus::Delivered {
            return;
        }
        message.status = status;
        message.error_code = error_code;
        message.date_updated = Utc::now();
        message.date_sent.get_or_insert(message.date_updated);
    }

    /// Posts a status callback, if the message has one.
    async fn post_status(&self, message: &Message, status: MessageStatus, error_code: Option<i32>) {
        let Some(url) = &message.status_callback else { return };
        let auth_token = {
            let records = self.store.lock();
            if records.switches.callbacks_off {
                return;
            }
            records.accounts.get(&message.account_sid).map(|account| account.auth_token.clone())
        };
        let Some(auth_token) = auth_token else { return };
        self.post(&auth_token, url, &status_form(message, status, error_code)).await;
    }

    /// Posts a signed form, as many times as the overrides of the URL ask for.
    async fn post(&self, auth_token: &str, url: &str, form: &[(String, String)]) -> WebhookOutcome {
        // The fragment is for Twilio itself: it is neither signed nor sent.
        let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
        let overrides = Overrides::parse(fragment);
        let signature = signature(auth_token, url, form);
        let body = form::encode(form.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut outcome = WebhookOutcome::default();
        loop {
            outcome.attempts += 1;
            let request = self
                .http
                .post(url)
                .header(signature::HEADER, &signature)
                .header("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
                .header("Accept", "*/*")
                .body(body.clone())
                .timeout(overrides.connect_timeout + overrides.read_timeout);
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

/// The parameters of an inbound message.
fn inbound_form(message: &Message, api_base: Option<&str>) -> Pairs {
    let mut form = owned([
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
        ("ApiVersion", API_VERSION),
    ]);
    form.extend(service_of(message));
    for (index, medium) in message.media.iter().enumerate() {
        let hosted = api_base.map(|base| format!("{base}{}", media::path(message, index)));
        form.push((format!("MediaUrl{index}"), hosted.unwrap_or_else(|| medium.url.clone())));
        form.push((format!("MediaContentType{index}"), medium.content_type.clone()));
    }
    form
}

/// The parameters of a status callback.
fn status_form(message: &Message, status: MessageStatus, error_code: Option<i32>) -> Pairs {
    let mut form = owned([
        ("SmsSid", &message.sid),
        ("SmsStatus", status.as_str()),
        ("MessageStatus", status.as_str()),
        ("To", &message.to),
        ("MessageSid", &message.sid),
        ("AccountSid", &message.account_sid),
        ("From", &message.from),
        ("ApiVersion", API_VERSION),
    ]);
    form.extend(service_of(message));
    if let Some(code) = error_code.filter(|_| status == MessageStatus::Undelivered) {
        form.push(("ErrorCode".to_owned(), code.to_string()));
    }
    form
}

/// The parameter that names the messaging service of a message.
fn service_of(message: &Message) -> Option<(String, String)> {
    message.service_sid.clone().map(|sid| ("MessagingServiceSid".to_owned(), sid))
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> Pairs {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_have_defaults_and_limits() {
        let milliseconds = Duration::from_millis;
        for (fragment, retries, policies, connect_timeout, read_timeout) in [
            ("", 1, "ct", milliseconds(5_000), milliseconds(15_000)),
            ("rc=3&rp=ct,rt,5xx&ct=2000&rt=3000", 3, "ct,rt,5xx", milliseconds(2_000), milliseconds(3_000)),
            ("rc=99&ct=1&rt=99999", 5, "ct", milliseconds(100), milliseconds(15_000)),
            ("rc=x&rp=", 1, "ct", milliseconds(5_000), milliseconds(15_000)),
        ] {
            let overrides = Overrides::parse(fragment);
            assert_eq!((overrides.retries, overrides.policies.as_str()), (retries, policies), "{fragment}");
            assert_eq!(
                (overrides.connect_timeout, overrides.read_timeout),
                (connect_timeout, read_timeout),
                "{fragment}"
            );
        }
        assert!(Overrides::parse("rp=all").retries_after("4xx") && !Overrides::parse("").retries_after("5xx"));
    }
}
