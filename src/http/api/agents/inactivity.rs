//! The inactivity settings of an agent in the API. Decides nothing.

use poem_openapi::Object;

use crate::storage::agent;

const fn usual_warn_after() -> i32 {
    86_400
}

const fn usual_grace() -> i32 {
    600
}

fn usual_warning() -> String {
    "Are you still there? If we don't hear from you, this conversation will end soon.".to_owned()
}

/// What becomes of a session in which nobody says anything. A new version's settings count for all sessions of the agent,
/// those that are open too: `warn_after_seconds` from their next message on, the others at once.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct Silence {
    /// After how many seconds without a message of either side the person is warned (1 to 2592000, which is 30 days).
    #[oai(default = "usual_warn_after", validator(maximum(value = "2592000"), minimum(value = "1")))]
    pub warn_after_seconds: i32,
    /// How many seconds they then have to answer, counted from the carrier's acceptance of the warning.
    #[oai(default = "usual_grace", validator(maximum(value = "2592000"), minimum(value = "1")))]
    pub grace_seconds: i32,
    /// The warning.
    #[oai(default = "usual_warning", validator(min_length = 1, max_length = 1600))]
    pub warning: String,
    /// Said at the end. Without it the session ends without a word.
    #[oai(validator(min_length = 1, max_length = 1600))]
    pub closing: Option<String>,
}

impl Default for Silence {
    fn default() -> Self {
        let (warn_after_seconds, grace_seconds) = (usual_warn_after(), usual_grace());
        Self { warn_after_seconds, grace_seconds, warning: usual_warning(), closing: None }
    }
}

impl From<agent::Silence> for Silence {
    fn from(silence: agent::Silence) -> Self {
        let agent::Silence { warn_after_seconds, grace_seconds, warning, closing } = silence;
        Self { warn_after_seconds, grace_seconds, warning, closing }
    }
}
