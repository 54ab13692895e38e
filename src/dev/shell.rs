//! Writes commands that a shell runs as they are printed.

use std::borrow::Cow;
use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The command of this program: its name if a shell finds this very file by it, otherwise its whole
/// path.
pub fn this_program() -> String {
    let program = env::current_exe().ok();
    let folders: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    command_of(program.as_deref(), &folders)
}

/// The command of this program as it was called: the same shell, in the same folder, runs it again.
pub fn as_called() -> String {
    env::args_os().next().map_or_else(this_program, |called| quoted(&called.to_string_lossy()).into_owned())
}

fn command_of(program: Option<&Path>, folders: &[PathBuf]) -> String {
    const NAME: &str = "textback";
    let Some(program) = program else { return NAME.to_owned() };
    // The first file of the name is the one that a shell runs.
    let found = folders
        .iter()
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(NAME))
        .find(|file| file.is_file());
    let is_found =
        found.and_then(|file| file.canonicalize().ok()).is_some_and(|file| Some(file) == program.canonicalize().ok());
    if is_found { NAME.to_owned() } else { quoted(&program.display().to_string()).into_owned() }
}

/// A word as a shell reads it whole.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// The URL at which this machine reaches an address. One that listens on all interfaces is reached
/// on loopback.
pub fn url_of(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_whole() {
        for (word, expected) in [
            ("/opt/textback", "/opt/textback"),
            ("/my folder/textback", "'/my folder/textback'"),
            ("/it's/textback", r"'/it'\''s/textback'"),
            ("http://[::1]:8080/console", "'http://[::1]:8080/console'"),
            ("a$b`c`", "'a$b`c`'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn an_address_on_all_interfaces_is_reached_on_loopback() {
        for (address, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("192.168.0.7:80", "http://192.168.0.7:80"),
        ] {
            assert_eq!(url_of(address.parse().expect("an address")), expected);
        }
    }

    #[test]
    fn the_program_is_called_by_its_name_only_where_a_shell_finds_it() {
        let folder = env::temp_dir().join(format!("textback-shell-{}", std::process::id()));
        let (ours, other) = (folder.join("ours"), folder.join("other"));
        for folder in [&ours, &other] {
            std::fs::create_dir_all(folder).expect("a folder");
            std::fs::write(folder.join("textback"), "").expect("a file");
        }
        let program = ours.join("textback");
        let path = program.display().to_string();
        for (folders, expected) in [
            (vec![], path.as_str()),
            (vec![folder.clone(), ours.clone()], "textback"),
            (vec![ours.clone(), other.clone()], "textback"),
            (vec![other, ours], path.as_str()),
        ] {
            assert_eq!(command_of(Some(&program), &folders), expected, "{folders:?}");
        }
        let _ = std::fs::remove_dir_all(&folder);
    }
}
