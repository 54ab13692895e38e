#![doc = "The map."]
pub mod account; pub mod agent; pub mod carrier; pub mod config; pub mod db; pub mod ledger; pub mod secret; pub mod worker;
