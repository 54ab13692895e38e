//! What the functions of `conv` accept, each rule once: for a run, and for a check of what a script
//! spells out.

use crate::agents::template;
use crate::domain::bounds;
use crate::domain::characters::is_blank;
use crate::domain::{phone_number, pool, segments};

/// Why a text can't be sent to a number.
pub(super) fn bad_recipient(to: &str) -> Option<String> {
    (!phone_number::is_e164(to)).then(|| format!("{to:?} is not in E.164, such as +14155550101"))
}

/// Why a text can't be sent from a number.
pub(super) fn bad_sender(from: &str) -> Option<String> {
    (!pool::may_be_id(from) && !phone_number::is_e164_or_short_code(from))
        .then(|| format!("{from:?} is neither in E.164, such as +14155550199, nor a short code, nor the id of a pool"))
}

/// Why a text can't be sent outside the answer.
pub(super) fn bad_content(content: &str) -> Option<String> {
    let length = segments::units(content);
    (is_blank(content) || length > segments::MOST_UNITS)
        .then(|| format!("conv.send_sms takes 1 to {} characters, not {length}", segments::MOST_UNITS))
}

/// Why no template can have a name.
pub(super) fn bad_template(name: &str) -> Option<String> {
    (!template::is_name(name)).then(|| {
        format!(
            "{:?} is not a template name: a name has 1 to 100 letters, digits, _, . and -, and begins with a letter, a digit or _",
            bounds::text(name, 40)
        )
    })
}

/// Why a text can't be the language of a conversation.
pub(super) fn bad_language(tag: &str) -> Option<String> {
    let is_tag = tag.len() <= 35 && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (!is_tag).then(|| "conv.language takes a language tag such as \"de\" or \"en-GB\", or None".to_owned())
}

/// Why a method of `conv` refuses a string for one of its parameters.
pub(super) fn bad_argument(method: &str, parameter: &str, given: &str) -> Option<String> {
    match (method, parameter) {
        ("send_sms" | "send_sms_template", "to") => bad_recipient(given),
        ("send_sms", "from_number") => bad_sender(given),
        ("send_sms", "content") => bad_content(given),
        ("send_sms_template", "template") => bad_template(given),
        _ => None,
    }
}
