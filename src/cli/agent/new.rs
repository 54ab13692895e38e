//! `textback agent new`: writes an agent that can be tried, tested and pushed as it is.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Done, print};
use crate::dev::shell;
use crate::domain::agent::AgentKind;
use crate::domain::name;

/// What stands for the name of the agent in the files.
const NAME: &str = "{{name}}";

/// The options of `textback agent new`.
#[derive(Args)]
pub struct NewOptions {
    /// The folder, which is made if it does not exist; the agent is called like it
    folder: PathBuf,
    /// What answers: script, http or llm
    #[arg(long, default_value = AgentKind::Script.as_str())]
    kind: AgentKind,
}

/// The files of an agent: their paths in its folder, and their texts.
type Starter = &'static [(&'static str, &'static str)];

const SCRIPT: Starter = &[
    ("agent.yaml", include_str!("starters/script/agent.yaml")),
    ("agent.star", include_str!("starters/script/agent.star")),
    ("tests/greeting.yaml", include_str!("starters/script/tests/greeting.yaml")),
    ("README.md", include_str!("starters/script/README.md")),
];

const HTTP: Starter = &[
    ("agent.yaml", include_str!("starters/http/agent.yaml")),
    ("service.py", include_str!("starters/http/service.py")),
    ("tests/count.yaml", include_str!("starters/http/tests/count.yaml")),
    ("README.md", include_str!("starters/http/README.md")),
];

const LLM: Starter = &[
    ("agent.yaml", include_str!("starters/llm/agent.yaml")),
    ("agent.star", include_str!("starters/llm/agent.star")),
    ("prompt.md", include_str!("starters/llm/prompt.md")),
    ("model.yaml", include_str!("starters/llm/model.yaml")),
    ("tests/hours.yaml", include_str!("starters/llm/tests/hours.yaml")),
    ("README.md", include_str!("starters/llm/README.md")),
];

const fn starter(kind: AgentKind) -> Starter {
    match kind {
        AgentKind::Script => SCRIPT,
        AgentKind::Http => HTTP,
        AgentKind::Llm => LLM,
    }
}

/// Runs `textback agent new`.
pub(super) fn run(options: &NewOptions) -> Done {
    let NewOptions { folder, kind } = options;
    let shown = folder.display();
    refuse_what_is_there(folder)?;
    let failed = |error: std::io::Error| format!("{shown} can't be written: {error}");
    std::fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.canonicalize().map_err(failed)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("agent");
    if let Some(fault) = name::fault(name) {
        return Err(
            format!("the name of the folder {fault}; it becomes the name of the agent, so take another one").into()
        );
    }
    // As YAML reads a text between double quotes.
    let quoted = serde_json::to_string(name)?;
    for (file, text) in starter(*kind) {
        let to = folder.join(file);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let value = if file.ends_with(".yaml") { quoted.as_str() } else { name };
        std::fs::write(&to, text.replace(NAME, value)).map_err(failed)?;
        print(&to.display().to_string())?;
    }
    let textback = shell::as_called();
    let folder = shell::quoted(&shown.to_string()).into_owned();
    if *kind == AgentKind::Http {
        print(&format!("first start its service, in another terminal: cd {folder} && python3 service.py --port 9000"))?;
    }
    print(&format!("next: {textback} agent chat {folder}, and {textback} agent test {folder}"))
}

/// Refuses a folder that has files, and a file.
fn refuse_what_is_there(folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    if folder.exists() && !folder.is_dir() {
        return Err(format!("{shown} is a file; give a folder that is new or empty"));
    }
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if is_empty { Ok(()) } else { Err(format!("{shown} is not empty; give a folder that is new or empty")) }
}
