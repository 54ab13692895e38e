//! A message, and how the API shows it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version of the API that messages and webhooks name.
pub const API_VERSION: &str = "2010-04-01";

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A phone.
    Inbound,
    /// A call to the API.
    OutboundApi,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::OutboundApi => "outbound-api",
        }
    }
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// A phone sent it.
    Received,
    /// The API accepted it, and its messaging service has not chosen a sender yet.
    Accepted,
    /// The API accepted it, and its sender is known.
    Queued,
    /// The network has it.
    Sent,
    /// The phone has it.
    Delivered,
    /// The network blocked it.
    Undelivered,
}

impl MessageStatus {
    /// Twilio's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
        }
    }
}

impl fmt::Display for MessageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file of a message.
#[derive(Debug, Clone)]
pub struct Medium {
    /// Where the phone has it; a `data:` URL holds it.
    pub url: String,
    pub content_type: String,
}

/// A message from a phone or to one.
#[derive(Debug, Clone)]
pub struct Message {
    pub sid: String,
    pub account_sid: String,
    /// The messaging service that it was sent through, or that its number is in.
    pub service_sid: Option<String>,
    pub from: String,
    pub to: String,
    pub body: String,
    pub media: Vec<Medium>,
    pub direction: Direction,
    pub status: MessageStatus,
    pub error_code: Option<i32>,
    pub status_callback: Option<String>,
    pub date_created: DateTime<Utc>,
    pub date_sent: Option<DateTime<Utc>>,
    pub date_updated: DateTime<Utc>,
}

impl Message {
    /// The path of the message in the API.
    pub fn path(&self) -> String {
        format!("/{API_VERSION}/Accounts/{}/Messages/{}", self.account_sid, self.sid)
    }

    /// The Message resource.
    pub fn json(&self) -> Value {
        json!({
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": self.date_created.to_rfc2822(),
            "date_sent": self.date_sent.map(|at| at.to_rfc2822()),
            "date_updated": self.date_updated.to_rfc2822(),
            "direction": self.direction.as_str(),
            "error_code": self.error_code,
            "error_message": null,
            "from": self.from,
            "messaging_service_sid": self.service_sid,
            "num_media": self.media.len().to_string(),
            "num_segments": "1",
            "price": null,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": format!("{}/Media.json", self.path())},
            "to": self.to,
            "uri": format!("{}.json", self.path()),
        })
    }
}
