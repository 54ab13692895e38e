//! Prepares the environment that a process was started with: empty variables count as not set, and secrets are hidden
//! from other processes of the same user.
//!
//! Linux shows the memory of a process's original arguments and environment as `/proc/<pid>/cmdline` and
//! `/proc/<pid>/environ`, whatever the process changes in its own list of variables. So the process is made not
//! dumpable, and that memory is overwritten after it was read.

#![expect(
    unsafe_code,
    reason = "the environment is changed and overwritten in place; the comments say why that is sound"
)]

use std::ffi::OsStr;

use clap::error::{ContextKind, ContextValue};

/// Variables that hold a secret. libpq's variables are read at each connection, so they stay readable for this process.
/// The others are read once.
const READ_ONCE: [&str; 3] = ["DATABASE_URL", "TEXTBACK_SECRET_KEY", "TEXTBACK_CONSOLE_PASSWORD"];
const READ_REPEATEDLY: [&str; 1] = ["PGPASSWORD"];
/// Arguments that hold a secret.
const ARGUMENTS: [&str; 3] = ["--database-url", "--secret-key", "--console-password"];

/// Removes our variables that are empty or blank. Compose files and shells pass a variable that is not set as an empty
/// one, and none of our settings has a meaning when it is empty. Must be called before the arguments are read and before
/// another thread starts.
pub fn forget_empty_variables() {
    let is_ours = |name: &str| name == "DATABASE_URL" || name.starts_with("TEXTBACK_");
    let is_blank = |value: &OsStr| value.to_str().is_some_and(|value| value.trim().is_empty());
    for (name, value) in std::env::vars_os() {
        if is_blank(&value) && name.to_str().is_some_and(is_ours) {
            // SAFETY: this process has one thread, so no other thread reads the environment at the same time.
            unsafe { std::env::remove_var(name) };
        }
    }
}

/// Hides the secrets. Must be called after the arguments were read and before another thread starts.
pub fn hide() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
    #[cfg(target_os = "linux")]
    let given = linux::given();
    for name in READ_ONCE {
        // SAFETY: this process has one thread, so no other thread reads the environment at the same time.
        unsafe { std::env::remove_var(name) };
    }
    for name in READ_REPEATEDLY {
        if let Some(value) = std::env::var_os(name) {
            // SAFETY: as above. The new value is stored elsewhere than the memory that is overwritten below.
            unsafe { std::env::set_var(name, value) };
        }
    }
    #[cfg(target_os = "linux")]
    if let Some((arguments, environment)) = given {
        linux::overwrite(arguments, linux::secret_arguments);
        linux::overwrite(environment, linux::secret_variables);
    }
}

/// Removes the value from an error about an argument that holds a secret, because errors end up in logs.
pub fn hide_in(mut error: clap::Error) -> clap::Error {
    let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    if ARGUMENTS.iter().any(|secret| argument.starts_with(secret)) {
        error.insert(ContextKind::InvalidValue, ContextValue::String("(not shown)".to_owned()));
    }
    error
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;

    use super::{ARGUMENTS, READ_ONCE, READ_REPEATEDLY};

    /// Where the kernel put the arguments and the environment: fields 48 to 51 of proc_pid_stat(5).
    pub(super) fn given() -> Option<(Range<usize>, Range<usize>)> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is a name in brackets that may contain anything. The fields after it are numbers.
        let (_, after_name) = stat.rsplit_once(')')?;
        let addresses = after_name.split_whitespace().skip(45).map(|field| field.parse().ok());
        let [arguments, arguments_end, environment, environment_end] =
            addresses.take(4).collect::<Option<Vec<usize>>>()?.try_into().ok()?;
        let is_known = arguments > 0 && arguments <= arguments_end && environment > 0 && environment <= environment_end;
        is_known.then_some((arguments..arguments_end, environment..environment_end))
    }

    /// Fills the parts of a memory range that `secret` finds with zeros.
    pub(super) fn overwrite(range: Range<usize>, secret: fn(&[u8]) -> Vec<Range<usize>>) {
        // SAFETY: the kernel gave this memory to this process at its start, to be read and written, and it stays valid
        // while the process lives. There is one thread. The variables in it were removed or copied elsewhere, and the
        // standard library has its own copy of each argument that was read.
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

    /// The ranges of the values of arguments that hold a secret: after `--name=`, or the next argument.
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
