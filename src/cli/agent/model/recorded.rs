//! Recorded answers of a model, found by a hash of the request without its ids.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::newest_text;
use crate::cli::agent::folder::{FileFault, read_text};
use crate::secret::sha256;

/// The file of a folder that answers are written to.
const FILE: &str = "answers.json";

/// Ids, which are different in each run.
static ID: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").ok());

/// The answers to one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    /// The newest text of the contact, for people who read the file.
    user: String,
    /// In the order in which they came.
    answers: Vec<Value>,
}

/// Recorded answers by the hashes of their requests.
pub(in crate::cli::agent) struct Recording {
    file: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: BTreeMap<String, Answers>,
    /// How many answers of each request were given.
    given: BTreeMap<String, usize>,
}

impl Recording {
    /// Reads the answers of a file, or of all `.json` files of a folder.
    pub(in crate::cli::agent) fn read(path: &Path) -> Result<Self, FileFault> {
        let unreadable = |error: std::io::Error| FileFault::of_file(path, format!("this can't be read: {error}"));
        let files = match path.is_dir() {
            true => {
                let entries = std::fs::read_dir(path).map_err(unreadable)?;
                let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
                files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
                files.sort();
                files
            }
            false => vec![path.to_owned()],
        };
        let mut answers = BTreeMap::new();
        for file in files {
            let read: BTreeMap<String, Answers> = serde_json::from_str(&read_text(&file)?)
                .map_err(|error| FileFault::of_file(&file, format!("these are no recorded answers: {error}")))?;
            answers.extend(read);
        }
        Ok(Self { file: path.to_owned(), kept: Mutex::new(Kept { answers, ..Kept::default() }) })
    }

    /// Begins a recording in a file, or in a file of a folder. Older answers are replaced.
    pub(in crate::cli::agent) fn begin(path: &Path) -> Result<Self, FileFault> {
        let is_file = path.extension().is_some_and(|ending| ending == "json");
        let file = if is_file { path.to_owned() } else { path.join(FILE) };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| FileFault::of_file(folder, format!("this folder can't be made: {error}")))?;
        }
        Ok(Self { file, kept: Mutex::default() })
    }

    /// The next answer to a request. The last one is given again when a request comes more often
    /// than it was recorded.
    pub(super) fn next(&self, request: &Value) -> Result<Value, String> {
        let hash = hash(request);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let given = kept.given.entry(hash.clone()).or_default();
        let position = *given;
        *given += 1;
        let answers = kept.answers.get(&hash).map(|found| found.answers.as_slice()).unwrap_or_default();
        answers.get(position).or_else(|| answers.last()).cloned().ok_or_else(|| {
            format!(
                "no answer to this request is recorded in {} ({hash}); the prompt, the tools or the texts have changed since: record again with --record",
                self.file.display()
            )
        })
    }

    /// Writes an answer, and returns it.
    pub(super) fn keep(&self, request: &Value, answer: Value) -> Result<Value, String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = kept.answers.entry(hash(request)).or_default();
        newest_text(request).clone_into(&mut answers.user);
        answers.answers.push(answer.clone());
        let text = serde_json::to_string_pretty(&kept.answers).map_err(|error| error.to_string())?;
        let written = std::fs::write(&self.file, text + "\n");
        written.map_err(|error| format!("{} can't be written: {error}", self.file.display()))?;
        Ok(answer)
    }
}

/// What identifies a request in all runs.
fn hash(request: &Value) -> String {
    let mut request = request.clone();
    if let Some(messages) = request.get_mut("messages") {
        remove_ids(messages);
    }
    let text = request.to_string();
    let text = match &*ID {
        Some(id) => id.replace_all(&text, "id"),
        None => text.as_str().into(),
    };
    hex::encode(&sha256(text.as_bytes())[..16])
}

fn remove_ids(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(remove_ids),
        Value::Object(fields) => {
            fields.remove("id");
            fields.remove("tool_call_id");
            fields.values_mut().for_each(remove_ids);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(text: &str, id: &str, session: &str) -> Value {
        json!({"model": "m", "messages": [{"role": "system", "content": format!("Session {session}")},
            {"role": "user", "content": text},
            {"role": "assistant", "tool_calls": [{"id": id, "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": id, "content": "1"}]})
    }

    #[test]
    fn a_recorded_answer_is_found_again_under_other_ids() {
        let folder = std::env::temp_dir().join(format!("textback-recorded-{}", std::process::id()));
        let (one, other) = ("0199c2a4-7c1e-7b52-9d0a-3f6e8a1b2c4d", "0199c2a4-7c1e-7b52-9d0a-000000000000");
        let recording = Recording::begin(&folder).expect("begun");
        for answer in [1, 2] {
            recording.keep(&request("hi", "a", one), json!({"choices": [answer]})).expect("kept");
        }
        let replay = Recording::read(&folder).expect("read");
        for answer in [1, 2, 2] {
            assert_eq!(replay.next(&request("hi", "b", other)), Ok(json!({"choices": [answer]})));
        }
        let missing = replay.next(&request("hello", "a", one)).expect_err("another text");
        assert!(missing.contains("--record"), "{missing}");
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
