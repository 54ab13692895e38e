//! The files of an agent: a folder with `agent.yaml`, or one file.
//!
//! A folder has `agent.yaml` (or `agent.json`) with what `POST /v1/agents` takes, and beside it the
//! script in `agent.star`, the prompt in `prompt.md`, the answers of a scripted model in
//! `model.yaml`, and scenarios in `tests/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::document::{self, Node, Position};
use crate::agents::script::check::Fault;
use crate::http::api::local::read_json;

/// The file of a folder with the script.
const SCRIPT: &str = "agent.star";

/// The file of a folder with the prompt.
const PROMPT: &str = "prompt.md";

/// The files that describe the agent of a folder, the first that exists.
const DESCRIPTIONS: [&str; 3] = ["agent.yaml", "agent.yml", "agent.json"];

/// A fault, and the file that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFault {
    pub(super) file: PathBuf,
    pub(super) fault: Fault,
}

impl FileFault {
    /// A fault of a whole file.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), fault: Position::default().fault(message) }
    }

    pub(super) fn at(file: &Path, fault: Fault) -> Self {
        Self { file: file.to_owned(), fault }
    }
}

impl std::fmt::Display for FileFault {
    /// As editors read it, with line and column.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fault { line, column, fatal, message } = &self.fault;
        write!(f, "{}:", self.file.display())?;
        if *line > 0 {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: {message}", if *fatal { "error" } else { "warning" })
    }
}

impl std::error::Error for FileFault {}

/// An agent as its files describe it.
#[derive(Debug, Clone)]
pub(super) struct AgentFiles {
    /// What was given: the folder or the file.
    pub(super) path: PathBuf,
    /// The folder, if one was given.
    pub(super) folder: Option<PathBuf>,
    /// The agent as `POST /v1/agents` takes it.
    pub(super) agent: Map<String, Value>,
    /// The file that describes it, with the positions of its values.
    description: Option<(PathBuf, Option<Node>)>,
    script: Option<PathBuf>,
    prompt: Option<PathBuf>,
}

impl AgentFiles {
    /// Reads a folder, or a file: a script (.star, .py), or an agent (.yaml, .json).
    pub(super) fn read(path: &Path) -> Result<Self, FileFault> {
        // The file that describes a folder stands for it. JSON may be all of an agent.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let describes = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| matches!(name, "agent.yaml" | "agent.yml"));
        let has_parts = || [SCRIPT, PROMPT].iter().any(|part| parent.join(part).is_file());
        if path.is_dir() {
            return Self::of_folder(path, path);
        }
        if describes && has_parts() {
            return Self::of_folder(parent, path);
        }
        let text = read_text(path)?;
        let (agent, description, script) = match ending(path).as_str() {
            "json" | "yaml" | "yml" => {
                let (agent, node) = described(path, &text)?;
                (agent, Some((path.to_owned(), node)), None)
            }
            "star" | "py" => {
                let agent = Map::from_iter([("kind".to_owned(), json!("script")), ("source".to_owned(), json!(text))]);
                (agent, None, Some(path.to_owned()))
            }
            _ => {
                let what = "this is neither a folder, nor does it end with .star or .py (a script) or with .yaml or .json (an agent)";
                return Err(FileFault::of_file(path, what));
            }
        };
        let mut files = Self { path: path.to_owned(), folder: None, agent, description, script, prompt: None };
        files.name_after(path.file_stem().and_then(|stem| stem.to_str()));
        Ok(files)
    }

    fn of_folder(folder: &Path, path: &Path) -> Result<Self, FileFault> {
        let found = DESCRIPTIONS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let [script, prompt] = [SCRIPT, PROMPT].map(|name| Some(folder.join(name)).filter(|file| file.is_file()));
        let (agent, description) = match found {
            Some(file) => {
                let (agent, node) = described(&file, &read_text(&file)?)?;
                (agent, Some((file, node)))
            }
            None if script.is_some() => (Map::from_iter([("kind".to_owned(), json!("script"))]), None),
            None => {
                let what = "this folder has no agent.yaml; textback agent new DIR writes one";
                return Err(FileFault::of_file(folder, what));
            }
        };
        let mut files =
            Self { path: path.to_owned(), folder: Some(folder.to_owned()), agent, description, script, prompt };
        files
            .name_after(folder.canonicalize().ok().as_deref().and_then(Path::file_name).and_then(|name| name.to_str()));
        files.take_parts()?;
        Ok(files)
    }

    /// Puts the script and the prompt of the folder into the agent.
    fn take_parts(&mut self) -> Result<(), FileFault> {
        if let Some(file) = self.script.clone() {
            let source = read_text(&file)?;
            if self.agent.insert("source".to_owned(), json!(source)).is_some() {
                return Err(
                    self.fault_described("source", format!("source is given here and in {SCRIPT}; leave one out"))
                );
            }
        }
        let Some(file) = self.prompt.clone() else { return Ok(()) };
        let text = read_text(&file)?;
        let Some(Value::Object(llm)) = self.agent.get_mut("llm") else {
            let what = "only an agent with llm in agent.yaml has a prompt; add it, or remove this file";
            return Err(FileFault::of_file(&file, what));
        };
        if llm.insert("prompt".to_owned(), json!(text)).is_some() {
            return Err(
                self.fault_described("llm.prompt", format!("llm.prompt is given here and in {PROMPT}; leave one out"))
            );
        }
        Ok(())
    }

    /// Names the agent, unless it has a name.
    fn name_after(&mut self, name: Option<&str>) {
        self.agent.entry("name").or_insert_with(|| json!(name.unwrap_or("agent")));
    }

    /// The kind of the agent, as it is given.
    pub(super) fn kind(&self) -> &str {
        self.agent.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// The name of the agent.
    pub(super) fn name(&self) -> &str {
        self.agent.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The script, if the agent has one.
    pub(super) fn source(&self) -> Option<&str> {
        self.agent.get("source").and_then(Value::as_str)
    }

    /// A field of the model, if the agent is one.
    pub(super) fn llm(&self, field: &str) -> Option<&Value> {
        self.agent.get("llm").and_then(|llm| llm.get(field))
    }

    /// Sets a field of the model, if the agent is one.
    pub(super) fn set_llm(&mut self, field: &str, value: Value) {
        if let Some(Value::Object(llm)) = self.agent.get_mut("llm") {
            llm.insert(field.to_owned(), value);
        }
    }

    /// The script's names of the functions that are tools.
    pub(super) fn tools(&self) -> Vec<String> {
        let listed = self.llm("tools").and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A fault of a field of the agent, at the position where the files have it.
    pub(super) fn fault(&self, field: &str, message: impl Into<String>) -> FileFault {
        let file = match (field, &self.script, &self.prompt) {
            ("source", Some(script), _) if self.description.is_none() => return FileFault::of_file(script, message),
            ("llm.prompt", _, Some(prompt)) => {
                let message = message.into();
                let line = match line_in(&message) {
                    0 => self.line_of_member(&message),
                    line => line,
                };
                let position = Position { line, column: usize::from(line > 0) };
                return FileFault::at(prompt, position.fault(message));
            }
            _ => self.description.as_ref(),
        };
        match file {
            Some(_) => self.fault_described(field, message),
            None => FileFault::of_file(&self.path, message),
        }
    }

    /// A fault at the position where the file that describes the agent has a field.
    fn fault_described(&self, field: &str, message: impl Into<String>) -> FileFault {
        let Some((file, node)) = &self.description else { return FileFault::of_file(&self.path, message) };
        let position = node.as_ref().map(|node| node.find(field)).unwrap_or_default();
        FileFault::at(file, position.fault(message))
    }

    /// The line of the prompt with a member of `conv` that a message names, or 0.
    fn line_of_member(&self, message: &str) -> usize {
        let Some((_, rest)) = message.split_once("conv has no ") else { return 0 };
        let member = rest.split([' ', ';']).next().unwrap_or_default();
        let prompt = self.llm("prompt").and_then(Value::as_str).unwrap_or_default();
        let found = prompt.lines().position(|line| line.contains(&format!("conv.{member}")));
        found.map_or(0, |line| line + 1)
    }

    /// The file that faults of the script are told with.
    pub(super) fn script_file(&self) -> &Path {
        let described = self.description.as_ref().map(|(file, _)| file.as_path());
        self.script.as_deref().or(described).unwrap_or(&self.path)
    }

    /// The file with the answers of a scripted model.
    pub(super) fn model_file(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join("model.yaml")).filter(|file| file.is_file())
    }

    /// What changes when a file of the agent is saved.
    pub(super) fn stamp(&self) -> Stamp {
        let parts = [SCRIPT, PROMPT, "model.yaml"].into_iter().chain(DESCRIPTIONS);
        let files: Vec<PathBuf> = match &self.folder {
            Some(folder) => parts.map(|name| folder.join(name)).collect(),
            None => vec![self.path.clone()],
        };
        let stamp = |file: PathBuf| {
            let found = std::fs::metadata(&file).ok()?;
            Some((file, (found.modified().ok()?, found.len())))
        };
        files.into_iter().filter_map(stamp).collect()
    }
}

/// When the files of an agent were saved, and how long they are.
pub(super) type Stamp = BTreeMap<PathBuf, (SystemTime, u64)>;

/// The line that a message names, or 0.
fn line_in(message: &str) -> usize {
    let Some((_, rest)) = message.split_once("line ") else { return 0 };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

fn ending(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// The agent in a file of YAML or JSON, and the positions of its values, if they are known.
fn described(file: &Path, text: &str) -> Result<(Map<String, Value>, Option<Node>), FileFault> {
    let node = document::read(text);
    let agent = match ending(file).as_str() {
        "json" => read_json(text).map_err(|error| FileFault::of_file(file, format!("this can't be used: {error}")))?,
        _ => node.as_ref().map(Node::to_json).map_err(|fault| FileFault::at(file, fault.clone()))?,
    };
    match agent {
        Value::Object(agent) => Ok((agent, node.ok())),
        _ => {
            let what = "this holds no JSON object; write one as POST /v1/agents takes it";
            Err(FileFault::of_file(file, what))
        }
    }
}

/// The text of a file. Some editors begin UTF-8 with a byte order mark, which is no part of the
/// text.
pub(super) fn read_text(file: &Path) -> Result<String, FileFault> {
    let bytes =
        std::fs::read(file).map_err(|error| FileFault::of_file(file, format!("this can't be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        FileFault::of_file(file, format!("this is not UTF-8 (byte {at}); save it in UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
