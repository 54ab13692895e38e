//! Checks whether a text is a phone number in E.164 or a short code, and derives a number's country
//! from its digits.

/// Whether a text is a plus and 7 to 15 digits that don't begin with 0 (ITU-T E.164).
pub fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    })
}

/// Whether a text is 3 to 8 digits without a plus, as short codes have. Their digits say nothing
/// about a country: each country gives out its own.
pub fn is_short_code(text: &str) -> bool {
    (3..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text can be a number of the project: in E.164, or a short code. The constraint
/// `number_is_e164_or_a_short_code` says the same.
pub fn is_e164_or_short_code(text: &str) -> bool {
    is_e164(text) || is_short_code(text)
}

/// Whether it can be answered: 3 to 15 digits, with a plus or without. Carriers pass on what the
/// sender's network says, so a contact need not be in E.164.
pub fn is_dialable(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (3..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The country of an E.164 number (ISO 3166-1 alpha-2), if its digits identify one. 25 countries
/// share +1.
pub fn country(number: &str) -> Option<String> {
    let number = phonenumber::parse(None, number).ok()?;
    let code = number.country().code();
    let country = match number.country().id() {
        Some(country) => format!("{country:?}"),
        // An unassigned number: the first country of a code is its main country, except for +1.
        None if code != 1 => phonenumber::metadata::DATABASE.by_code(&code)?.first()?.id().to_owned(),
        None => return None,
    };
    (country.len() == 2).then_some(country)
}

/// The country code of numbers without a country, such as +800 and +882 (UN M49: 001, the world).
pub const INTERNATIONAL: &str = "001";

/// The toll-free areas of +1, which serve the United States and Canada.
const TOLL_FREE: [&str; 7] = ["+1800", "+1833", "+1844", "+1855", "+1866", "+1877", "+1888"];

/// The countries that an E.164 number may be in, to compare with a list of allowed countries. A
/// number of +1 with an unassigned area code may be in either of the two large countries, because
/// they open new areas every year. A number without a country is in the world, 001.
pub fn countries(number: &str) -> Vec<String> {
    let is_toll_free = TOLL_FREE.iter().any(|area| number.starts_with(area));
    match country(number).filter(|_| !is_toll_free) {
        Some(country) => vec![country],
        None if number.starts_with("+1") => vec!["US".to_owned(), "CA".to_owned()],
        None => vec![INTERNATIONAL.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_identify_the_country() {
        for (number, of) in [
            ("+14155550101", Some("US")),
            ("+16135550123", Some("CA")),
            ("+18765550123", Some("JM")),
            ("+447700900123", Some("GB")),
            ("+4915112345678", Some("DE")),
            ("+999123456789", None),
            ("72975", None),
            ("123", None),
            ("01234", None),
            ("49151123", None),
            ("", None),
        ] {
            assert_eq!(country(number).as_deref(), of, "{number}");
        }
    }

    #[test]
    fn codes_that_countries_share_are_told_apart() {
        for (number, of) in [
            ("+14155550101", &["US"][..]),
            ("+16135550123", &["CA"]),
            ("+18765550123", &["JM"]),
            ("+17875550123", &["PR"]),
            ("+12425550123", &["BS"]),
            ("+18095550123", &["DO"]),
            ("+447700900123", &["GB"]),
            ("+447797712345", &["JE"]),
            ("+447781123456", &["GG"]),
            ("+447624123456", &["IM"]),
            ("+79161234567", &["RU"]),
            ("+77012345678", &["KZ"]),
            ("+80012345678", &[INTERNATIONAL]),
            ("+88212345678", &[INTERNATIONAL]),
            ("+883510012345", &[INTERNATIONAL]),
            ("+999123456789", &[INTERNATIONAL]),
            ("+12005550123", &["US", "CA"]),
            ("+18005550123", &["US", "CA"]),
        ] {
            assert_eq!(countries(number), of, "{number}");
        }
    }

    #[test]
    fn a_text_is_in_e164_or_a_short_code_or_only_dialable_or_nothing() {
        for (text, e164, short_code, dialable) in [
            ("+14155550101", true, false, true),
            ("+1234567", true, false, true),
            ("+123456", false, false, true),
            ("+1234567890123456", false, false, false),
            ("14155550101", false, false, true),
            ("+0415555010", false, false, true),
            ("+1415555o101", false, false, false),
            ("+１４１５５５５０１０１", false, false, false),
            ("72975", false, true, true),
            ("123", false, true, true),
            ("12345678", false, true, true),
            // Some countries have short codes that begin with 0.
            ("0123", false, true, true),
            ("12", false, false, false),
            ("123456789", false, false, true),
            ("+72975", false, false, true),
            (" 72975", false, false, false),
            ("72975\n", false, false, false),
            ("7297a", false, false, false),
            ("٧٢٩٧٥", false, false, false),
            ("-7297", false, false, false),
            ("+", false, false, false),
            ("", false, false, false),
        ] {
            assert_eq!(
                (is_e164(text), is_short_code(text), is_dialable(text)),
                (e164, short_code, dialable),
                "{text:?}"
            );
            assert_eq!(is_e164_or_short_code(text), e164 || short_code, "{text:?}");
        }
    }
}
