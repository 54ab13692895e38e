//! What `textback dev` brings along: a private PostgreSQL and a demo project; nothing here runs in
//! production.

pub mod demo;
pub mod folder;
pub mod postgres;
pub mod running;
pub mod shell;
