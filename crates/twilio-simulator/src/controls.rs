//! What a test or a developer can set up, change and break.

use crate::account::Account;
use crate::faults::Fault;
use crate::number::{AvailableNumber, Number, NumberType};
use crate::service::Service;
use crate::short_code::ShortCode;
use crate::{Simulator, account};

/// Accounts and numbers.
impl Simulator {
    /// Opens an account, or replaces the one with the same id.
    pub fn add_account(&self, account: Account) {
        self.store.lock().accounts.insert(account.sid.clone(), account);
    }

    /// Gives an account a number, as if it had been bought, and returns the number's id. A number
    /// that exists keeps its id and its webhooks.
    pub fn add_number(&self, account_sid: &str, phone_number: &str) -> String {
        self.store.lock().add_number(account_sid, phone_number)
    }

    /// A number as it is set up now.
    pub fn number(&self, phone_number: &str) -> Option<Number> {
        self.store.lock().number(phone_number).cloned()
    }

    /// The digits of all numbers and short codes.
    pub fn phone_numbers(&self) -> Vec<String> {
        let records = self.store.lock();
        let numbers = records.numbers.iter().map(|number| number.phone_number.clone());
        numbers.chain(records.short_codes.iter().map(|code| code.short_code.clone())).collect()
    }

    /// Changes the settings of a number, as its owner could on Twilio's website.
    pub fn change_number(&self, phone_number: &str, change: impl FnOnce(&mut Number)) {
        if let Some(number) = self.store.lock().number_mut(phone_number) {
            change(number);
        }
    }

    /// Takes a number away from its account, as if it had been released elsewhere.
    pub fn take_away(&self, phone_number: &str) {
        self.store.lock().numbers.retain(|number| number.phone_number != phone_number);
    }

    /// Every number that was bought, in order; twice if it was bought twice.
    pub fn bought(&self) -> Vec<String> {
        self.store.lock().bought.clone()
    }

    /// Makes a number that is for sale one that can't text. Searches show that it can't, or leave
    /// the number out.
    pub fn sell_without_sms(&self, phone_number: &str, shown: bool) {
        let mut records = self.store.lock();
        if let Some(number) = records.available.iter_mut().find(|number| number.phone_number == phone_number) {
            (number.sms, number.hidden) = (false, !shown);
        }
    }

    /// Puts a local number of the United States up for sale.
    pub fn put_up_for_sale(&self, phone_number: &str) {
        let number = AvailableNumber::new(phone_number.to_owned(), "US", NumberType::Local);
        self.store.lock().available.push(number);
    }
}

/// Short codes.
impl Simulator {
    /// Gives an account a short code, as if it had been leased, and returns the short code's id.
    /// One that exists keeps its id and its webhooks.
    pub fn add_short_code(&self, account_sid: &str, digits: &str) -> String {
        self.store.lock().add_short_code(account_sid, digits)
    }

    /// A short code as it is set up now.
    pub fn short_code(&self, digits: &str) -> Option<ShortCode> {
        self.store.lock().short_code(digits).cloned()
    }

    /// Changes the settings of a short code, as its owner could on Twilio's website.
    pub fn change_short_code(&self, digits: &str, change: impl FnOnce(&mut ShortCode)) {
        if let Some(code) = self.store.lock().short_code_mut(digits) {
            change(code);
        }
    }

    /// Puts a short code into a messaging service of its own.
    pub fn put_short_code_into_service(&self, digits: &str, change: impl FnOnce(&mut Service)) {
        let mut records = self.store.lock();
        let Some(code) = records.short_code_mut(digits) else { return };
        let mut service = Service::approved(&code.account_sid);
        code.service_sid = Some(service.sid.clone());
        change(&mut service);
        records.services.push(service);
    }

    /// Takes a short code away from its account, as if its lease had ended.
    pub fn end_lease(&self, digits: &str) {
        self.store.lock().short_codes.retain(|code| code.short_code != digits);
    }
}

/// Messaging services and registrations.
impl Simulator {
    /// Changes the messaging service of a number. The number gets a service of its own, a copy of
    /// the one before, so that no other number is affected.
    pub fn change_service(&self, phone_number: &str, change: impl FnOnce(&mut Service)) {
        let mut records = self.store.lock();
        let Some(number) = records.number(phone_number) else { return };
        let mut service = match records.service_of(number) {
            Some(service) => Service { sid: account::new_sid("MG"), ..service.clone() },
            None => Service::approved(&number.account_sid),
        };
        change(&mut service);
        if let Some(number) = records.number_mut(phone_number) {
            number.service_sid = Some(service.sid.clone());
        }
        records.services.push(service);
    }

    /// The messaging service of a number.
    pub fn service_of(&self, phone_number: &str) -> Option<Service> {
        let records = self.store.lock();
        records.service_of(records.number(phone_number)?).cloned()
    }

    /// Puts a number into a messaging service, out of the one that it was in.
    pub fn enter_service(&self, phone_number: &str, service_sid: &str) {
        self.change_number(phone_number, |number| number.service_sid = Some(service_sid.to_owned()));
    }

    /// Takes a number out of its messaging service.
    pub fn leave_service(&self, phone_number: &str) {
        self.change_number(phone_number, |number| number.service_sid = None);
    }

    /// Sets the verification of a toll-free number: its status and the reason of a refusal, or
    /// none.
    pub fn verify_toll_free(&self, phone_number: &str, verification: Option<(&str, Option<&str>)>) {
        let verification = verification.map(|(status, reason)| (status.to_owned(), reason.map(str::to_owned)));
        self.change_number(phone_number, |number| number.verification = verification);
    }

    /// How many calls about services and registrations there were.
    pub fn messaging_calls(&self) -> usize {
        self.store.lock().messaging_calls
    }
}

/// Faults.
impl Simulator {
    /// Plans faults for the next messages that are created, one for each, after those that are
    /// planned already.
    pub fn plan_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.store.lock().message_faults.extend(faults);
    }

    /// Plans faults for the next calls about numbers and registrations, one for each.
    pub fn plan_number_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.store.lock().number_faults.extend(faults);
    }

    /// How many planned faults of messages have not happened yet.
    pub fn faults_left(&self) -> usize {
        self.store.lock().message_faults.len()
    }

    /// How many planned faults of numbers and registrations have not happened yet.
    pub fn number_faults_left(&self) -> usize {
        self.store.lock().number_faults.len()
    }

    /// Removes all planned faults.
    pub fn clear_faults(&self) {
        let mut records = self.store.lock();
        records.message_faults.clear();
        records.number_faults.clear();
    }

    /// Switches status callbacks on or off. They are on at first.
    pub fn report_statuses(&self, report: bool) {
        self.store.lock().switches.callbacks_off = !report;
    }

    /// Switches disorder of status callbacks on or off: they come before the answer to the call, in
    /// the wrong order, twice or late.
    pub fn shuffle_statuses(&self, shuffle: bool) {
        self.store.lock().switches.callbacks_shuffled = shuffle;
    }

    /// Switches the loss of inbound webhooks on or off.
    pub fn lose_webhooks(&self, lose: bool) {
        self.store.lock().switches.webhooks_lost = lose;
    }

    /// Refuses lists of media with this status from now on; `None` ends that.
    pub fn refuse_media(&self, status: Option<u16>) {
        self.store.lock().switches.media_refused = status;
    }

    /// Refuses to show services and registrations from now on, as to a key without the permission;
    /// `false` ends that.
    pub fn refuse_messaging(&self, refuse: bool) {
        self.store.lock().switches.messaging_refused = refuse;
    }
}
