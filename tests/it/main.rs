//! Integration tests: each has its own database and a simulated carrier on loopback.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod agent_commands;
mod agents;
mod api;
mod backfill;
mod backup;
mod batches;
mod blocked;
mod bounds;
mod carrier_faults;
mod carrier_seam;
mod chaos;
mod characters;
mod checked_statements;
mod claim_limits;
mod commands;
mod consent;
mod console;
mod database_states;
mod databases;
mod deliveries;
mod dev;
mod doctor;
mod documents;
mod eager_dispatch;
mod edge;
mod environments;
mod failpoints;
mod faults;
mod harness;
mod http_agents;
mod inactivity;
mod inactivity_races;
mod inbound_sms;
mod keywords;
mod landlines;
mod llm_agents;
mod llm_caps;
mod llm_circuit;
mod logs;
mod memory_carrier;
mod messaging_services;
mod metrics;
mod migrate;
mod model_faults;
mod number_desired_state;
mod number_faults;
mod numbers;
mod openapi;
mod outbound_limits;
mod overload;
mod plans;
mod poison;
mod poison_controls;
mod pooler;
mod process_harness;
mod proxy;
mod quarantine;
mod quickstart;
mod quiet_hours;
mod rate_limits;
mod reactions;
mod reconcile;
mod registrations;
mod reply_filter;
mod reporting;
mod reports;
mod requests;
mod rights;
mod saved_values;
mod scheduled_pools;
mod schema;
mod script_runners;
mod script_tools;
mod script_turns;
mod secret_keys;
mod secrets_in_errors;
mod send_sms;
mod sessions;
mod settings;
mod settling;
mod short_codes;
mod source;
mod templates;
mod texts;
mod tidy;
mod toy_channel;
mod traces;
mod understood_answers;
mod webhook;
mod words;
