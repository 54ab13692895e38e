//! textback answers text messages: the map of one binary over one PostgreSQL.
//!
//! # The road of a message
//!
//! 1. [`webhook`] reads the form as it came, finds the account by the key in the path and checks the signature.
//! 2. [`storage::inbound`] writes the text into its session and marks work: one transaction, shared by all who wait.
//! 3. Then, and only then, the webhook answers `<Response/>`.
//! 4. [`worker`] claims sessions with work, as many as it has free slots: a lease and a token, no lock held.
//! 5. [`agent`] thinks, with no transaction open.
//! 6. [`storage::turn`] settles: state, replies and their deliveries in one transaction that the token guards.
//! 7. [`worker`] claims deliveries in order per contact; they are `sending` before anybody calls.
//! 8. [`carrier`] is called, once; the answer is accepted, refused, or unknown, and unknown is never sent again blindly.
//! 9. Status callbacks come in by [`webhook`] and move a delivery forward only.
//! 10. [`storage::silence`] looks at sessions whose scheduled job is due and decides, under the lock of step 2, whether to
//!     warn, to end, or to look again later.
//!
//! # The rooms
//!
//! Everything enters by a door ([`webhook`], [`api`], [`console`], [`worker`]), is written in the [`storage`], and
//! leaves by a hand ([`agent`], [`carrier`]). Doors know the storage and the hands; the storage knows neither;
//! hands know plain values only. [`app`] and [`command`] put them together. [`twilio_simulator`] is a carrier on
//! loopback, [`dev`] a database of one's own. A test holds these rules (`tests/it/tidy.rs`).
//!
//! # What never happens
//!
//! Nothing is acknowledged that is not committed. No transaction is open while we talk to the world. No text is
//! sent that has no row, and none that may have been sent is sent again blindly. No worker's clock decides
//! anything. No lock outlives its transaction. Nothing depends on a NOTIFY.

pub mod agents;
pub mod carriers;
pub mod cli;
pub mod config;
pub mod dev;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod jobs;
pub mod numbers;
pub mod outbound_http;
pub mod secret;
pub mod storage;
pub mod telemetry;
