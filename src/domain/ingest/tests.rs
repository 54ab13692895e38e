//! Tests the decisions about inbound messages.

use chrono::TimeDelta;

use super::*;

const AGENT: Uuid = Uuid::from_u128(1);
const SESSION: Uuid = Uuid::from_u128(2);
const MESSAGE: Uuid = Uuid::from_u128(3);
const NEW: Target = Target::Open { previous: None };

fn facts() -> Facts {
    Facts {
        now: DateTime::UNIX_EPOCH,
        stored: None,
        sender: Sender::Contact,
        answers_reactions: false,
        opted_out: false,
        consent_at: None,
        session: None,
        previous_session_id: None,
        paused_until: None,
        warn_after_seconds: 86_400,
        limits: ContactLimits { per_minute: 3, repeats_in_five_minutes: 4 },
        recent: RecentMessages::default(),
        over_project_limit: false,
        answers: AnswerFacts { has_help_message: true, ..AnswerFacts::default() },
    }
}

fn session() -> Session {
    Session {
        id: SESSION,
        agent_id: AGENT,
        status: SessionStatus::Open,
        engaged: true,
        has_turn: false,
        runs_at_once: true,
        warn_after_seconds: 86_400,
    }
}

fn by_default(keyword: Keyword) -> KeywordMatch {
    KeywordMatch { keyword, known_by: KnownBy::CarrierDefault }
}

const NOTHING: KeywordEffect = KeywordEffect { consent: None, answer: None };
const OPT_OUT: KeywordEffect = KeywordEffect { consent: Some(ConsentKind::OptedOut), answer: None };
const OPT_IN: KeywordEffect = KeywordEffect { consent: Some(ConsentKind::OptedIn), answer: None };
const SEND_HELP: KeywordEffect = KeywordEffect { consent: None, answer: Some(KeywordAnswer::Help) };

fn stored(session: Target, kind: MessageKind, effect: Effect) -> Store {
    Store { session, kind, effect, withdraws: &[], paused_until: None }
}

#[test]
fn what_fits_no_session_is_quarantined_and_what_is_there_is_a_duplicate() {
    let known = Facts { stored: Some((MESSAGE, SESSION)), opted_out: true, ..facts() };
    let plain = Inbound::default();
    for (inbound, facts, expected) in [
        (
            Inbound { reject_reason: Some(RejectReason::NoMessageId), ..plain },
            Some(&known),
            Decision::Quarantine { reason: RejectReason::NoMessageId },
        ),
        (plain, None, Decision::Quarantine { reason: RejectReason::NumberNotAttached }),
        (plain, Some(&known), Decision::Duplicate { message_id: MESSAGE, session_id: SESSION }),
    ] {
        assert_eq!(decide(&inbound, facts), expected, "{inbound:?}");
    }
}

#[test]
fn a_keyword_is_obeyed_and_yes_is_one_only_while_opted_out() {
    let out = Facts { opted_out: true, ..facts() };
    let helped = Facts { answers: AnswerFacts::default(), ..facts() };
    for (keyword, facts, effect) in [
        (Keyword::Stop, &facts(), OPT_OUT),
        (Keyword::Stop, &out, OPT_OUT),
        (Keyword::Start, &facts(), OPT_IN),
        (Keyword::Start, &out, OPT_IN),
        (Keyword::Yes, &out, OPT_IN),
        (Keyword::Help, &facts(), SEND_HELP),
        (Keyword::Help, &helped, NOTHING),
    ] {
        let inbound = Inbound { keyword: Some(by_default(keyword)), ..Inbound::default() };
        let expected = Decision::Store(stored(NEW, MessageKind::Keyword, Effect::Obey(effect)));
        assert_eq!(decide(&inbound, Some(facts)), expected, "{keyword:?} {facts:?}");
    }
    let yes = Inbound { keyword: Some(by_default(Keyword::Yes)), ..Inbound::default() };
    assert!(matches!(decide(&yes, Some(&facts())), Decision::Store(Store { kind: MessageKind::Text, .. })));
}

#[test]
fn help_is_answered_once_by_the_carrier_by_us_or_by_the_agent() {
    for (known_by, has_help_message, in_last_minute, kind, obeyed) in [
        (KnownBy::CarrierReport, true, vec![], MessageKind::Keyword, Some(NOTHING)),
        (KnownBy::CarrierReport, false, vec![], MessageKind::Keyword, Some(NOTHING)),
        (KnownBy::CarrierDefault, true, vec![], MessageKind::Keyword, Some(SEND_HELP)),
        (KnownBy::CarrierDefault, false, vec![], MessageKind::Keyword, Some(NOTHING)),
        (KnownBy::Us, true, vec![], MessageKind::Keyword, Some(SEND_HELP)),
        (KnownBy::CarrierDefault, true, vec![MessageKind::Help], MessageKind::Keyword, Some(NOTHING)),
        (KnownBy::Us, true, vec![MessageKind::Help], MessageKind::Keyword, Some(NOTHING)),
        (KnownBy::Us, false, vec![], MessageKind::Text, None),
    ] {
        let keyword = Some(KeywordMatch { keyword: Keyword::Help, known_by });
        let answers = AnswerFacts { answers_all: false, has_help_message, in_last_minute };
        let facts = Facts { answers, ..facts() };
        let Decision::Store(store) = decide(&Inbound { keyword, ..Inbound::default() }, Some(&facts)) else {
            panic!("{known_by:?}")
        };
        let effect = match store.effect {
            Effect::Obey(effect) => Some(effect),
            Effect::Answer(_) | Effect::Skip(_) => None,
        };
        assert_eq!((store.kind, effect), (kind, obeyed), "{known_by:?} {has_help_message}");
    }
}

#[test]
fn where_the_carrier_leaves_keywords_to_us_each_is_answered_once() {
    use KeywordAnswer::{Help, OptIn, OptOut};
    for (keyword, known_by, opted_out, in_last_minute, consent, answer) in [
        (Keyword::Stop, KnownBy::CarrierDefault, false, vec![], Some(ConsentKind::OptedOut), Some(OptOut)),
        (Keyword::Stop, KnownBy::Us, false, vec![], Some(ConsentKind::OptedOut), Some(OptOut)),
        (Keyword::Stop, KnownBy::CarrierReport, false, vec![], Some(ConsentKind::OptedOut), None),
        (Keyword::Stop, KnownBy::Us, true, vec![], Some(ConsentKind::OptedOut), Some(OptOut)),
        (Keyword::Stop, KnownBy::Us, true, vec![OptOut], Some(ConsentKind::OptedOut), None),
        (Keyword::Stop, KnownBy::Us, false, vec![OptOut, OptIn], Some(ConsentKind::OptedOut), Some(OptOut)),
        (Keyword::Start, KnownBy::CarrierDefault, true, vec![OptOut], Some(ConsentKind::OptedIn), Some(OptIn)),
        (Keyword::Start, KnownBy::Us, false, vec![OptIn], Some(ConsentKind::OptedIn), None),
        (Keyword::Yes, KnownBy::CarrierDefault, true, vec![], Some(ConsentKind::OptedIn), Some(OptIn)),
        (Keyword::Help, KnownBy::CarrierDefault, true, vec![OptOut], None, Some(Help)),
        (Keyword::Help, KnownBy::Us, false, vec![], None, Some(Help)),
        (Keyword::Help, KnownBy::Us, false, vec![Help], None, None),
        (Keyword::Help, KnownBy::CarrierReport, false, vec![], None, None),
    ] {
        let in_last_minute = in_last_minute.into_iter().map(KeywordAnswer::kind).collect();
        let answers = AnswerFacts { answers_all: true, has_help_message: false, in_last_minute };
        let facts = Facts { opted_out, answers, ..facts() };
        let inbound = Inbound { keyword: Some(KeywordMatch { keyword, known_by }), ..Inbound::default() };
        let expected = stored(NEW, MessageKind::Keyword, Effect::Obey(KeywordEffect { consent, answer }));
        assert_eq!(decide(&inbound, Some(&facts)), Decision::Store(expected), "{keyword:?} {known_by:?}");
    }
}

#[test]
fn a_keyword_that_came_late_does_not_undo_what_was_said_after_it() {
    let said = DateTime::UNIX_EPOCH;
    let later = Facts { consent_at: Some(said + TimeDelta::seconds(1)), ..facts() };
    let earlier = Facts { consent_at: Some(said - TimeDelta::seconds(1)), ..facts() };
    for (keyword, facts, effect) in [
        (Keyword::Stop, &later, NOTHING),
        (Keyword::Start, &later, NOTHING),
        (Keyword::Stop, &earlier, OPT_OUT),
        (Keyword::Start, &earlier, OPT_IN),
        (Keyword::Help, &later, SEND_HELP),
    ] {
        let inbound = Inbound { keyword: Some(by_default(keyword)), sent_at: Some(said), ..Inbound::default() };
        let expected = Decision::Store(stored(NEW, MessageKind::Keyword, Effect::Obey(effect)));
        assert_eq!(decide(&inbound, Some(facts)), expected, "{keyword:?}");
    }
}

#[test]
fn no_turn_answers_a_number_of_ours_and_its_keywords_are_not_obeyed() {
    for (sender, reason) in [(Sender::Itself, SkipReason::ToIsFrom), (Sender::OwnNumber, SkipReason::FromOwnNumber)] {
        let facts = Facts { sender, ..facts() };
        for keyword in [None, Some(Keyword::Stop), Some(Keyword::Help)] {
            let inbound = Inbound { keyword: keyword.map(by_default), ..Inbound::default() };
            let expected = Decision::Store(stored(NEW, MessageKind::Text, Effect::Skip(reason)));
            assert_eq!(decide(&inbound, Some(&facts)), expected, "{sender} {keyword:?}");
        }
    }
}

#[test]
fn a_reaction_is_answered_if_the_agent_wants_that_and_no_limit_stops_it() {
    let answers = Facts { answers_reactions: true, ..facts() };
    let paused = Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(1));
    for (facts, reason) in [
        (facts(), Some(SkipReason::Reaction)),
        (Facts { paused_until: paused, ..facts() }, Some(SkipReason::Reaction)),
        (Facts { opted_out: true, ..facts() }, Some(SkipReason::OptedOut)),
        (answers.clone(), None),
        (Facts { paused_until: paused, ..answers.clone() }, Some(SkipReason::Paused)),
        (Facts { opted_out: true, ..answers }, Some(SkipReason::OptedOut)),
    ] {
        let inbound = Inbound { is_reaction: true, ..Inbound::default() };
        let Decision::Store(stored) = decide(&inbound, Some(&facts)) else { panic!("not stored: {facts:?}") };
        assert_eq!(stored.kind, MessageKind::Reaction);
        match (stored.effect, reason) {
            (Effect::Answer(_), None) => {}
            (Effect::Skip(skipped), Some(reason)) => assert_eq!(skipped, reason, "{facts:?}"),
            (effect, _) => panic!("{effect:?} {facts:?}"),
        }
    }
}

#[test]
fn no_turn_answers_what_a_limit_stops() {
    let later = DateTime::UNIX_EPOCH + TimeDelta::seconds(1);
    let paused = Some(later);
    let repeats = Some(DateTime::UNIX_EPOCH + TimeDelta::minutes(10));
    let fast = RecentMessages { same_answers: [0, 0], in_last_minute: 3, passed_in_last_minute: 3 };
    let alike = RecentMessages { same_answers: [3, 0], in_last_minute: 0, passed_in_last_minute: 0 };
    for (facts, reason, paused_until) in [
        (
            Facts { opted_out: true, over_project_limit: true, paused_until: paused, ..facts() },
            SkipReason::OptedOut,
            paused,
        ),
        (Facts { paused_until: paused, over_project_limit: true, ..facts() }, SkipReason::Paused, paused),
        (Facts { recent: alike, over_project_limit: true, ..facts() }, SkipReason::Repeats, repeats),
        (Facts { recent: fast, over_project_limit: true, ..facts() }, SkipReason::ContactTooFast, None),
        (Facts { over_project_limit: true, ..facts() }, SkipReason::ProjectTooFast, None),
    ] {
        let expected = Store { paused_until, ..stored(NEW, MessageKind::Text, Effect::Skip(reason)) };
        assert_eq!(decide(&Inbound::default(), Some(&facts)), Decision::Store(expected), "{facts:?}");
    }
}

#[test]
fn a_message_joins_the_session_and_its_turn_is_claimed_where_that_is_possible() {
    let other = Uuid::from_u128(9);
    let enqueued = Answer { turn: Turn::Enqueue, inactivity: Inactivity::Keep };
    let covered = Answer { turn: Turn::Present, ..enqueued };
    let earlier = Answer { inactivity: Inactivity::BringForward, ..enqueued };
    for (permit, session, warn_after_seconds, expected) in [
        (None, session(), 86_400, enqueued),
        (Some(AGENT), session(), 86_400, Answer { turn: Turn::Claim, ..enqueued }),
        (Some(other), session(), 86_400, enqueued),
        (Some(AGENT), Session { has_turn: true, ..session() }, 86_400, covered),
        (None, Session { has_turn: true, ..session() }, 86_400, covered),
        (Some(AGENT), Session { runs_at_once: false, ..session() }, 86_400, enqueued),
        (
            None,
            Session { engaged: false, ..session() },
            86_400,
            Answer { inactivity: Inactivity::Schedule, ..enqueued },
        ),
        (None, session(), 3600, earlier),
        (None, Session { warn_after_seconds: 30, ..session() }, 30, earlier),
        (None, session(), 90_000, enqueued),
    ] {
        let inbound = Inbound { permit, ..Inbound::default() };
        let facts = Facts { session: Some(session), warn_after_seconds, ..facts() };
        let expected = stored(Target::Join(SESSION), MessageKind::Text, Effect::Answer(expected));
        assert_eq!(decide(&inbound, Some(&facts)), Decision::Store(expected), "{session:?}");
    }
    let new = Answer { turn: Turn::Enqueue, inactivity: Inactivity::Schedule };
    let inbound = Inbound { permit: Some(AGENT), ..Inbound::default() };
    let expected = Decision::Store(stored(NEW, MessageKind::Text, Effect::Answer(new)));
    assert_eq!(decide(&inbound, Some(&facts())), expected);
}

#[test]
fn a_warning_and_a_closing_are_withdrawn_when_they_are_no_longer_true() {
    let warned = Some(Session { status: SessionStatus::Warned, ..session() });
    let out = Facts { opted_out: true, ..facts() };
    let none: &[MessageKind] = &[];
    for (session, previous_session_id, facts, expected) in [
        (warned, None, facts(), &[MessageKind::Warning][..]),
        (warned, None, out.clone(), none),
        (Some(session()), None, facts(), none),
        (None, None, facts(), none),
        (None, Some(MESSAGE), facts(), &[MessageKind::Warning, MessageKind::Closing]),
        (None, Some(MESSAGE), out, &[MessageKind::Warning, MessageKind::Closing]),
    ] {
        let facts = Facts { session, previous_session_id, ..facts };
        let decision = decide(&Inbound::default(), Some(&facts));
        assert!(matches!(decision, Decision::Store(Store { withdraws, .. }) if withdraws == expected), "{facts:?}");
    }
}
