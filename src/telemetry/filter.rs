//! Reads `RUST_LOG`. A misspelt level is read as the name of a module, which silences everything
//! else, so it is refused.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT: &str = "info,sqlx=warn,poem=warn,apalis=warn,apalis_core=warn";

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Modules that may be given alone, for all that they log.
const MODULES: [&str; 6] = ["textback", "twilio_simulator", "sqlx", "poem", "apalis", "apalis_core"];

/// Those among them that are ours. No module of others has a name like theirs.
const OURS: [&str; 2] = ["textback", "twilio_simulator"];

/// The filter of a `RUST_LOG`, and what is wrong with it. One that is wrong is not used.
pub(super) fn of(given: Option<&str>) -> (EnvFilter, Option<String>) {
    let Some(given) = given.map(str::trim).filter(|given| !given.is_empty()) else {
        return (EnvFilter::new(DEFAULT), None);
    };
    // A span's fields have blanks and commas of their own, and only people who know the syntax
    // write them.
    if given.contains('[') {
        return match EnvFilter::try_new(given) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(DEFAULT), Some(format!("RUST_LOG is not used: {error}"))),
        };
    }
    let parts: Vec<&str> = given.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return (EnvFilter::new(DEFAULT), None);
    }
    let wrong = match (parts.iter().find_map(|part| mistake(part)), EnvFilter::try_new(parts.join(","))) {
        (None, Ok(filter)) => return (filter, None),
        (Some(mistake), _) => mistake,
        (None, Err(error)) => error.to_string(),
    };
    let told = format!(
        "RUST_LOG is not used: {wrong}; give a level ({}), or MODULE=LEVEL, separated by commas",
        LEVELS.join(", ")
    );
    (EnvFilter::new(DEFAULT), Some(told))
}

/// What is wrong with one part of a filter.
fn mistake(part: &str) -> Option<String> {
    let shown = |text: &str| text.chars().take(40).collect::<String>();
    let (module, level) = match part.rsplit_once('=') {
        Some((module, level)) => (Some(module.trim()), Some(level.trim())),
        None if is_level(part) => (None, Some(part)),
        None => (Some(part), None),
    };
    if let Some(level) = level.filter(|level| !is_level(level)) {
        return Some(format!("{} is not a level{}", shown(level), suggestion(level, &LEVELS)));
    }
    let module = module?.split("::").next().unwrap_or_default();
    if level.is_none() && !MODULES.contains(&module) {
        let meant: Vec<&str> = LEVELS.iter().chain(&MODULES).copied().collect();
        return Some(format!("{} is not a level{}", shown(part), suggestion(module, &meant)));
    }
    // Names of modules are compared with their case.
    let letters = module.to_ascii_lowercase().replace('-', "_");
    let is_meant = |ours: &&&str| module != **ours && strsim::damerau_levenshtein(&letters, ours) <= 2;
    let meant = OURS.iter().find(is_meant)?;
    Some(format!("there is no module {}, did you mean {meant}?", shown(module)))
}

fn is_level(text: &str) -> bool {
    !text.is_empty() && text.parse::<LevelFilter>().is_ok()
}

fn suggestion(given: &str, known: &[&str]) -> String {
    let given = given.to_ascii_lowercase();
    let similarity = |known: &&&str| strsim::normalized_damerau_levenshtein(&given, known);
    let best = known.iter().max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    best.filter(|best| similarity(best) >= 0.5).map_or_else(String::new, |best| format!(", did you mean {best}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_can_be_used_is_used() {
        for given in [
            "info",
            "WARN",
            "debug,sqlx=off",
            "textback=debug",
            "textback::jobs",
            "off,textback::cli=info",
            "info,hyper=trace",
            "3",
            "textback[turn.take{id=1}]=debug",
            " info , sqlx=warn,",
        ] {
            assert_eq!(of(Some(given)).1, None, "{given}");
        }
        for none in [None, Some(""), Some("  "), Some(","), Some(" , ,")] {
            let (filter, told) = of(none);
            assert_eq!((filter.to_string(), told), (EnvFilter::new(DEFAULT).to_string(), None));
        }
    }

    #[test]
    fn a_filter_with_a_mistake_is_told_and_not_used() {
        for (given, meant) in [
            ("inof", "did you mean info?"),
            ("warning", "did you mean warn?"),
            ("Debgu", "did you mean debug?"),
            ("textback=inf", "did you mean info?"),
            ("texback=debug", "did you mean textback?"),
            ("info,texback", "did you mean textback?"),
            ("TEXTBACK=debug", "did you mean textback?"),
            ("info,Textback::jobs=debug", "did you mean textback?"),
            ("twilio-simulator=debug", "did you mean twilio_simulator?"),
            ("verbose", "verbose is not a level"),
            ("info;debug", "info;debug is not a level"),
            ("textback=", "is not a level"),
            ("=", "is not a level"),
        ] {
            let (filter, told) = of(Some(given));
            assert!(
                told.as_ref().is_some_and(|told| told.contains(meant) && told.contains("RUST_LOG")),
                "{given}: {told:?}"
            );
            assert_eq!(filter.to_string(), EnvFilter::new(DEFAULT).to_string());
        }
    }
}
