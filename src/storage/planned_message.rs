//! Messages that are planned: how they and their deliveries are stored.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::channel::OutboundText;
use crate::domain::delivery::{DeliveryErrorClass, DeliveryStatus};
use crate::domain::message::MessageKind;
use crate::domain::message_plan::MessagePlan;
use crate::domain::segments::Encoding;
use crate::storage::composite::composite;

/// The session that a message is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conversation<'a> {
    pub(super) project_id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) endpoint_id: Uuid,
    pub(super) contact: &'a str,
}

/// What a message says.
#[derive(Debug, Clone)]
pub(super) struct Content<'a> {
    pub(super) kind: MessageKind,
    pub(super) text: OutboundText<'a>,
}

/// A message that is planned, as the statements take it.
#[derive(Debug, sqlx::Encode)]
pub(super) struct PlannedMessage<'a> {
    pub(super) id: Uuid,
    pub(super) project_id: Uuid,
    pub(super) session_id: Uuid,
    /// `None` for a message without a delivery.
    pub(super) number_id: Option<Uuid>,
    pub(super) contact: &'a str,
    pub(super) turn_id: Option<Uuid>,
    pub(super) kind: MessageKind,
    pub(super) body: Cow<'a, str>,
    pub(super) encoding: Option<Encoding>,
    pub(super) segments: Option<i32>,
    pub(super) truncated: Option<i32>,
    pub(super) inactivity_seconds: Option<i32>,
    pub(super) status: Option<DeliveryStatus>,
    pub(super) is_held: bool,
    pub(super) error_class: Option<DeliveryErrorClass>,
    pub(super) error_detail: Option<Cow<'a, str>>,
    pub(super) lease_token: Option<Uuid>,
    pub(super) lease_seconds: Option<f64>,
    /// It leaves although its contact has opted out.
    pub(super) despite_opt_out: bool,
    /// What is recorded of its turn, if it is the first message of that.
    pub(super) turn_created_at: Option<DateTime<Utc>>,
    pub(super) turn_attempts: Option<i32>,
    pub(super) turn_failures: Option<i32>,
    pub(super) turn_messages: Option<i32>,
    pub(super) turn_milliseconds: Option<i32>,
    pub(super) turn_error_code: Option<&'static str>,
}

composite!(PlannedMessage<'_>, "planned_message");

impl<'a> PlannedMessage<'a> {
    /// A message that no turn says, as it was decided.
    pub(super) fn new(id: Uuid, of: Conversation<'a>, says: Content<'a>, plan: &MessagePlan) -> Self {
        let segmentation = says.text.segmentation();
        Self {
            id,
            project_id: of.project_id,
            session_id: of.session_id,
            number_id: plan.status().map(|_| of.endpoint_id),
            contact: of.contact,
            turn_id: None,
            kind: says.kind,
            encoding: segmentation.map(|text| text.encoding),
            segments: segmentation.map(|text| text.segments),
            body: says.text.into_body(),
            truncated: None,
            inactivity_seconds: None,
            status: plan.status(),
            is_held: *plan == MessagePlan::Hold,
            error_class: plan.error_class(),
            error_detail: plan.error_detail(),
            lease_token: None,
            lease_seconds: None,
            despite_opt_out: false,
            turn_created_at: None,
            turn_attempts: None,
            turn_failures: None,
            turn_messages: None,
            turn_milliseconds: None,
            turn_error_code: None,
        }
    }
}

/// Stores messages that no turn says. The caller holds the locks of their contacts and sessions.
pub(super) async fn store(connection: &mut PgConnection, messages: &[PlannedMessage<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query_file!("sql/queries/message/store.sql", messages as _).execute(connection).await?;
    Ok(())
}
