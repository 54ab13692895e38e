//! What the simulator holds in memory: accounts, numbers, messages, planned faults and switches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::account::Account;
use crate::faults::Fault;
use crate::message::{Direction, Message};
use crate::number::{AvailableNumber, Number, NumberType, numbers_for_sale};
use crate::service::Service;
use crate::short_code::ShortCode;

/// Everything that the simulator knows.
#[derive(Debug, Default)]
pub struct Records {
    pub accounts: HashMap<String, Account>,
    pub numbers: Vec<Number>,
    pub short_codes: Vec<ShortCode>,
    /// In the order in which they were created.
    pub messages: Vec<Message>,
    message_index: HashMap<String, usize>,
    pub services: Vec<Service>,
    pub available: Vec<AvailableNumber>,
    /// The numbers that were bought, in their order.
    pub bought: Vec<String>,
    /// The faults of the next messages that are created.
    pub message_faults: VecDeque<Fault>,
    /// The faults of the next calls about numbers and registrations.
    pub number_faults: VecDeque<Fault>,
    /// How many calls about services and registrations there were.
    pub messaging_calls: usize,
    pub switches: Switches,
    /// The base URL of the latest call to the API. URLs of media begin with it, as Twilio's do with
    /// its own.
    pub api_base: Option<String>,
    /// Who sent STOP to which sender: (messaging service or number without one, phone).
    pub opted_out: HashSet<(String, String)>,
}

/// Misbehaviour that lasts until it is switched off.
#[derive(Debug, Default)]
pub struct Switches {
    /// Services and registrations are refused, as to a key without the permission.
    pub messaging_refused: bool,
    /// No status callback is posted.
    pub callbacks_off: bool,
    /// Status callbacks come before the answer to the call, out of order, twice or late.
    pub callbacks_shuffled: bool,
    /// Webhooks of inbound messages are not posted.
    pub webhooks_lost: bool,
    /// The status with which lists of media are refused.
    pub media_refused: Option<u16>,
}

impl Records {
    /// The number with these digits.
    pub fn number(&self, phone_number: &str) -> Option<&Number> {
        self.numbers.iter().find(|number| number.phone_number == phone_number)
    }

    /// The same, to change it.
    pub fn number_mut(&mut self, phone_number: &str) -> Option<&mut Number> {
        self.numbers.iter_mut().find(|number| number.phone_number == phone_number)
    }

    /// The short code with these digits.
    pub fn short_code(&self, digits: &str) -> Option<&ShortCode> {
        self.short_codes.iter().find(|code| code.short_code == digits)
    }

    /// The same, to change it.
    pub fn short_code_mut(&mut self, digits: &str) -> Option<&mut ShortCode> {
        self.short_codes.iter_mut().find(|code| code.short_code == digits)
    }

    /// The account that has a number or a short code.
    pub fn owner(&self, sender: &str) -> Option<&String> {
        let of_number = self.number(sender).map(|number| &number.account_sid);
        of_number.or_else(|| self.short_code(sender).map(|code| &code.account_sid))
    }

    /// The id of the messaging service that a number or a short code is in.
    pub fn service_sid_of(&self, sender: &str) -> Option<&String> {
        let of_number = self.number(sender).and_then(|number| number.service_sid.as_ref());
        of_number.or_else(|| self.short_code(sender).and_then(|code| code.service_sid.as_ref()))
    }

    /// The messaging service of a number.
    pub fn service_of(&self, number: &Number) -> Option<&Service> {
        self.service(number.service_sid.as_deref())
    }

    /// The messaging service with this id.
    pub fn service(&self, sid: Option<&str>) -> Option<&Service> {
        self.services.iter().find(|service| Some(service.sid.as_str()) == sid)
    }

    /// Gives an account a short code, and returns the short code's id.
    pub fn add_short_code(&mut self, account_sid: &str, digits: &str) -> String {
        if let Some(code) = self.short_code(digits) {
            return code.sid.clone();
        }
        let code = ShortCode::new(account_sid, digits);
        let sid = code.sid.clone();
        self.short_codes.push(code);
        sid
    }

    /// Who a phone opts out of with a STOP to a number: the number's messaging service, or the
    /// number without one.
    pub fn opt_out_pair(&self, phone_number: &str, phone: &str) -> (String, String) {
        let service = self.service_sid_of(phone_number).cloned();
        (service.unwrap_or_else(|| phone_number.to_owned()), phone.to_owned())
    }

    /// The sender that a messaging service chooses for a phone: the one that the phone had to do
    /// with last, else the first.
    pub fn sticky_sender(&self, service_sid: &str, phone: &str) -> Option<String> {
        let is_member = |sender: &&String| {
            self.service_sid_of(sender).is_some_and(|sid| sid == service_sid)
                && self.number(sender).is_none_or(|number| number.sms)
        };
        let with_phone = self.messages.iter().rev().find_map(|message| match message.direction {
            Direction::Inbound if message.from == phone => Some(&message.to).filter(is_member),
            Direction::OutboundApi if message.to == phone => Some(&message.from).filter(is_member),
            Direction::Inbound | Direction::OutboundApi => None,
        });
        let numbers = self.numbers.iter().map(|number| &number.phone_number);
        let all = numbers.chain(self.short_codes.iter().map(|code| &code.short_code));
        with_phone.or_else(|| all.into_iter().find(is_member)).cloned()
    }

    /// Gives an account a number, and returns the number's id.
    pub fn add_number(&mut self, account_sid: &str, phone_number: &str) -> String {
        if let Some(number) = self.number(phone_number) {
            return number.sid.clone();
        }
        // All numbers of an account share one approved service until a test changes that.
        let shared = self.services.iter().find(|service| service.account_sid == account_sid);
        let service_sid = shared.map(|service| service.sid.clone()).unwrap_or_else(|| {
            let service = Service::approved(account_sid);
            let sid = service.sid.clone();
            self.services.push(service);
            sid
        });
        let number = Number::new(account_sid, phone_number, service_sid);
        let sid = number.sid.clone();
        self.numbers.push(number);
        sid
    }

    /// The error code with which networks block the messages of a number: its campaign is not
    /// verified (30034), or its toll-free verification is missing (30032).
    pub fn blocked_code(&self, phone_number: &str) -> Option<i32> {
        let number = self.number(phone_number)?;
        match number.number_type {
            NumberType::TollFree => {
                let approved = number.verification.as_ref().is_some_and(|(status, _)| status == "TWILIO_APPROVED");
                (!approved).then_some(30032)
            }
            NumberType::Local | NumberType::Mobile => {
                let verified = self.service_of(number).is_some_and(Service::is_verified);
                (phone_number.starts_with("+1") && !verified).then_some(30034)
            }
        }
    }

    /// Adds a message.
    pub fn add_message(&mut self, message: Message) {
        self.message_index.insert(message.sid.clone(), self.messages.len());
        self.messages.push(message);
    }

    /// The message with this id.
    pub fn message(&self, sid: &str) -> Option<&Message> {
        self.message_index.get(sid).and_then(|at| self.messages.get(*at))
    }

    /// The same, to change it.
    pub fn message_mut(&mut self, sid: &str) -> Option<&mut Message> {
        self.message_index.get(sid).and_then(|at| self.messages.get_mut(*at))
    }
}

/// The records, shared by all requests.
#[derive(Clone)]
pub struct Store(Arc<Mutex<Records>>);

impl Store {
    /// Records without accounts, but with numbers for sale.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Records { available: numbers_for_sale(), ..Records::default() })))
    }

    /// Locks the records.
    pub fn lock(&self) -> MutexGuard<'_, Records> {
        // The records stay usable after a panic elsewhere: every change leaves them complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_its_registration_is_blocked() {
        let mut records = Records::default();
        for (phone_number, unregistered) in
            [("+14155550199", Some(30034)), ("+18005550120", Some(30032)), ("+447700900120", None)]
        {
            records.add_number("AC1", phone_number);
            assert_eq!(records.blocked_code(phone_number), None, "{phone_number} is registered");
            let number = records.number_mut(phone_number).expect("the number");
            (number.service_sid, number.verification) = (None, None);
            assert_eq!(records.blocked_code(phone_number), unregistered, "{phone_number}");
        }
        assert_eq!(records.blocked_code("+14155550100"), None, "a number of nobody");
    }
}
