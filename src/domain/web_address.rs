//! Addresses on the web, as people write them.

use super::characters::is_invisible;

/// Whether an address is called as it is written. The standard of browsers
/// (<https://url.spec.whatwg.org/#url-parsing>), which `Url` follows, repairs addresses: it removes
/// blanks and line ends, turns `\` into `/`, and adds or removes slashes after the scheme.
pub fn is_called_as_written(address: &str) -> bool {
    let after_scheme = address.split_once("://").map(|(_, after)| after);
    after_scheme.is_some_and(|after| !after.starts_with(['/', '\\']))
        // NUL is refused by a code of its own.
        && !address.contains(|character| character == '\\' || (is_invisible(character) && character != '\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_repaired_is_not_called_as_it_is_written() {
        for address in ["https://example.com/a%20b?c=d://e", "HTTP://münchen.example:8080/ü", "https://[::1]/"] {
            assert!(is_called_as_written(address), "{address}");
        }
        for address in [
            "",
            "example.com",
            "https:example.com",
            "https:///example.com",
            "https:\\\\example.com",
            "https://example.com\\a",
            " https://example.com",
            "https://example.com\n",
            "https://example.com/a b",
            "https://exam\u{200b}ple.com",
        ] {
            assert!(!is_called_as_written(address), "{address:?}");
        }
    }
}
