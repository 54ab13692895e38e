//! Attachments of inbound messages, as they cross the trait.

/// The largest attachment that is fetched. Carriers take 5 MB in one message.
pub const MOST_BYTES: usize = 16 << 20;

/// Media types that are let through. A browser runs none of them.
const ALLOWED: [&str; 9] = [
    "image/",
    "audio/",
    "video/",
    "text/vcard",
    "text/x-vcard",
    "text/calendar",
    "text/plain",
    "application/pdf",
    "application/ogg",
];

/// An attachment.
#[derive(Debug)]
pub struct FetchedMedia {
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Why an attachment can't be had.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error(
        "it leads to {0}, which is no store of the carrier's; nothing is fetched there, and no credentials go there"
    )]
    Elsewhere(String),
    #[error("the carrier does not have it any more")]
    Gone,
    #[error("it is over {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    #[error("it is {0:?}, which is none of the types that are let through")]
    NotAllowed(String),
    #[error("the carrier gave no medium: {0}")]
    Failed(String),
}

/// Whether attachments of a media type are let through.
pub fn is_allowed(content_type: &str) -> bool {
    // An SVG picture is a program in a browser.
    ALLOWED.iter().any(|allowed| content_type.starts_with(allowed)) && !content_type.starts_with("image/svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_run_is_not_let_through() {
        for (content_type, is) in [
            ("image/png", true),
            ("text/vcard; charset=utf-8", true),
            ("image/svg+xml", false),
            ("text/html", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(content_type), is, "{content_type}");
        }
    }
}
