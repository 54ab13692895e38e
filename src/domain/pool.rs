//! Which number of a pool sends a text. We choose it and not the carrier, so that the contact's
//! reply surely joins the session.
//!
//! docs/decisions/033-pools.md has the reasons.

use uuid::Uuid;

use super::number::SendPolicy;
use super::phone_number::is_short_code;

/// The longest name that a carrier takes for a sender, such as a company's.
const LONGEST_NAME: usize = 11;

/// Whether a sender can be the id of a pool: it begins with a letter, as no number does, and is
/// longer than a name. Its carrier knows the form of its ids.
pub fn may_be_id(sender: &str) -> bool {
    sender.starts_with(|first: char| first.is_ascii_alphabetic())
        && sender.len() > LONGEST_NAME
        && sender.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An attached number of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: Uuid,
    pub number: String,
    /// ISO 3166-1 alpha-2, when the digits tell.
    pub country: Option<String>,
    pub send_policy: SendPolicy,
    /// Whether its texts come to us, as far as we know. Those of a number whose webhooks somebody
    /// changed go elsewhere.
    pub receives: bool,
    /// The session with the contact that is not closed. Its id tells which of two is newer.
    pub session_id: Option<Uuid>,
    /// Whether the contact's newest session with the members was on this number.
    pub is_last: bool,
    /// Whether the contact has opted out of this number.
    pub opted_out: bool,
}

/// What is known of a pool and a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub members: Vec<Member>,
    /// Whether the newest thing that the contact said to any number of the pool about consent is an
    /// opt-out. It counts for the whole pool, as it does at the carrier.
    pub opted_out: bool,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    Number(&'a Member),
    ContactOptedOut,
    /// The project has no attached number in the pool.
    NoNumber,
}

/// Chooses the number of a pool that sends to a contact in a country: one that is not the contact
/// itself and may send at all; the one of the contact's session; else the one that the contact had
/// to do with last; else one that need not wait for its registration; else one that gets the
/// contact's reply; else one of the contact's country; else one that is no short code, which
/// reaches only the country of its lease. Among equals the contact and the number decide, so that
/// contacts spread over the numbers, and each has the same one every time.
pub fn choose<'a>(facts: &'a Facts, contact: &str, country: Option<&str>) -> Choice<'a> {
    if facts.members.is_empty() {
        return Choice::NoNumber;
    }
    if facts.opted_out {
        return Choice::ContactOptedOut;
    }
    let rank = |member: &Member| {
        (
            member.number != contact,
            member.send_policy != SendPolicy::Blocked,
            member.session_id,
            member.is_last,
            member.send_policy == SendPolicy::Open,
            member.receives,
            country.is_some() && member.country.as_deref() == country,
            !is_short_code(&member.number),
            weight(contact, member.id),
        )
    };
    let willing = facts.members.iter().filter(|member| !member.opted_out);
    willing.max_by_key(|member| rank(member)).map_or(Choice::ContactOptedOut, Choice::Number)
}

/// The weight of a number for a contact: the same in each process and version, and as good as
/// random. A number that comes or goes changes the choice of no contact but those that choose it.
fn weight(contact: &str, number: Uuid) -> u64 {
    // FNV-1a, and a multiplication that mixes its bits.
    let bytes = contact.bytes().chain(number.into_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const ADA: &str = "+14155550101";

    fn member(id: u128) -> Member {
        Member {
            id: Uuid::from_u128(id),
            number: format!("+1415555020{id}"),
            country: Some("US".to_owned()),
            send_policy: SendPolicy::Open,
            receives: true,
            session_id: None,
            is_last: false,
            opted_out: false,
        }
    }

    fn chosen(members: Vec<Member>) -> Option<u128> {
        match choose(&Facts { members, opted_out: false }, ADA, Some("US")) {
            Choice::Number(member) => Some(member.id.as_u128()),
            Choice::ContactOptedOut | Choice::NoNumber => None,
        }
    }

    #[test]
    fn the_contacts_session_comes_first_and_then_what_the_contact_knows() {
        let in_session = |id, session| Member { session_id: Some(Uuid::from_u128(session)), ..member(id) };
        let last = |id| Member { is_last: true, ..member(id) };
        let abroad = |id| Member { country: Some("GB".to_owned()), ..member(id) };
        let policy = |send_policy, of: Member| Member { send_policy, ..of };
        let held = |of| policy(SendPolicy::Held, of);
        let elsewhere = |of| Member { receives: false, ..of };
        let code = |id| Member { number: "72975".to_owned(), country: None, ..member(id) };
        let blocked = |of| policy(SendPolicy::Blocked, of);
        let out = |of: Member| Member { opted_out: true, ..of };
        let contact = |id| Member { number: ADA.to_owned(), ..member(id) };
        for (members, expected) in [
            (vec![], None),
            (vec![member(1)], Some(1)),
            (vec![last(1), in_session(2, 7)], Some(2)),
            (vec![in_session(1, 8), in_session(2, 7)], Some(1)),
            (vec![in_session(1, 7), in_session(2, 8)], Some(2)),
            (vec![member(1), last(2)], Some(2)),
            (vec![abroad(1), member(2)], Some(2)),
            (vec![in_session(1, 7), abroad(2)], Some(1)),
            (vec![Member { is_last: true, ..abroad(1) }, member(2)], Some(1)),
            // A number that waits for its registration is worse than one that does not, unless the
            // contact knows it.
            (vec![held(member(1)), abroad(2)], Some(2)),
            (vec![held(last(1)), member(2)], Some(1)),
            // So is one whose texts go elsewhere, and a short code, which may not reach the
            // contact's country.
            (vec![elsewhere(member(1)), abroad(2)], Some(2)),
            (vec![elsewhere(member(1)), held(member(2))], Some(1)),
            (vec![elsewhere(last(1)), member(2)], Some(1)),
            (vec![abroad(1), abroad(2), code(3)], Some(1)),
            (vec![abroad(1), abroad(2), code(4)], Some(1)),
            (vec![code(3), held(member(1))], Some(3)),
            (vec![Member { is_last: true, ..code(3) }, member(2)], Some(3)),
            // One that may not send sends only if all may not: then the refusal says so.
            (vec![blocked(in_session(1, 7)), abroad(2)], Some(2)),
            (vec![blocked(in_session(1, 7)), held(member(2))], Some(2)),
            (vec![blocked(last(1)), blocked(abroad(2))], Some(1)),
            // An opt-in that another number got later lets the others send.
            (vec![out(in_session(1, 7)), member(2)], Some(2)),
            (vec![out(member(1))], None),
            (vec![contact(1), blocked(member(2))], Some(2)),
            (vec![contact(1)], Some(1)),
        ] {
            let backwards = members.iter().rev().cloned().collect();
            assert_eq!(chosen(members.clone()), expected, "{members:?}");
            assert_eq!(chosen(backwards), expected, "in whatever order");
        }
    }

    #[test]
    fn an_opt_out_of_one_number_is_one_of_the_whole_pool() {
        let session = Member { session_id: Some(Uuid::from_u128(7)), ..member(1) };
        let facts = Facts { members: vec![session], opted_out: true };
        assert_eq!(choose(&facts, ADA, None), Choice::ContactOptedOut);
        assert_eq!(choose(&Facts { members: Vec::new(), ..facts }, ADA, None), Choice::NoNumber);
    }

    #[test]
    fn contacts_spread_over_the_numbers_and_keep_theirs_when_one_leaves() {
        let members: Vec<Member> = (1..=4).map(member).collect();
        let chosen = |members: &[Member], contact: &str| match choose(
            &Facts { members: members.to_vec(), opted_out: false },
            contact,
            None,
        ) {
            Choice::Number(member) => member.id.as_u128(),
            Choice::ContactOptedOut | Choice::NoNumber => 0,
        };
        let contacts: Vec<String> = (0..2_000).map(|n| format!("+1415555{n:04}")).collect();
        let mut counts = HashMap::new();
        for contact in &contacts {
            let with_all = chosen(&members, contact);
            *counts.entry(with_all).or_insert(0) += 1;
            if with_all != 4 {
                assert_eq!(chosen(&members[..3], contact), with_all, "{contact}");
            }
        }
        assert!((1..=4).all(|id| counts.get(&id).is_some_and(|count| (400..=600).contains(count))), "{counts:?}");
    }

    #[test]
    fn an_id_of_a_pool_is_no_number_and_no_name() {
        for (sender, may_be) in [
            ("MG0123456789abcdef0123456789abcdef", true),
            ("+14155550101", false),
            ("72975", false),
            ("ACME", false),
            ("MG0123456789abcdef0123456789abcde!", false),
            ("", false),
        ] {
            assert_eq!(may_be_id(sender), may_be, "{sender}");
        }
    }
}
