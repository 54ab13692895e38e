//! Prepares the environment that a process was started with: empty variables count as not set, and
//! secrets are hidden from other processes of the same user. No error about the arguments contains
//! a secret.
//!
//! Linux shows the memory of a process's original arguments and environment as
//! `/proc/<pid>/cmdline` and `/proc/<pid>/environ`, whatever the process changes in its own list of
//! variables. So the process is made not dumpable, and that memory is overwritten after it was
//! read.
//!
//! docs/decisions/028-secrets.md has the reasons.

#![expect(
    unsafe_code,
    reason = "the environment is changed and overwritten in place; the comments say why that is sound"
)]

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue};

/// Variables that hold a secret. libpq's variables are read at each connection, so they stay
/// readable for this process. The others are read once.
pub const READ_ONCE: [&str; 5] =
    ["DATABASE_URL", "TEXTBACK_SECRET_KEY", CONSOLE_PASSWORD, "TEXTBACK_LLM_KEY", "TEXTBACK_SIGNING_SECRET"];
const READ_REPEATEDLY: [&str; 1] = ["PGPASSWORD"];
const CONSOLE_PASSWORD: &str = "TEXTBACK_CONSOLE_PASSWORD";
/// Arguments that hold a secret.
pub const ARGUMENTS: [&str; 6] =
    ["--database-url", "--secret-key", "--console-password", "--auth-token", "--llm-key", "--signing-secret"];
/// What stands for a secret in an error.
const NOT_SHOWN: &str = "(not shown)";
/// A shorter secret is only hidden between quotes, because it may be a part of any word.
const SHORT: usize = 4;

/// Removes our variables that are empty or blank, and the white space around the others. Compose
/// files and shells pass a variable that is not set as an empty one, and none of our settings has a
/// meaning when it is empty. A value that was read from a file ends with a line end. Must be called
/// before the arguments are read and before another thread starts.
pub fn clean_variables() {
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        if name != "DATABASE_URL" && !name.starts_with("TEXTBACK_") {
            continue;
        }
        let kept = match name {
            // Blanks may be a part of a password; a line end can't be typed.
            CONSOLE_PASSWORD if !value.trim().is_empty() => value.trim_end_matches(['\r', '\n']),
            _ => value.trim(),
        };
        if kept == value && !value.is_empty() {
            continue;
        }
        // SAFETY: this process has one thread, so no other thread reads the environment at the same
        // time.
        match kept.is_empty() {
            true => unsafe { std::env::remove_var(name) },
            false => unsafe { std::env::set_var(name, kept) },
        }
    }
}

/// What is reached without a proxy, besides what the variables say: a proxy can't reach this
/// machine.
const THIS_MACHINE: &str = "localhost,127.0.0.0/8,::1";

/// Lets this process reach this machine without a proxy that the environment names (`http_proxy`):
/// the simulated carrier, the API of `textback dev`, and services of agents in development. Must be
/// called before another thread starts.
pub fn reach_this_machine() {
    let given = ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok());
    let others = given.filter(|given| !given.trim().is_empty()).map_or_else(String::new, |given| format!("{given},"));
    // SAFETY: this process has one thread, so no other thread reads the environment at the same
    // time.
    unsafe { std::env::set_var("NO_PROXY", format!("{others}{THIS_MACHINE}")) };
}

/// The variables of this process whose names and values are text.
pub fn variables() -> Vec<(String, String)> {
    let text = |value: OsString| value.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// Hides the secrets. Must be called after the arguments were read and before another thread
/// starts.
pub fn hide() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
    #[cfg(target_os = "linux")]
    let given = linux::given();
    for name in READ_ONCE {
        // SAFETY: this process has one thread, so no other thread reads the environment at the same
        // time.
        unsafe { std::env::remove_var(name) };
    }
    for name in READ_REPEATEDLY {
        if let Some(value) = std::env::var_os(name) {
            // SAFETY: as above. The new value is stored elsewhere than the memory that is
            // overwritten below.
            unsafe { std::env::set_var(name, value) };
        }
    }
    #[cfg(target_os = "linux")]
    if let Some((arguments, environment)) = given {
        linux::overwrite(arguments, linux::secret_arguments);
        linux::overwrite(environment, linux::secret_variables);
    }
}

/// Prints an error of the arguments and ends the process. Errors end up in logs, so no secret is
/// printed: not as the value of its argument, and not where a mistake made another argument of it
/// (`--secret-key= …`).
pub fn exit_with(mut error: clap::Error, command: &Command) -> ! {
    if !error.use_stderr() {
        // It is the help or the version.
        error.exit();
    }
    let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    if ARGUMENTS.iter().any(|secret| argument.starts_with(secret)) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(NOT_SHOWN.to_owned()));
    }
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let variables = variables();
    let is_secret = |name: &str| READ_ONCE.iter().chain(&READ_REPEATEDLY).any(|secret| *secret == name);
    let of_variables = variables.iter().filter(|(name, value)| is_secret(name) || may_hold_a_password(value));
    let secrets: Vec<&str> = of_variables
        .map(|(_, value)| value.as_str())
        .chain(secrets_among(&arguments))
        .filter(|it| !it.is_empty())
        .collect();
    let text = error.render().to_string();
    let hidden = hide_in(&text, &secrets);
    if hidden == text {
        let _ = error.print();
    } else {
        eprint!("{hidden}");
    }
    if let Some(variable) = source_of(&argument, command, &arguments, &variables) {
        eprintln!("The value is that of the variable {variable}.");
    }
    std::process::exit(error.exit_code())
}

/// The variable that an argument's value came from, if it came from one.
fn source_of<'a>(
    argument: &str,
    command: &'a Command,
    arguments: &[String],
    variables: &[(String, String)],
) -> Option<&'a str> {
    let flag = argument.split([' ', '=', '[']).next().filter(|flag| flag.starts_with("--"))?;
    if arguments.iter().any(|given| given.split('=').next() == Some(flag)) {
        return None;
    }
    let mut commands = vec![command];
    for given in arguments {
        commands.extend(commands.last().and_then(|command| command.find_subcommand(given)));
    }
    let of_flag = |command: &&'a Command| {
        let known = command.get_arguments().find(|known| known.get_long() == flag.strip_prefix("--"))?;
        known.get_env()?.to_str()
    };
    let variable = commands.iter().rev().find_map(of_flag)?;
    variables.iter().any(|(name, _)| name == variable).then_some(variable)
}

/// The arguments that hold a secret or may hold one: the values of [`ARGUMENTS`], also where the
/// flag is misspelt or ends with `=`, and addresses with a password.
fn secrets_among(arguments: &[String]) -> impl Iterator<Item = &str> {
    let name_of = |flag: &str| flag.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    let is_secret = move |flag: &str| {
        let name = name_of(flag);
        flag.starts_with('-')
            && ARGUMENTS.iter().any(|secret| strsim::damerau_levenshtein(&name, &name_of(secret)) <= 2)
    };
    let mut follows = false;
    arguments.iter().filter_map(move |argument| {
        let (flag, value) = argument.split_once('=').unwrap_or((argument, ""));
        let is_flag = is_secret(flag);
        let is_value = std::mem::replace(&mut follows, is_flag && value.is_empty());
        match (is_flag, is_value) {
            (true, _) if !value.is_empty() => Some(value),
            (false, true) => Some(argument.as_str()),
            // Errors show the value of a flag without the flag.
            _ if flag.starts_with('-') && may_hold_a_password(value) => Some(value),
            _ => may_hold_a_password(argument).then_some(argument.as_str()),
        }
    })
}

/// Whether a value may be an address with a user and a password.
fn may_hold_a_password(value: &str) -> bool {
    value.contains(':') && value.contains('@')
}

/// A text without the secrets in it.
fn hide_in(text: &str, secrets: &[&str]) -> String {
    let mut longest_first = secrets.to_vec();
    longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    longest_first.into_iter().fold(text.to_owned(), |text, secret| match secret.len() < SHORT {
        true => text.replace(&format!("'{secret}'"), &format!("'{NOT_SHOWN}'")),
        false => text.replace(secret, NOT_SHOWN),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn among(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        secrets_among(&arguments).map(str::to_owned).collect()
    }

    #[test]
    fn secrets_are_found_where_a_mistake_put_them() {
        for given in [
            &["serve", "--secret-key", "hunter2"][..],
            &["serve", "--secret-key=hunter2"],
            &["serve", "--secret-key=", "hunter2"],
            &["serve", "--secret_key", "hunter2"],
            &["serve", "--secretkey", "hunter2"],
            &["serve", "--secret-kye=hunter2"],
            &["serve", "-secret-key", "hunter2"],
            &["dev", "--console-pasword", "hunter2"],
            &["simulate", "serve", "--auth-token", "hunter2"],
        ] {
            assert_eq!(among(given), ["hunter2"], "{given:?}");
        }
        let url = "postgres://u:hunter2@db/app";
        assert_eq!(among(&["serve", url]), [url]);
        assert_eq!(among(&["serve", "--url", url]), [url]);
        assert_eq!(among(&["serve", &format!("--public-url={url}")]), [url]);
        assert_eq!(among(&["serve", "postgres://u:a=b@db/app"]), ["postgres://u:a=b@db/app"]);
        assert!(among(&["serve", "--listen", "x", "--public-url", "https://sms.example.com"]).is_empty());
    }

    #[test]
    fn a_short_secret_does_not_blot_out_every_letter() {
        assert_eq!(hide_in("unexpected argument 'a' found", &["a"]), "unexpected argument '(not shown)' found");
        assert_eq!(
            hide_in("an argument hunter2, hunter", &["hunter", "hunter2"]),
            "an argument (not shown), (not shown)"
        );
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;

    use super::{ARGUMENTS, READ_ONCE, READ_REPEATEDLY};

    /// Where the kernel put the arguments and the environment: fields 48 to 51 of proc_pid_stat(5).
    pub(super) fn given() -> Option<(Range<usize>, Range<usize>)> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is a name in brackets that may contain anything. The fields after it are
        // numbers.
        let (_, after_name) = stat.rsplit_once(')')?;
        let addresses = after_name.split_whitespace().skip(45).map(|field| field.parse().ok());
        let [arguments, arguments_end, environment, environment_end] =
            addresses.take(4).collect::<Option<Vec<usize>>>()?.try_into().ok()?;
        let is_known = arguments > 0 && arguments <= arguments_end && environment > 0 && environment <= environment_end;
        is_known.then_some((arguments..arguments_end, environment..environment_end))
    }

    /// Fills the parts of a memory range that `secret` finds with zeros.
    pub(super) fn overwrite(range: Range<usize>, secret: fn(&[u8]) -> Vec<Range<usize>>) {
        // SAFETY: the kernel gave this memory to this process at its start, to be read and written,
        // and it stays valid while the process lives. There is one thread. The variables in it were
        // removed or copied elsewhere, and the standard library has its own copy of each argument
        // that was read.
        let bytes = unsafe { std::slice::from_raw_parts_mut(range.start as *mut u8, range.len()) };
        for part in secret(bytes) {
            bytes.get_mut(part).into_iter().for_each(|part| part.fill(0));
        }
    }

    /// The ranges of the strings, which end with NUL.
    fn strings(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, &[u8])> {
        bytes.split(|byte| *byte == 0).scan(0, |start, text| {
            let range = *start..*start + text.len();
            *start = range.end + 1;
            Some((range, text))
        })
    }

    /// The ranges of the values of variables that hold a secret.
    pub(super) fn secret_variables(bytes: &[u8]) -> Vec<Range<usize>> {
        let of_secret = |(range, text): (Range<usize>, &[u8])| {
            let name = READ_ONCE
                .iter()
                .chain(&READ_REPEATEDLY)
                .find(|name| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')))?;
            Some(range.start + name.len() + 1..range.end)
        };
        strings(bytes).filter_map(of_secret).collect()
    }

    /// The ranges of the values of arguments that hold a secret: after `--name=`, or the next
    /// argument.
    pub(super) fn secret_arguments(bytes: &[u8]) -> Vec<Range<usize>> {
        let mut is_value = false;
        let mut found = Vec::new();
        for (range, text) in strings(bytes) {
            if std::mem::replace(&mut is_value, ARGUMENTS.iter().any(|name| text == name.as_bytes())) {
                found.push(range);
                continue;
            }
            let with_value = ARGUMENTS
                .iter()
                .find(|name| text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')));
            found.extend(with_value.map(|name| range.start + name.len() + 1..range.end));
        }
        found
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_the_values_of_secrets_are_found() {
            let environment =
                b"PATH=/bin\0DATABASE_URL=postgres://x\0DATABASE_URLS=y\0PGPASSWORD=p\0TEXTBACK_CONSOLE_PASSWORD=c\0";
            let found: Vec<_> = secret_variables(environment).into_iter().map(|part| &environment[part]).collect();
            assert_eq!(found, [b"postgres://x".as_slice(), b"p", b"c"]);
            let arguments =
                b"textback\0serve\0--database-url\0postgres://x\0--secret-key=k\0--listen\0a\0--console-password\0c\0";
            let found: Vec<_> = secret_arguments(arguments).into_iter().map(|part| &arguments[part]).collect();
            assert_eq!(found, [b"postgres://x".as_slice(), b"k", b"c"]);
        }
    }
}
