//! A Twilio on loopback, in memory: accounts, numbers, short codes, messages, signed webhooks,
//! status callbacks, faults and phones.
//!
//! ```no_run
//! use twilio_simulator::{Account, Settings, Simulator};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let twilio = Simulator::new(Settings::default())?;
//! twilio.add_account(Account::new("AC00000000000000000000000000000000", "auth-token"));
//! twilio.add_number("AC00000000000000000000000000000000", "+14155550199");
//! let server = twilio.listen("127.0.0.1:0".parse()?).await?;
//! println!("call {} instead of https://api.twilio.com", server.url());
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod account;
mod api;
mod controls;
mod faults;
mod form;
mod media;
mod message;
mod messages;
mod number;
mod numbers;
mod phones;
mod records;
mod registration;
mod remote;
mod server;
mod service;
mod short_code;
mod short_codes;
mod signature;
mod smart_encoding;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, IntoEndpoint, Response, Route};
use tokio::sync::watch;

pub use account::Account;
pub use faults::Fault;
pub use message::MessageStatus;
pub use number::{Number, NumberType, Review};
pub use phones::{NewText, PhoneText, TextOutcome};
pub use remote::{Remote, RemoteError};
pub use server::Server;
pub use service::Service;
pub use short_code::ShortCode;

use records::Store;

/// How a simulated Twilio behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// How long a message takes from one status to the next.
    pub status_delay: Duration,
}

/// A simulated Twilio. It is cheap to clone, and all clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    store: Store,
    http: reqwest::Client,
    settings: Settings,
    /// How many webhooks and deliveries are in flight.
    in_flight: Arc<watch::Sender<usize>>,
}

impl Simulator {
    /// A Twilio without accounts.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        // Twilio follows redirects and loses the form on the way. Here a redirect is an error,
        // which shows the mistake.
        let http = reqwest::Client::builder()
            .user_agent("TwilioProxy/1.1")
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { store: Store::new(), http, settings, in_flight: Arc::new(watch::Sender::new(0)) })
    }

    /// The routes of the API and of the phones, for a server of your own. [`Simulator::listen`]
    /// serves them.
    pub fn routes(&self) -> impl Endpoint<Output = Response> + 'static {
        Route::new()
            .nest("/2010-04-01", messages::routes().around(api::explain_unknown_paths))
            .nest("/v1", registration::routes().around(api::explain_unknown_paths))
            .nest("/simulator", phones::routes())
            .data(self.clone())
            .into_endpoint()
            .map_to_response()
    }

    /// Waits until no webhook, delivery or status callback is in flight.
    pub async fn idle(&self) {
        // The sender lives as long as the simulator, so waiting can't fail.
        let _ = self.in_flight.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Waits until the next message is sent or has arrived.
    pub async fn until_change(&self) {
        // The sender lives as long as the simulator, so waiting can't fail.
        let _ = self.in_flight.subscribe().changed().await;
    }

    /// Counts a webhook or a delivery as in flight until the guard is dropped.
    fn begin_request(&self) -> InFlight {
        self.in_flight.send_modify(|count| *count += 1);
        InFlight(self.in_flight.clone())
    }
}

/// Something that is in flight.
struct InFlight(Arc<watch::Sender<usize>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
