//! The firms that carry text messages. Twilio is the only one today.

pub mod twilio;
