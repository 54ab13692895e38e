//! Finds variables that look like settings of textback and that nothing reads, such as
//! `TEXTBACK_LISTN`.

use std::collections::BTreeSet;

use clap::Command;

/// The beginning of our variables.
const PREFIX: &str = "TEXTBACK_";

/// From which similarity on (Jaro-Winkler) a name is suggested. `LISTEN_ADDRESS` is as similar to
/// `LISTEN` as 0.89.
const SIMILAR: f64 = 0.8;

/// How many letters of a name may be wrong if it does not begin with [`PREFIX`]. More would find
/// the variables of others.
const WRONG_LETTERS: usize = 2;

/// The names of all settings of a command and its subcommands.
pub fn settings(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(settings)).collect()
}

/// A sentence for each variable that nothing reads. No sentence contains a value.
pub fn unread(command: &Command, given: &[(String, String)]) -> Vec<String> {
    let mut known = settings(command);
    known.insert("RUST_LOG".to_owned());
    // Read by src/failpoint.rs, in debug builds.
    known.insert("TEXTBACK_FAILPOINT".to_owned());
    let is_given = |name: &str| given.iter().any(|(given, _)| given == name);
    let mut told = Vec::new();
    for (name, _) in given.iter().filter(|(name, value)| !known.contains(name) && !is_of_a_service(name, value)) {
        let is_ours = name.starts_with(PREFIX);
        let suggestion = match is_ours {
            true => most_similar(name, &known),
            // A setting that is given needs no other name.
            false => misspelt(name, &known).filter(|known| !is_given(known)),
        };
        let name: String = name.chars().take(80).collect();
        match suggestion {
            Some(known) => told.push(format!("the variable {name} is not a setting of textback, so it has no effect; did you mean {known}?")),
            None if is_ours => told.push(format!(
                "the variable {name} is not a setting of textback, so it has no effect; textback help COMMAND lists the settings"
            )),
            None => {}
        }
    }
    told
}

/// Whether Kubernetes made a variable for a service of this name, such as
/// `TEXTBACK_PORT=tcp://10.0.0.1:8080`.
///
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_of_a_service(name: &str, value: &str) -> bool {
    let is_address = name.ends_with("_PORT") && (value.starts_with("tcp://") || value.starts_with("udp://"));
    let is_part = name.contains("_PORT_") && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| name.contains(protocol));
    is_address || is_part || name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

/// The setting that is most similar to a name of ours. The common beginning says nothing, so it is
/// left out.
fn most_similar<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    // DATABASE_URL and RUST_LOG have no prefix, and people give them one.
    let unprefixed = name.trim_start_matches(PREFIX);
    if let Some(known) = known.get(unprefixed) {
        return Some(known);
    }
    let rest = |name: &str| name.trim_start_matches(PREFIX).replace('_', "").to_ascii_uppercase();
    let similarity = |known: &&String| strsim::jaro_winkler(&rest(name), &rest(known));
    let ours = known.iter().filter(|known| known.starts_with(PREFIX) && *known != "TEXTBACK_FAILPOINT");
    let best = ours.max_by(|one, other| similarity(one).total_cmp(&similarity(other)))?;
    (similarity(&best) >= SIMILAR).then_some(best.as_str())
}

/// The setting that a name misspells although it begins otherwise: in lower case, or
/// `TEXBACK_LISTEN`.
fn misspelt<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let name = name.to_ascii_uppercase();
    let wrong = |known: &&String| strsim::damerau_levenshtein(&name, known);
    let best = known.iter().min_by_key(wrong)?;
    // RUST_LOG is so short that two wrong letters make a word of its own.
    let most = if best.len() > 10 { WRONG_LETTERS } else { 1 };
    (wrong(&best) <= most).then_some(best.as_str())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn told(name: &str, value: &str) -> Vec<String> {
        let command = Command::new("textback").subcommand(
            Command::new("serve")
                .arg(Arg::new("url").long("database-url").env("DATABASE_URL"))
                .arg(Arg::new("listen").long("listen").env("TEXTBACK_LISTEN"))
                .arg(Arg::new("work").long("health-listen").env("TEXTBACK_WORK_LISTEN"))
                .arg(Arg::new("key").long("secret-key").env("TEXTBACK_SECRET_KEY"))
                .arg(Arg::new("public").long("public-url").env("TEXTBACK_PUBLIC_URL")),
        );
        unread(&command, &[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_misspelt_setting_is_told_with_the_right_name() {
        for (given, meant) in [
            ("TEXTBACK_LISTN", "TEXTBACK_LISTEN?"),
            ("TEXTBACK_LISTEN_", "TEXTBACK_LISTEN?"),
            ("TEXTBACK_LISTEN_ADDRESS", "TEXTBACK_LISTEN?"),
            ("TEXTBACK_SECRETKEY", "TEXTBACK_SECRET_KEY?"),
            ("TEXTBACK_SECRET", "TEXTBACK_SECRET_KEY?"),
            ("TEXTBACK_DATABASE_URL", " DATABASE_URL?"),
            ("TEXTBACK_RUST_LOG", " RUST_LOG?"),
            ("TEXTBACK_PUBLIC_ULR", "TEXTBACK_PUBLIC_URL?"),
            ("TEXTBACK_PUBLICURL", "TEXTBACK_PUBLIC_URL?"),
            ("TEXTBACK_Listen", "TEXTBACK_LISTEN?"),
            ("textback_listen", "TEXTBACK_LISTEN?"),
            ("TEXBACK_LISTEN", "TEXTBACK_LISTEN?"),
            ("TEXT_BACK_PUBLIC_URL", "TEXTBACK_PUBLIC_URL?"),
            ("DATABASE_URI", "DATABASE_URL?"),
            ("DATABSE_URL", "DATABASE_URL?"),
            ("RUSTLOG", "RUST_LOG?"),
        ] {
            let told = told(given, "hunter2");
            assert!(told.len() == 1 && told[0].contains(meant) && told[0].contains(given), "{given}: {told:?}");
            assert!(!told[0].contains("hunter2"), "{told:?}");
        }
        let strange = told("TEXTBACK_PORT", "8080");
        assert!(strange[0].contains("TEXTBACK_PORT") && strange[0].contains("lists the settings"), "{strange:?}");
    }

    #[test]
    fn settings_and_the_variables_of_others_are_left_alone() {
        for (name, value) in [
            ("TEXTBACK_LISTEN", "127.0.0.1:1"),
            ("DATABASE_URL", "postgres://x/y"),
            ("RUST_LOG", "info"),
            ("TEXTBACK_PORT", "tcp://10.0.0.1:8080"),
            ("TEXTBACK_SERVICE_HOST", "10.0.0.1"),
            ("TEXTBACK_WORK_SERVICE_PORT_METRICS", "9464"),
            ("TEXTBACK_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
            ("RUST_BACKTRACE", "1"),
            ("DATABASE_PASSWORD", "x"),
            ("PUBLIC_URL", "x"),
            ("LISTEN", "x"),
        ] {
            assert!(told(name, value).is_empty(), "{name}: {:?}", told(name, value));
        }
    }
}
