#![doc = "The map."]
pub mod account; pub mod agent; pub mod carrier; pub mod config; pub mod db; pub mod ledger; pub mod secret; pub mod worker; pub mod problem; pub mod telemetry; pub mod webhook; pub mod api; pub mod command; pub mod app; pub mod console; pub mod dev; pub mod listen; pub mod simulator;
