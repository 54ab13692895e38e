//! Enums whose variants are words of the database, of the API and of logs.

use std::fmt;

/// A word that an enum does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// The enum.
    pub of: &'static str,
    /// The word.
    pub word: String,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}", self.word, self.of)
    }
}

impl std::error::Error for UnknownWord {}

/// Declares an enum with one word for each variant. The word is the same in the database, in JSON, in the OpenAPI
/// document and in logs. A word that no variant has is an error everywhere.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:tt,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(sqlx::Type, serde::Serialize, serde::Deserialize, poem_openapi::Enum)]
        #[sqlx(type_name = "text")]
        pub enum $name {
            $(
                $(#[$variant_meta])*
                #[sqlx(rename = $word)]
                #[serde(rename = $word)]
                #[oai(rename = $word)]
                $variant,
            )+
        }

        impl $name {
            /// All variants, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word of this variant.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::words::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::domain::words::UnknownWord { of: stringify!($name), word: word.to_owned() }),
                }
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use poem_openapi::types::ToJSON;

    use crate::domain::session::SessionStatus;

    #[test]
    fn a_variant_has_one_word_everywhere() {
        for status in SessionStatus::ALL {
            let word = status.as_str();
            assert_eq!(SessionStatus::from_str(word), Ok(*status));
            assert_eq!(serde_json::to_value(status).ok(), Some(word.into()));
            assert_eq!(status.to_json(), Some(word.into()));
            assert_eq!(status.to_string(), word);
        }
        let unknown = SessionStatus::from_str("asleep").map_err(|error| error.to_string());
        assert_eq!(unknown, Err("\"asleep\" is no SessionStatus".to_owned()));
    }
}
