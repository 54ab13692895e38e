//! Finds the known name that a misspelt one stands for, for error messages.

/// Longer names are compared with nothing, because the comparison takes the product of both
/// lengths.
const LONGEST: usize = 64;

/// The known name that is most like the given one, if it is like enough to be meant. Case, hyphens
/// and underscores count as alike, and every third character may be wrong, missing, too many or
/// exchanged with the next.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| name.to_lowercase().replace('-', "_");
    let letters = given.chars().count();
    if !(2..=LONGEST).contains(&letters) {
        return None;
    }
    let given = alike(given);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&given, &alike(name)), name))
        .filter(|(distance, name)| *distance <= 1.max(letters.min(name.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The end of an error message about an unknown name: what was meant, or what is known.
pub fn or_known(given: &str, known: &[&str]) -> String {
    match (nearest(given, known.iter().copied()), known) {
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, []) => "none is known".to_owned(),
        (None, known) => format!("the known ones are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_misspelt_name_stands_for_the_nearest_one() {
        let known = ["status", "contact", "number", "cursor", "limit", "to"];
        for (given, meant) in [
            ("stauts", Some("status")),
            ("state", None),
            ("Status", Some("status")),
            ("limt", Some("limit")),
            ("limits", Some("limit")),
            ("contacts", Some("contact")),
            ("conatct", Some("contact")),
            ("To", Some("to")),
            ("numbr", Some("number")),
            ("page", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
        assert_eq!(nearest("warn-after-seconds", ["warn_after_seconds"]), Some("warn_after_seconds"));
        assert_eq!(nearest(&"limit".repeat(100), known), None);
        assert_eq!(or_known("stauts", &known), "did you mean status?");
        assert_eq!(or_known("page", &["limit", "cursor"]), "the known ones are limit, cursor");
        assert_eq!(or_known("page", &[]), "none is known");
    }

    proptest! {
        #[test]
        fn a_known_name_stands_for_itself(name in "[a-z_]{2,60}") {
            prop_assert_eq!(nearest(&name, [name.as_str()]), Some(name.as_str()));
        }
    }
}
