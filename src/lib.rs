//! textback is a self-hosted engine for conversations by text: one binary and one PostgreSQL.
//!
//! # How a message passes through the modules
//!
//! 1. [`http::webhooks`] finds the carrier account by the key in the path, and verifies the
//!    signature of the webhook.
//! 2. The carrier ([`carriers::Carrier`]) parses the request. The channel ([`channels::Channel`])
//!    makes an inbound message of it.
//! 3. [`storage::ingest`] stores the message, its session and its turn in one transaction.
//!    [`storage::batcher`] commits messages that arrive at the same time together. Only then is the
//!    webhook acknowledged.
//! 4. [`jobs::turns`] claims the turn, or gets it from the local queue of the same process. A claim
//!    is a lease and a token in a row, and holds no lock.
//! 5. [`agents`] runs the script or calls the HTTP service. No transaction is open meanwhile.
//! 6. [`storage::turn`] settles the turn: it writes the state, the replies and their deliveries in
//!    one transaction, guarded by the token.
//! 7. [`jobs::deliveries`] claims each delivery in the order of its contact and calls the carrier
//!    once. The outcome is accepted, refused or unknown. [`jobs::unknown_deliveries`] searches for
//!    unknown ones at the carrier.
//! 8. [`http::webhooks`] receives the status callbacks, which only move a delivery forward.
//! 9. [`jobs::inactivity`] warns and closes sessions without messages; [`jobs::backfill`] fetches
//!    inbound messages whose webhook never came, and passes them to step 3.
//!
//! # Modules
//!
//! Imports run one way: [`cli`] → [`http`] → [`jobs`] → [`channels`], [`agents`], [`numbers`] →
//! [`carriers`], [`outbound_http`] → [`storage`] → [`domain`]. `tests/it/tidy.rs` enforces it.
//! [`dev`] is only for `textback dev`. The simulated Twilio and the private PostgreSQL are crates
//! of their own ([`twilio_simulator`], [`dev_postgres`]). `docs/glossary.md` defines the words,
//! `ARCHITECTURE.md` is a map, and `docs/decisions` has the reasons.
//!
//! # Invariants
//!
//! - Nothing is acknowledged before it is committed.
//! - No transaction is open while an agent or a carrier is called.
//! - Each outbound message has a row before it is sent. A message that may have been sent is never
//!   resent blindly.
//! - All times are by the clock of the database. No decision depends on the clock of a worker.
//! - No lock outlives its transaction, and correctness never depends on NOTIFY.

pub mod agents;
pub mod carriers;
pub mod channels;
pub mod cli;
pub mod config;
pub mod dev;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod jobs;
pub mod numbers;
pub mod outbound_http;
pub mod repeating;
pub mod secret;
pub mod storage;
pub mod telemetry;
