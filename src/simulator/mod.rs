//! A Twilio on loopback: accounts, numbers, messages, signed webhooks, status callbacks and phones, all in memory; it shares no code path with the product but the signature.
//!
//! The product talks to it through the same client and the same webhook door as in production.

mod hooks;
mod media;
mod numbers;
pub mod phones;
pub mod registration;
pub mod remote;
mod rest;
mod state;

use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, IntoEndpoint, Response, Route};
use tokio::sync::watch;

pub use phones::{PhoneText, Texted};
use state::State;
pub use state::{Account, Fault, Number};

/// How a simulated Twilio behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// How long a text takes from one status to the next.
    pub pace: Duration,
}

/// A simulated Twilio. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    state: State,
    http: reqwest::Client,
    behaviour: Behaviour,
    /// How many webhooks and callbacks are on their way.
    under_way: Arc<watch::Sender<usize>>,
}

impl Simulator {
    /// A Twilio without accounts.
    pub fn new(behaviour: Behaviour) -> Result<Self, reqwest::Error> {
        // Twilio follows redirects and loses the form on the way; a URL of ours must not redirect.
        let http = reqwest::Client::builder()
            .user_agent("TwilioProxy/1.1")
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { state: State::default(), http, behaviour, under_way: Arc::new(watch::Sender::new(0)) })
    }

    /// Opens an account.
    pub fn add_account(&self, account: Account) {
        self.state.lock().accounts.insert(account.sid.clone(), account);
    }

    /// Gives an account a number, as if it had been bought, and tells the number's id. One that is
    /// there keeps its id and its webhooks.
    pub fn add_number(&self, account_sid: &str, phone_number: &str) -> String {
        self.state.lock().add_number(account_sid, phone_number)
    }

    /// The number as it is set up now.
    pub fn number(&self, phone_number: &str) -> Option<Number> {
        self.state.lock().numbers.iter().find(|number| number.phone_number == phone_number).cloned()
    }

    /// Lets the next messages that are created meet these faults, one each, after those planned before.
    pub fn plan_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.extend(faults);
    }

    /// Lets the next calls about numbers meet these faults, one each.
    pub fn plan_number_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().number_faults.extend(faults);
    }

    /// Whether messaging services and registrations are refused from now on, as to a key that may not read them.
    pub fn refuse_messaging(&self, refuse: bool) {
        self.state.lock().messaging_refused = refuse;
    }

    /// Every number that was bought, in that order: twice if twice.
    pub fn bought(&self) -> Vec<String> {
        self.state.lock().bought.clone()
    }

    /// Changes a number's set-up, as somebody at the carrier's console would.
    pub fn change_number(&self, phone_number: &str, change: impl FnOnce(&mut Number)) {
        if let Some(number) = self.state.lock().numbers.iter_mut().find(|number| number.phone_number == phone_number) {
            change(number);
        }
    }

    /// Lets a number that is for sale be one that can't text, whether searches tell it or don't know it at all.
    pub fn sell_without_sms(&self, phone_number: &str, told: bool) {
        if let Some(sale) = self.state.lock().for_sale.iter_mut().find(|sale| sale.phone_number == phone_number) {
            (sale.sms, sale.hidden) = (false, !told);
        }
    }

    /// Puts a number of the United States up for sale again.
    pub fn put_up_for_sale(&self, phone_number: &str) {
        let sale = state::Sale {
            phone_number: phone_number.to_owned(),
            country: "US",
            number_type: "local",
            sms: true,
            hidden: false,
        };
        self.state.lock().for_sale.push(sale);
    }

    /// Takes a number away from its account, as if it had been released elsewhere.
    pub fn take_away(&self, phone_number: &str) {
        self.state.lock().numbers.retain(|number| number.phone_number != phone_number);
    }

    /// How many planned faults no call about numbers has met yet.
    pub fn number_faults_left(&self) -> usize {
        self.state.lock().number_faults.len()
    }

    /// How many calls about services and registrations there were.
    pub fn messaging_calls(&self) -> usize {
        self.state.lock().messaging_calls
    }

    /// How many planned faults nobody has met yet.
    pub fn faults_left(&self) -> usize {
        self.state.lock().faults.len()
    }

    /// Takes planned faults back.
    pub fn clear_faults(&self) {
        let mut memory = self.state.lock();
        memory.faults.clear();
        memory.number_faults.clear();
    }

    /// Whether status callbacks are posted from now on.
    pub fn report_statuses(&self, report: bool) {
        self.state.lock().silent = !report;
    }

    /// Whether status callbacks come as they like from now on: before the answer to the call, in the wrong order,
    /// twice, late.
    pub fn shuffle_statuses(&self, shuffle: bool) {
        self.state.lock().unruly = shuffle;
    }

    /// Whether webhooks of inbound texts are lost on the way from now on.
    pub fn lose_webhooks(&self, lose: bool) {
        self.state.lock().lost = lose;
    }

    /// Refuses lists of media with a status from now on, or no more.
    pub fn refuse_media(&self, status: Option<u16>) {
        self.state.lock().media_refused = status;
    }

    /// Waits until no webhook and no callback is on its way.
    pub async fn idle(&self) {
        // The sender lives as long as we do, so this can't fail.
        let _ = self.under_way.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Its REST API and its phones.
    pub fn routes(&self) -> impl Endpoint<Output = Response> + 'static {
        Route::new()
            .nest("/2010-04-01", rest::routes().around(rest::or_not_offered))
            .nest("/v1", registration::routes().around(rest::or_not_offered))
            .nest("/simulator", phones::routes())
            .data(self.clone())
            .into_endpoint()
            .map_to_response()
    }

    /// Counts something that is on its way until the guard is dropped.
    fn set_out(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }
}

struct UnderWay(Arc<watch::Sender<usize>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
