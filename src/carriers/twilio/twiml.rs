//! The TwiML that answers a webhook (<https://www.twilio.com/docs/messaging/twiml>).

use crate::carriers::webhook::Acknowledgement;

/// An empty document: the webhook was received, and there is nothing to say here. Twilio would text an answer of
/// text/plain to the person, and it does not understand status 429.
pub(super) const EMPTY: Acknowledgement =
    Acknowledgement { content_type: "text/xml; charset=utf-8", body: "<Response/>" };
