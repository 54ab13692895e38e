//! Enums whose variants are words of the database, of the API and of logs.

use std::fmt;

/// A word that an enum does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// The enum.
    pub of: &'static str,
    /// The word.
    pub word: String,
    /// The words that the enum has.
    pub known: &'static [&'static str],
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is none of {}", self.word, self.known.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

/// Declares an enum with one word for each variant. The word is the same in the database, in JSON,
/// in the OpenAPI document and in logs. A word that no variant has is an error everywhere. The
/// OpenAPI document has the enum's comment and the comment of each variant.
macro_rules! words {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:tt,)+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(
                $(#[doc = $variant_doc])+
                #[serde(rename = $word)]
                $variant,
            )+
        }

        impl $name {
            /// All variants, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The words of all variants, in the same order.
            pub const WORDS: &[&str] = &[$($word),+];

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
                    _ => Err($crate::domain::words::UnknownWord {
                        of: stringify!($name),
                        word: word.to_owned(),
                        known: Self::WORDS,
                    }),
                }
            }
        }

        $crate::domain::words::database_text!($name);
        $crate::domain::words::openapi_enum!(
            $name,
            concat!($($doc,)+ "\n" $(, "\n- `", $word, "`:" $(, $variant_doc)+)+)
        );
    };
}

/// Stores an enum as `text`, by its word. Not `derive(sqlx::Type)`: that looks the type up by its
/// name once for each connection, and its error about an unknown word does not name the known ones.
macro_rules! database_text {
    ($name:ident) => {
        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(ty)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <&str as sqlx::postgres::PgHasArrayType>::array_type_info()
            }

            fn array_compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
                <&str as sqlx::postgres::PgHasArrayType>::array_compatible(ty)
            }
        }

        impl sqlx::Encode<'_, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <&str as sqlx::Encode<'_, sqlx::Postgres>>::encode(self.as_str(), buffer)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(<&str as sqlx::Decode<'r, sqlx::Postgres>>::decode(value)?.parse()?)
            }
        }
    };
}

/// Describes an enum in the OpenAPI document. Not `derive(poem_openapi::Enum)`: that leaves the
/// comments of the variants out, and its error about an unknown word does not name the known ones.
macro_rules! openapi_enum {
    ($name:ident, $description:expr) => {
        impl poem_openapi::types::Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                poem_openapi::registry::MetaSchemaRef::Reference(stringify!($name).to_owned())
            }

            fn register(registry: &mut poem_openapi::registry::Registry) {
                registry.create_schema::<Self, _>(stringify!($name).to_owned(), |_| {
                    poem_openapi::registry::MetaSchema {
                        description: Some($description.trim_start()),
                        enum_items: Self::WORDS.iter().map(|word| (*word).into()).collect(),
                        ..poem_openapi::registry::MetaSchema::new("string")
                    }
                });
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl poem_openapi::types::ParseFromJSON for $name {
            fn parse_from_json(value: Option<serde_json::Value>) -> poem_openapi::types::ParseResult<Self> {
                match value.unwrap_or_default() {
                    serde_json::Value::String(word) => Ok(word.parse::<Self>()?),
                    other => Err(poem_openapi::types::ParseError::expected_type(other)),
                }
            }
        }

        impl poem_openapi::types::ParseFromParameter for $name {
            fn parse_from_parameter(word: &str) -> poem_openapi::types::ParseResult<Self> {
                Ok(word.parse::<Self>()?)
            }
        }

        impl poem_openapi::types::ToJSON for $name {
            fn to_json(&self) -> Option<serde_json::Value> {
                Some(self.as_str().into())
            }
        }
    };
}

pub(crate) use database_text;
pub(crate) use openapi_enum;
pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use poem_openapi::types::{ParseFromJSON, ParseFromParameter, ToJSON};

    use crate::domain::session::SessionStatus;

    #[test]
    fn a_variant_has_one_word_everywhere() {
        for status in SessionStatus::ALL {
            let word = status.as_str();
            assert_eq!(SessionStatus::from_str(word), Ok(*status));
            assert_eq!(serde_json::to_value(status).ok(), Some(word.into()));
            assert_eq!(status.to_json(), Some(word.into()));
            assert_eq!(SessionStatus::parse_from_json(Some(word.into())).ok(), Some(*status));
            assert_eq!(SessionStatus::parse_from_parameter(word).ok(), Some(*status));
            assert_eq!(status.to_string(), word);
        }
    }

    #[test]
    fn an_unknown_word_is_an_error_that_names_the_known_ones() {
        let told = "\"asleep\" is none of open, warned, closed";
        let unknown = SessionStatus::from_str("asleep").map_err(|error| error.to_string());
        assert_eq!(unknown, Err(told.to_owned()));
        let refused = SessionStatus::parse_from_json(Some("asleep".into())).map_err(|error| error.into_message());
        assert_eq!(refused, Err(format!("failed to parse \"SessionStatus\": {told}")));
        assert!(SessionStatus::parse_from_json(Some(7.into())).is_err());
        assert!(SessionStatus::parse_from_parameter("Open").is_err());
        assert!(serde_json::from_value::<SessionStatus>("asleep".into()).is_err());
    }
}
