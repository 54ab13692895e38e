//! One binary of stories: each runs against a database of its own and a simulated carrier, on loopback.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that stumbles has failed"
)]

mod agents;
mod api;
mod backup;
mod batches;
mod beginning;
mod blocked;
mod bounds;
mod carrier_faults;
mod chaos;
mod checked_statements;
mod claim_limits;
mod commands;
mod consent;
mod deliveries;
mod dev;
mod doctor;
mod edge;
mod failpoints;
mod faults;
mod guards;
mod harness;
mod http_agents;
mod inbound_sms;
mod migrate;
mod number_faults;
mod number_wishes;
mod numbers;
mod outbound_limits;
mod overload;
mod plans;
mod poison;
mod poison_controls;
mod pooler;
mod proxy;
mod read_back;
mod reconcile;
mod registrations;
mod rights;
mod schema;
mod script_runners;
mod script_turns;
mod secret_keys;
mod send_sms;
mod sessions;
mod silence;
mod silence_races;
mod stage;
mod templates;
mod texts;
mod tidy;
mod webhook;
