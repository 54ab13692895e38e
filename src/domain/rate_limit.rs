//! Limits on what one contact sends: messages in a minute, and loops.
//!
//! A loop is two machines that answer each other, and both sides of it repeat. A contact who
//! answers `yes` to five questions repeats alone, so the contact is no machine as far as we can
//! tell. Hence a message counts as a repetition only if the same text came before and we gave it
//! the same answer before. Two answers that take turns count too, because some agents alternate. A
//! person whom the agent told the same four times, and who says the same a fifth time, is stopped
//! as well: the fifth answer would help no more than the first four. A machine with a counter in
//! its text ("Ticket 123 received") never repeats itself to the letter; the limit per minute bounds
//! how many answers it gets.
//!
//! docs/decisions/030-limits.md has the reasons.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::message::SkipReason;

/// How long a contact is paused whose messages look like a loop.
pub const PAUSE: TimeDelta = TimeDelta::minutes(10);

/// More messages than these in a minute stop a contact, even those that were not counted against
/// its limit. It bounds what is read for each message.
pub const MOST_IN_A_MINUTE: u32 = 1000;

/// What a project allows. 0 turns a limit off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContactLimits {
    /// Messages of one contact in a minute.
    pub per_minute: u32,
    /// The same message of one contact in five minutes, where our answers repeat too. At least 3:
    /// two equal answers are the first sign that our side repeats.
    pub repeats_in_five_minutes: u32,
}

/// What a contact sent before a message, on the same endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecentMessages {
    /// How often we gave each of the two most frequent answers to messages with the same text in
    /// the last five minutes. Zeros for a message without text, and where too few messages have its
    /// text.
    pub same_answers: [u32; 2],
    /// Messages in the last minute.
    pub in_last_minute: u32,
    /// Those of them that no limit stopped.
    pub passed_in_last_minute: u32,
}

impl RecentMessages {
    /// How many earlier messages with the same text got an answer that was given more than once.
    fn repetitions(self) -> u32 {
        self.same_answers.into_iter().filter(|times| *times > 1).sum()
    }
}

/// Why a contact's message gets no answer, if a limit stops it.
pub fn skip_reason(
    limits: ContactLimits,
    recent: RecentMessages,
    paused_until: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<SkipReason> {
    let detects_loops = limits.repeats_in_five_minutes > 0;
    if detects_loops && paused_until.is_some_and(|until| until > now) {
        return Some(SkipReason::Paused);
    }
    if detects_loops && recent.repetitions() + 1 >= limits.repeats_in_five_minutes {
        return Some(SkipReason::Repeats);
    }
    let too_fast = recent.passed_in_last_minute >= limits.per_minute || recent.in_last_minute >= MOST_IN_A_MINUTE;
    (limits.per_minute > 0 && too_fast).then_some(SkipReason::ContactTooFast)
}

/// How many more messages of a batch each project may have answered. A project without a limit has
/// no entry.
#[derive(Debug, Default)]
pub struct ProjectAllowances {
    left: HashMap<Uuid, i32>,
}

impl ProjectAllowances {
    /// Allowances by project.
    pub const fn of(left: HashMap<Uuid, i32>) -> Self {
        Self { left }
    }

    /// Whether one more message of a project may be answered, which uses one of its allowance.
    pub fn admit(&mut self, project_id: Uuid) -> bool {
        let Some(left) = self.left.get_mut(&project_id) else { return true };
        *left -= 1;
        *left >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(same_answer: u32, in_last_minute: u32, passed_in_last_minute: u32) -> RecentMessages {
        RecentMessages { same_answers: [same_answer, 0], in_last_minute, passed_in_last_minute }
    }

    #[test]
    fn a_limit_stops_what_is_over_it_and_0_turns_it_off() {
        let limits = |per_minute, repeats_in_five_minutes| ContactLimits { per_minute, repeats_in_five_minutes };
        for (limits, recent, expected) in [
            (limits(0, 0), recent(5000, 5000, 5000), None),
            (limits(3, 0), recent(50, 2, 2), None),
            (limits(3, 0), recent(50, 3, 3), Some(SkipReason::ContactTooFast)),
            // What a limit stopped does not count against the limit, up to a bound.
            (limits(3, 0), recent(0, 999, 2), None),
            (limits(3, 0), recent(0, 1000, 2), Some(SkipReason::ContactTooFast)),
            (limits(0, 4), recent(2, 500, 500), None),
            (limits(0, 4), recent(3, 0, 0), Some(SkipReason::Repeats)),
            (limits(0, 3), recent(2, 0, 0), Some(SkipReason::Repeats)),
            // Of two limits the loop is told: it pauses the contact.
            (limits(3, 4), recent(3, 3, 3), Some(SkipReason::Repeats)),
        ] {
            assert_eq!(skip_reason(limits, recent, None, DateTime::UNIX_EPOCH), expected, "{limits:?} {recent:?}");
        }
    }

    #[test]
    fn a_loop_is_where_our_answers_repeat_too() {
        for (repeats, same_answers, is_loop) in [
            // Each answer was another one: a survey.
            (5, [1, 1], false),
            (3, [1, 1], false),
            (5, [0, 0], false),
            (5, [3, 0], false),
            (5, [4, 0], true),
            // Two answers take turns.
            (5, [2, 2], true),
            (5, [3, 2], true),
            // An answer that was given once says nothing.
            (5, [3, 1], false),
            (4, [2, 1], false),
            (3, [2, 1], true),
        ] {
            let limits = ContactLimits { per_minute: 0, repeats_in_five_minutes: repeats };
            let recent = RecentMessages { same_answers, ..RecentMessages::default() };
            let expected = is_loop.then_some(SkipReason::Repeats);
            assert_eq!(skip_reason(limits, recent, None, DateTime::UNIX_EPOCH), expected, "{repeats} {same_answers:?}");
        }
    }

    #[test]
    fn a_pause_lasts_until_its_end_while_loops_are_detected() {
        let now = DateTime::UNIX_EPOCH;
        for (repeats, paused_until, expected) in [
            (4, Some(now + TimeDelta::seconds(1)), Some(SkipReason::Paused)),
            (4, Some(now), None),
            (0, Some(now + TimeDelta::seconds(1)), None),
        ] {
            let limits = ContactLimits { per_minute: 0, repeats_in_five_minutes: repeats };
            assert_eq!(skip_reason(limits, RecentMessages::default(), paused_until, now), expected);
        }
    }

    #[test]
    fn a_project_has_as_many_messages_of_a_batch_answered_as_its_limit_admits() {
        let (limited, free) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut allowances = ProjectAllowances::of(HashMap::from([(limited, 2)]));
        for admitted in [true, true, false, false] {
            assert_eq!(allowances.admit(limited), admitted);
            assert!(allowances.admit(free));
        }
    }
}
