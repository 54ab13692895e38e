//! Twilio's list of messages, of those that were sent and those that were received.
//!
//! <https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources>

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::client::{ApiError, Client, answered, read};
use crate::carriers::message::{InboundMedia, ReceivedMessage, SentMessage};
use crate::domain::carrier_account::Credentials;

/// The most pages of 200 messages that we read of one list: enough for 80 messages a second over
/// ten minutes.
const MOST_PAGES: usize = 250;

/// A message as Twilio lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct ListedMessage {
    sid: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    body: Option<String>,
    /// RFC 2822.
    date_created: Option<String>,
    direction: Option<String>,
    /// A number in a string.
    num_media: Option<String>,
}

impl ListedMessage {
    /// When Twilio took it, to the second, by Twilio's clock.
    fn created_at(&self) -> Option<DateTime<Utc>> {
        let text = self.date_created.as_deref()?;
        DateTime::parse_from_rfc2822(text).ok().map(|at| at.with_timezone(&Utc))
    }
}

impl From<ListedMessage> for SentMessage {
    fn from(listed: ListedMessage) -> Self {
        Self { carrier_id: listed.sid, body: listed.body.unwrap_or_default() }
    }
}

impl From<ListedMessage> for ReceivedMessage {
    fn from(listed: ListedMessage) -> Self {
        Self {
            received_at: listed.created_at(),
            has_media: listed.num_media.is_some_and(|count| count != "0"),
            carrier_id: listed.sid,
            from: listed.from,
            to: listed.to,
            body: listed.body.unwrap_or_default(),
        }
    }
}

impl Client {
    /// The messages from a number of ours to a contact that are not older than `since`, the newest
    /// first.
    pub async fn list_sent(
        &self,
        account: &Credentials,
        from: &str,
        to: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<ListedMessage>, ApiError> {
        let mut listed = self.list(account, &[("From", from), ("To", to)], since).await?;
        listed.retain(|message| message.direction.as_deref().is_none_or(|direction| direction.starts_with("outbound")));
        Ok(listed)
    }

    /// The messages that a number of ours has received and that are not older than `since`, the
    /// newest first.
    pub async fn list_received(
        &self,
        account: &Credentials,
        to: &str,
        since: DateTime<Utc>,
    ) -> Result<Vec<ListedMessage>, ApiError> {
        let mut listed = self.list(account, &[("To", to)], since).await?;
        listed.retain(|message| message.direction.as_deref() == Some("inbound"));
        Ok(listed)
    }

    /// How many messages the first page of the account's list has.
    pub async fn list_newest(&self, account: &Credentials) -> Result<usize, ApiError> {
        #[derive(Deserialize)]
        struct Page {
            messages: Vec<serde::de::IgnoredAny>,
        }
        let request = self.request(reqwest::Method::GET, account, "Messages.json").query(&[("PageSize", "20")]);
        let page: Page = read(answered(account, request).await).await?;
        Ok(page.messages.len())
    }

    /// The attachments of a message, as its webhook would have told them.
    ///
    /// <https://www.twilio.com/docs/messaging/api/media-resource>
    pub async fn list_media(&self, account: &Credentials, sid: &str) -> Result<Vec<InboundMedia>, ApiError> {
        #[derive(Deserialize)]
        struct Page {
            media_list: Vec<Attachment>,
        }
        #[derive(Deserialize)]
        struct Attachment {
            uri: String,
            content_type: String,
        }
        let request = self.request(reqwest::Method::GET, account, &format!("Messages/{sid}/Media.json"));
        let page: Page = read(answered(account, request).await).await?;
        let base = self.api_url.as_str().trim_end_matches('/');
        let address = |uri: &str| format!("{base}{}", uri.trim_end_matches(".json"));
        let media = page.media_list.into_iter();
        Ok(media.map(|medium| InboundMedia { url: address(&medium.uri), content_type: medium.content_type }).collect())
    }

    /// Messages that are not older than `since`, the newest first. More than the pages that we read
    /// are an error.
    ///
    /// The list is not filtered by date. It is not documented whether a message that was only just
    /// accepted has the date that the filter looks at.
    async fn list(
        &self,
        account: &Credentials,
        filter: &[(&str, &str)],
        since: DateTime<Utc>,
    ) -> Result<Vec<ListedMessage>, ApiError> {
        #[derive(Deserialize)]
        struct Page {
            messages: Vec<ListedMessage>,
            next_page_uri: Option<String>,
        }
        let first = self.request(reqwest::Method::GET, account, "Messages.json");
        let mut request = first.query(filter).query(&[("PageSize", "200")]);
        let mut listed = Vec::new();
        for _ in 0..MOST_PAGES {
            let page: Page = read(answered(account, request).await).await?;
            let reached = page.messages.iter().any(|message| message.created_at().is_some_and(|at| at < since));
            listed
                .extend(page.messages.into_iter().filter(|message| message.created_at().is_none_or(|at| at >= since)));
            match page.next_page_uri {
                Some(next) if !reached && next.starts_with('/') => {
                    request = self.request_at(reqwest::Method::GET, account, &next)
                }
                _ => return Ok(listed),
            }
        }
        Err(ApiError::Unreadable(format!("over {MOST_PAGES} pages of messages since {since}")))
    }
}
