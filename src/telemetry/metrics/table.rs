//! The table of all metrics. `docs/metrics.md` is made of it. No label has a number of a contact or
//! the id of a project: each has a few words, and all of them are here.

use super::{Counter, Entry, Gauge, Histogram, OTHER};
use crate::domain::agent::AgentKind;
use crate::domain::delivery::{DeliveryErrorClass, RefusalReason, ResolveOutcome};
use crate::domain::delivery_settlement::Outcome;
use crate::domain::job::JobKind;
use crate::domain::message::{ScheduledOutcome, SkipReason};
use crate::domain::metric_sample::SampleKind;
use crate::domain::quarantine::QuarantineKind;
use crate::domain::segments::Encoding;
use crate::domain::session::{Channel, CloseReason, InactivityOutcome, SessionOrigin, SessionStatus};
use crate::domain::turn_settlement::TurnOutcome;

/// The bounds for what takes milliseconds to seconds.
const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The bounds for what a contact waits for.
const LONG: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0];

/// The word of a label where there is nothing to name.
pub const NONE: &str = "none";

const HOOKS: &[&str] = &["messages", "status"];

/// What became of a webhook: of a message, of a status report, or the code of the problem that it
/// was answered with.
const WEBHOOK_RESULTS: &[&str] = &[
    "stored",
    "skipped",
    "duplicate",
    "quarantined",
    "moved",
    "unchanged",
    "of_a_call",
    "signature_invalid",
    "webhook_key_unknown",
    "body_too_large",
    "body_too_slow",
    "body_unreadable",
    "too_many_bodies",
    "database_blocked",
    "database_unavailable",
    "database_rights_missing",
    "schema_outdated",
    "internal_error",
    OTHER,
];

/// What became of the spans of traces.
const SPAN_RESULTS: &[&str] = &["exported", "failed", "dropped"];

const BACKFILL_RESULTS: &[&str] = &["stored", "skipped", "duplicate", "quarantined", "failed"];

/// Why something is in quarantine. The names of constraints that refused a message are counted as
/// one.
const QUARANTINE_REASONS: &[&str] = &[
    "foreign_account",
    "no_message_id",
    "channel_not_supported",
    "sender_cannot_be_answered",
    "number_not_attached",
    "media_url_too_long",
    "status_not_understood",
    "delivery_unknown",
    OTHER,
];

/// What became of a call of an agent: its answer, or the kind of its error.
const AGENT_RESULTS: &[&str] = &["ok", "failed", "over_limit", "over_budget", "unusable", "interrupted", "not_run"];

/// The classes of errors, and `none` where the carrier reported a failure without a code.
const FAILURE_CLASSES: &[&str] = &and_none::<{ DeliveryErrorClass::WORDS.len() + 1 }>(DeliveryErrorClass::WORDS);

#[expect(clippy::indexing_slicing, reason = "it runs in the compiler, and both lengths come from the same list")]
const fn and_none<const ALL: usize>(words: &[&'static str]) -> [&'static str; ALL] {
    let (mut all, mut n) = ([NONE; ALL], 0);
    while n < words.len() {
        all[n] = words[n];
        n += 1;
    }
    all
}

/// The guards that stop a message.
const GUARDS: &[&str] = &[
    RefusalReason::TurnLimitReached.as_str(),
    RefusalReason::ContactLimitReached.as_str(),
    RefusalReason::ProjectLimitReached.as_str(),
    RefusalReason::CountryNotAllowed.as_str(),
];

const RETRY_REASONS: &[&str] = &["conflict", "lock", "refused_batch", "unreadable_row"];

/// The operations of the API, by their ids in the OpenAPI document. `none` is a path that no
/// operation has.
pub const OPERATIONS: &[&str] = &[
    "activate_agent_version",
    "attach_number",
    "cancel_message",
    "change_number",
    "change_project",
    "change_signing_secret",
    "compare_agent_versions",
    "create_agent",
    "create_agent_version",
    "delete_template",
    "detach_number",
    "end_session",
    "get_agent",
    "get_agent_version",
    "get_carrier",
    "get_country",
    "get_medium",
    "get_message",
    "get_number",
    "get_number_health",
    "get_project",
    "get_quarantine_item",
    "get_session",
    "get_template",
    "get_usage",
    "list_agent_environments",
    "list_agent_versions",
    "list_agents",
    "list_consents",
    "list_countries",
    "list_messages",
    "list_model_requests",
    "list_numbers",
    "list_quarantine",
    "list_scheduled_messages",
    "list_sessions",
    "list_templates",
    "put_carrier",
    "put_template",
    "record_consent",
    "replay_quarantine_item",
    "roll_back_agent_version",
    "search_numbers",
    "send_message",
    "set_country_policy",
    NONE,
];

/// The class of a status. `none`: the client went away, or the request took too long and was
/// cancelled.
const STATUS_CLASSES: &[&str] = &["2xx", "3xx", "4xx", "5xx", NONE];

/// The states of sessions that are counted. Closed ones are too many.
const NOT_CLOSED: &[&str] = &[SessionStatus::Open.as_str(), SessionStatus::Warned.as_str()];

/// The pools of a process: the one of its requests, and the one of its workers.
const POOLS: &[&str] = &["serving", "workers"];

macro_rules! table {
    ($($kind:ident $handle:ident = $name:literal, [$($label:literal: $words:expr),*] $(, $buckets:ident)?, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub static $handle: $kind =
                $kind::new($name, $help, &[$(($label, $words)),*], table!(@buckets $($buckets)?));
        )+

        /// All metrics but those of the process.
        pub static ALL: &[Entry] = &[$(Entry::$kind(&$handle)),+];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

table! {
    Gauge BUILD_INFO = "textback_build_info", ["version": &[env!("CARGO_PKG_VERSION")]],
        "The version of this process, with the value 1.";
    Gauge READY = "textback_ready", [],
        "Whether this process could serve at its last check, as /readyz answers: 1 or 0.";

    Counter WEBHOOK_REQUESTS = "textback_webhook_requests_total", ["hook": HOOKS, "result": WEBHOOK_RESULTS],
        "Webhooks of the carrier, by what became of them or by the code of the problem that answered them.";
    Histogram WEBHOOK_SECONDS = "textback_webhook_duration_seconds", ["hook": HOOKS], SHORT,
        "How long webhooks took until their acknowledgement, commit included.";
    Counter MESSAGES_SKIPPED = "textback_messages_skipped_total", ["reason": SkipReason::WORDS],
        "Inbound messages that no agent answers, by the reason.";
    Counter QUARANTINED = "textback_quarantined_total", ["kind": QuarantineKind::WORDS, "reason": QUARANTINE_REASONS],
        "What was put into quarantine, by its kind and the reason.";
    Counter BACKFILLED = "textback_backfilled_total", ["result": BACKFILL_RESULTS],
        "Inbound messages whose webhook never came and that were found in the list of the carrier.";

    Counter TURNS = "textback_turns_total", ["outcome": TurnOutcome::WORDS],
        "Runs of turns, by their outcome.";
    Histogram TURN_SECONDS = "textback_turn_duration_seconds", [], LONG,
        "How long turns took from their claim to their settlement, without those that were put off.";
    Counter AGENT_CALLS = "textback_agent_calls_total",
        ["kind": AgentKind::WORDS, "function": &["start", "reply"], "result": AGENT_RESULTS],
        "Calls of agents, by the kind of agent, the function and the result.";
    Histogram AGENT_CALL_SECONDS = "textback_agent_call_duration_seconds", ["kind": AgentKind::WORDS], LONG,
        "How long calls of agents took, their wait for a free script runner included.";

    Counter REPLY_REMOVALS = "textback_reply_removals_total", ["what": &["link", "phone_number"]],
        "Links and phone numbers that were removed from texts of agents, because they were neither allowed nor seen.";

    Counter LLM_BUDGET_REFUSALS = "textback_llm_budget_refusals_total", ["limit": &["session", "project"]],
        "Requests to language models that were not made, because the session or the project had reached its limit.";

    Counter DELIVERIES = "textback_deliveries_total", ["outcome": Outcome::WORDS],
        "Attempts to send a message, by their outcome.";
    Counter DELIVERED = "textback_deliveries_delivered_total", [],
        "Deliveries that ended well: the carrier reported that the contact has the message.";
    Counter DELIVERIES_FAILED = "textback_deliveries_failed_total", ["class": FAILURE_CLASSES],
        "Deliveries that failed for good, at the carrier's answer or by its report, by the class of the error.";
    Histogram TEXT_TO_REPLY_SECONDS = "textback_text_to_reply_seconds", [], LONG,
        "From the commit of an inbound message to the carrier's acceptance of a message of the turn that answered it.";
    Counter SEGMENTS = "textback_segments_total", ["encoding": Encoding::WORDS],
        "Segments of the messages that the carrier accepted, by their encoding. Carriers charge for segments.";
    Histogram CARRIER_REQUEST_SECONDS = "textback_carrier_request_duration_seconds", ["operation": &["send"]], SHORT,
        "How long calls of the carrier took.";
    Counter RECONCILIATIONS = "textback_reconciliations_total", ["outcome": ResolveOutcome::WORDS],
        "Searches for unknown deliveries at the carrier, by their outcome.";
    Counter OUTBOUND_REFUSED = "textback_outbound_refused_total", ["reason": GUARDS],
        "Messages that a limit of the turn, of the project or of its countries stopped.";
    Counter SCHEDULED_MESSAGES = "textback_scheduled_messages_total", ["outcome": ScheduledOutcome::WORDS],
        "Scheduled messages that were due, by what became of them.";

    Gauge SESSIONS = "textback_sessions", ["channel": Channel::WORDS, "status": NOT_CLOSED],
        "Sessions that are not closed, up to a million of them. Sampled from the database.";
    Counter SESSIONS_OPENED = "textback_sessions_opened_total", ["origin": SessionOrigin::WORDS],
        "Sessions that were opened, by who began them.";
    Counter SESSIONS_CLOSED = "textback_sessions_closed_total", ["reason": CloseReason::WORDS],
        "Sessions that were closed, by the reason.";
    Counter INACTIVITY_JOBS = "textback_inactivity_jobs_total", ["outcome": InactivityOutcome::WORDS],
        "Inactivity jobs that were due, by what became of the session.";
    Histogram INACTIVITY_LATENESS_SECONDS = "textback_inactivity_lateness_seconds", [], LONG,
        "How late sessions were warned or ended.";

    Gauge DUE = "textback_due", ["work": JobKind::WORDS],
        "Work that could be claimed and is not, up to 100000 of each kind. Sampled from the database.";
    Gauge OLDEST_DUE_AGE_SECONDS = "textback_oldest_due_age_seconds", ["work": JobKind::WORDS],
        "For how long the oldest work could have been claimed. Sampled from the database.";
    Gauge UNKNOWN_DELIVERIES = "textback_deliveries_unknown", [],
        "Deliveries of which it is not known whether the carrier has them. Sampled from the database.";
    Gauge OLDEST_UNKNOWN_AGE_SECONDS = "textback_oldest_unknown_delivery_age_seconds", [],
        "How long ago the oldest unknown delivery was attempted. Sampled from the database.";
    Gauge ROLLUP_LAG_SECONDS = "textback_rollup_lag_seconds", [],
        "How long ago the last hour ended whose counts for dashboards are final: up to 4000 s. Sampled from the database.";
    Gauge QUARANTINE = "textback_quarantine", ["kind": QuarantineKind::WORDS],
        "What is in quarantine and was not replayed, up to 100000 of each kind. Sampled from the database.";
    Gauge SET_ASIDE_ROWS = "textback_set_aside_rows", [],
        "Rows that were set aside because they could not be read, until an operator deletes them. Sampled from the database.";
    Gauge SAMPLE_AGE_SECONDS = "textback_sample_age_seconds", ["sample": SampleKind::WORDS],
        "How long ago one of the processes took the sample of the database that all of them show.";

    Counter CLAIM_FAILURES = "textback_claim_failures_total", ["work": JobKind::WORDS],
        "Statements that claim work and failed.";
    Counter SET_ASIDE = "textback_set_aside_total", ["work": JobKind::WORDS],
        "Rows that were set aside because they could not be read.";
    Counter BATCH_RETRIES = "textback_batch_retries_total", ["why": RETRY_REASONS],
        "Transactions of several items that were tried again, by the reason.";
    Gauge SLOTS = "textback_slots", ["work": JobKind::WORDS],
        "How many jobs of a kind this process runs at a time.";
    Gauge SLOTS_IN_USE = "textback_slots_in_use", ["work": JobKind::WORDS],
        "How many of these slots are in use.";
    Gauge CIRCUITS = "textback_circuits", ["work": JobKind::WORDS, "state": &["open", "half_open"]],
        "Circuits of this process that are not closed: of carrier accounts that keep failing, and of agents for which enough turns wait.";
    Counter CIRCUIT_OPENINGS = "textback_circuit_openings_total", ["of": &["carrier_account", "model_account", "model_server"]],
        "How often a circuit was opened, because calls kept failing: of a carrier account, of a server of language models, or of a key there.";

    Counter API_REQUESTS = "textback_api_requests_total", ["operation": OPERATIONS, "status": STATUS_CLASSES],
        "Requests to /v1, by their operation and the class of their status.";
    Histogram API_REQUEST_SECONDS = "textback_api_request_duration_seconds", ["operation": OPERATIONS], SHORT,
        "How long requests to /v1 took.";
    Counter WRONG_KEYS = "textback_wrong_keys_total", ["answer": &["401", "429"]],
        "Requests with a wrong API key, by the status that they were answered with.";
    Counter BODIES_REFUSED = "textback_bodies_refused_total", [],
        "Requests that found no memory left for their bodies (TEXTBACK_BODY_MEMORY_MB).";
    Counter CONNECTIONS_REFUSED = "textback_connections_refused_total", [],
        "Connections beyond the limit (TEXTBACK_MAX_CONNECTIONS).";
    Counter CONNECTIONS_DISPLACED = "textback_connections_displaced_total", [],
        "Idle connections that were closed for new ones.";
    Counter SPANS = "textback_spans_total", ["result": SPAN_RESULTS],
        "Spans of traces: exported, failed (the collector did not take them) or dropped (too many waited).";

    Gauge POOL_CONNECTIONS = "textback_database_connections", ["pool": POOLS, "state": &["in_use", "idle"]],
        "Open connections to the database.";
    Gauge POOL_LIMIT = "textback_database_connections_limit", ["pool": POOLS],
        "The most connections that the pool opens.";
    Histogram POOL_WAIT_SECONDS = "textback_database_connection_wait_seconds", [], SHORT,
        "How long a statement waited for a connection of the pool.";
    Counter POOL_TIMEOUTS = "textback_database_connection_timeouts_total", [],
        "Statements that got no connection of the pool in time.";
}
