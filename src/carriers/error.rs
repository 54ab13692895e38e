//! Why a call to a carrier failed, in words that hold for every carrier.

/// Why a call that reads or sets something at a carrier failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct CarrierError {
    pub kind: CarrierErrorKind,
    /// The carrier's own words, where it gave a reason.
    pub reason: String,
    /// The whole error, for logs and answers.
    pub text: String,
    /// What an operator can do about it. Empty when the error says it.
    pub advice: &'static str,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarrierErrorKind {
    /// The carrier does not take the credentials.
    Credentials,
    /// The credentials may not do this.
    Permission,
    /// The carrier does not have what was asked for.
    NotFound,
    /// The carrier does not accept the request as it is.
    Invalid,
    /// The carrier refused for another reason that is in the request.
    Refused,
    /// The carrier is overloaded or out of order.
    Overloaded,
    /// The carrier was not reached.
    NotReached,
    /// The carrier's answer could not be read.
    Unreadable,
    /// This carrier can't do it at all.
    Unsupported,
}

impl CarrierErrorKind {
    /// Whether the carrier as a whole is in trouble, so that other calls would fail too.
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::Overloaded | Self::NotReached | Self::Unreadable => true,
            Self::Credentials
            | Self::Permission
            | Self::NotFound
            | Self::Invalid
            | Self::Refused
            | Self::Unsupported => false,
        }
    }

    /// Whether only an operator can change it, by other credentials or more permissions.
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Self::Credentials | Self::Permission)
    }
}

impl CarrierError {
    /// An error that says all there is to say.
    pub fn new(kind: CarrierErrorKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, reason: text.clone(), text, advice: "" }
    }

    /// The error of a carrier that can't do what is asked.
    pub fn unsupported(what: &str) -> Self {
        Self::new(CarrierErrorKind::Unsupported, format!("this carrier can't {what}"))
    }
}

/// Why a carrier does not take an account.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialsError {
    /// The carrier refused one of the credentials. The text says which one, and what to do.
    #[error("{0}")]
    Refused(&'static str),
    /// The carrier could not tell.
    #[error(transparent)]
    Failed(#[from] CarrierError),
}
