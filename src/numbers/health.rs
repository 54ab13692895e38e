//! What keeps texts of a number from coming or going, in plain words, as far as was seen last; it asks nobody.

use crate::storage::country::Country;
use crate::storage::number::Number;

/// Something that keeps texts of a number from coming or going.
#[derive(Debug, Clone)]
pub struct Finding {
    /// `blocked` or `at_risk`.
    pub severity: &'static str,
    pub what: String,
    pub mend: String,
}

/// Where A2P 10DLC counts: numbers that text as people do in the United States and what belongs to them
/// (support.twilio.com, article 14910496447771), and by the strict reading in Canada. What follows is the country's policy.
pub const A2P: [&str; 6] = ["US", "CA", "PR", "VI", "GU", "AS"];

/// What a registration's detail begins with when it could not be read.
pub const NOT_LOOKED_AT: &str = "not looked at";

fn blocked(what: String, mend: &str) -> Finding {
    Finding { severity: "blocked", what, mend: mend.to_owned() }
}

fn at_risk(what: String, mend: &str) -> Finding {
    Finding { severity: "at_risk", what, mend: mend.to_owned() }
}

fn because(detail: &Option<String>) -> String {
    detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default()
}

impl Number {
    /// What keeps its texts from coming or going. `country` is what counts for texting where it is, if that is known.
    pub fn findings(&self, country: Option<&Country>) -> Vec<Finding> {
        let mut findings = self.at_the_carrier();
        findings.extend(self.of_registration(country));
        findings.extend(self.of_country(country));
        findings
    }

    fn at_the_carrier(&self) -> Vec<Finding> {
        let (number, why) = (&self.number, because(&self.webhook_detail));
        if self.desired_state != "attached" {
            return vec![at_risk(
                format!("{number} is to be {}, and is not yet{why}", self.desired_state),
                "it is tried again by itself while textback work runs; asking again (DELETE /v1/numbers) is safe",
            )];
        }
        let found = match (self.refusal_reason.as_deref(), self.webhook.as_str()) {
            (Some("not_owned"), _) => blocked(
                format!("{number} is not in the carrier account{why}"),
                "get it back at the carrier: it is seen within ten minutes; or buy it (POST /v1/numbers with buy: true), or detach it",
            ),
            (Some("not_for_sale"), _) => blocked(
                format!("{number} could not be bought{why}"),
                "search for another one (GET /v1/available-numbers) and detach this; or ask again with buy: true",
            ),
            (Some(_), _) => {
                blocked(format!("{number} can't text{why}"), "attach one that can, and detach or release this")
            }
            (None, "ok") => return self.trapped().into_iter().collect(),
            (None, "drifted") => blocked(
                format!("texts to {number} don't come here{why}"),
                "attach it again: POST /v1/numbers sets its webhooks; mend_drift lets that happen by itself",
            ),
            (None, "unreachable") => at_risk(
                format!("the carrier could not be asked about {number}{why}"),
                "it is asked again within ten minutes; GET /v1/numbers/{id}/health?refresh=true asks now",
            ),
            (None, _) if self.webhook_detail.is_some() => blocked(
                format!("{number} is not set up at the carrier{why}"),
                "mend that; it is tried again within ten minutes, and asking again (POST /v1/numbers) is safe",
            ),
            (None, _) => blocked(
                format!("{number} is not set up at the carrier yet"),
                "it goes on by itself while textback work runs; asking again (POST /v1/numbers) is safe",
            ),
        };
        std::iter::once(found).chain(self.trapped()).collect()
    }

    fn trapped(&self) -> Option<Finding> {
        self.inbound_blocked_reason.as_ref().map(|trap| {
            blocked(
                format!("texts to {} vanish: {trap}", self.number),
                "in the carrier's console: Messaging, Services, Integration, Defer to sender's webhook",
            )
        })
    }

    fn of_registration(&self, country: Option<&Country>) -> Vec<Finding> {
        let (number, why) = (&self.number, because(&self.registration_detail));
        let unread = self.registration_detail.as_deref().is_some_and(|detail| detail.starts_with(NOT_LOOKED_AT));
        let register = match (self.number_type.as_deref(), self.country.as_deref(), country) {
            (Some("toll-free"), ..) => {
                "ask for its toll-free verification at the carrier; it is looked at again every ten minutes".to_owned()
            }
            (_, iso2, _) if iso2.is_none_or(|iso2| A2P.contains(&iso2)) => {
                "register a brand and a campaign (A2P 10DLC) at the carrier and put the number into its messaging service; it is looked at again every ten minutes".to_owned()
            }
            (_, iso2, country) => format!(
                "the carrier does not tell it for numbers of {}: see its guidelines, https://www.twilio.com/en-us/guidelines/{}/sms",
                country.map_or("this country", |country| &country.name),
                iso2.unwrap_or_default().to_lowercase()
            ),
        };
        let policy = self.registration_policy.as_str();
        let mut found = match (policy, self.registration.as_str()) {
            ("required", "unregistered" | "rejected") => vec![
                blocked(
                    format!("texts from {number} are not sent: its registration is {}{why}", self.registration),
                    &register,
                ),
                at_risk(
                    format!("texts to {number} may be blocked on their way, since it is not registered"),
                    &register,
                ),
            ],
            ("required", "pending") => {
                let patience = "nothing but patience: they leave in order when it is approved";
                let mend = if unread { &register } else { patience };
                vec![blocked(format!("texts from {number} wait for its registration, which is pending{why}"), mend)]
            }
            // Of one that is not set up nobody has asked: that is told already.
            ("required", "unknown") if unread || (self.webhook == "ok" && self.refusal_reason.is_none()) => {
                vec![at_risk(format!("whether {number} is registered is not known{why}"), &register)]
            }
            ("advised", "unregistered" | "rejected" | "pending") => vec![at_risk(
                format!("texts from {number} may be blocked: its registration is {}{why}", self.registration),
                &register,
            )],
            _ => Vec::new(),
        };
        if unread && found.is_empty() {
            found.push(at_risk(
                format!("the registration of {number} can't be read; what was known before counts{why}"),
                "let the key read it; it is looked at again every ten minutes",
            ));
        }
        found
    }

    fn of_country(&self, country: Option<&Country>) -> Option<Finding> {
        let Some(country) = country else {
            return Some(at_risk(
                format!(
                    "which country {} is in can't be told from its digits, so nobody knows whether texts go both ways there",
                    self.number
                ),
                "try it with a phone there",
            ));
        };
        let tell = format!("try it with a phone there, and tell what you find: PATCH /v1/countries/{}", country.iso2);
        match country.two_way {
            Some(false) => Some(blocked(
                format!("in {} texts don't go both ways ({})", country.name, country.source_of_two_way()),
                &tell,
            )),
            None => Some(at_risk(format!("nobody knows whether texts go both ways in {}", country.name), &tell)),
            Some(true) => (country.two_way_long_code == Some(false) && !country.two_way_ruled).then(|| {
                at_risk(
                    format!(
                        "in {} texts go both ways with short codes and the like, but not with an ordinary number",
                        country.name
                    ),
                    &tell,
                )
            }),
        }
    }
}
