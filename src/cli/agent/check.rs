//! `textback agent check`: all that can be known of an agent without a database and without a call
//! of its service or its model.

use uuid::Uuid;

use super::folder::{AgentFiles, FileFault};
use crate::agents::http::{Caller, Networks};
use crate::agents::script::Purpose;
use crate::agents::script::check::Fault;
use crate::agents::script::runner::Runners;
use crate::agents::{AgentRuntime, SpecError};
use crate::cli::dev;
use crate::config::AgentSettings;
use crate::domain::agent::{AgentKind, AgentSpec};
use crate::http::api::local::read_agent;
use crate::storage::agent::NewVersion;

/// An error of the machine, not of the agent.
pub(super) type CheckError = Box<dyn std::error::Error>;

/// What a check found: all faults, and the version, if none of them is fatal.
pub(super) struct Checked {
    pub(super) faults: Vec<FileFault>,
    pub(super) version: Option<NewVersion>,
}

impl Checked {
    pub(super) fn is_fatal(&self) -> bool {
        self.faults.iter().any(|found| found.fault.fatal)
    }
}

/// What runs agents on this machine: services and models may be on it too.
pub(super) fn runtime(agents: &AgentSettings) -> Result<AgentRuntime, CheckError> {
    Ok(AgentRuntime { runners: Runners::new()?, caller: Caller::new(dev::networks(agents)?)? })
}

/// Checks an agent.
pub(super) async fn check(
    files: &AgentFiles,
    runtime: &AgentRuntime,
    agents: &AgentSettings,
) -> Result<Checked, CheckError> {
    let mut faults = script_faults(files, runtime).await?;
    if files.llm("api_key").is_some() {
        let what = "llm.api_key is a secret, and this file is likely to be shared; leave it out, and set TEXTBACK_LLM_KEY for textback agent push";
        let mut found = files.fault("llm.api_key", what);
        found.fault.fatal = false;
        faults.push(found);
    }
    let version = match read_agent(&files.agent.clone().into()) {
        Ok(version) => version,
        Err(told) => {
            faults.extend(told.into_iter().map(|told| files.fault(field_of(&told), told.as_str())));
            return Ok(Checked { faults, version: None });
        }
    };
    if version.spec.kind() != AgentKind::Script {
        spec_faults(files, runtime, agents, &version.spec, &mut faults).await?;
    }
    let checked = Checked { faults, version: Some(version) };
    Ok(if checked.is_fatal() { Checked { version: None, ..checked } } else { checked })
}

/// The faults of the script, with their positions.
pub(super) async fn script_faults(files: &AgentFiles, runtime: &AgentRuntime) -> Result<Vec<FileFault>, CheckError> {
    let Some(source) = files.source() else { return Ok(Vec::new()) };
    let file = files.script_file();
    if source.contains('\0') {
        let what = "the script contains the character NUL, which can't be stored; remove it";
        return Ok(vec![FileFault::of_file(file, what)]);
    }
    let purpose = match files.kind() {
        "llm" => Purpose::Tools(files.tools()),
        _ => Purpose::Answers,
    };
    // A runner has the same limits as the check of the API.
    let found: Vec<Fault> = runtime.runners.check(Uuid::nil(), source, &purpose).await?;
    Ok(found.into_iter().map(|fault| FileFault::at(file, fault)).collect())
}

/// What is wrong with the address of a service, or with a model and its prompt.
async fn spec_faults(
    files: &AgentFiles,
    runtime: &AgentRuntime,
    agents: &AgentSettings,
    spec: &AgentSpec,
    faults: &mut Vec<FileFault>,
) -> Result<(), CheckError> {
    // The script has been checked above, so that it does not keep other faults from being told.
    let without_script = match spec {
        AgentSpec::Llm { llm, source: Some(_) } => {
            let mut llm = llm.clone();
            llm.tools.clear();
            AgentSpec::Llm { llm, source: None }
        }
        spec => spec.clone(),
    };
    match runtime.check(Uuid::nil(), &without_script).await {
        Ok(()) => {}
        Err(SpecError::Refused { detail, .. }) => {
            faults.push(files.fault(field_of(&detail), detail.as_str()));
            return Ok(());
        }
        Err(SpecError::Unchecked(error)) => return Err(error.into()),
    }
    let (field, address) = match spec {
        AgentSpec::Http { url, .. } => ("url", url),
        AgentSpec::Llm { llm, .. } => ("llm.base_url", &llm.base_url),
        AgentSpec::Script { .. } => return Ok(()),
    };
    // textback serve has no access to this machine, unless it is allowed.
    let served = Caller::new(Networks::public_and(&agents.allow_hosts))?;
    if let Err(what) = served.check_url(address).await {
        let told = format!("textback dev can use {field}, and textback serve can't: {what}");
        let mut found = files.fault(field, told);
        found.fault.fatal = false;
        faults.push(found);
    }
    Ok(())
}

/// The field that a fault begins with.
fn field_of(told: &str) -> &str {
    told.split([' ', ':']).next().unwrap_or_default()
}

/// The version of an agent that can be used. The error tells all its faults.
pub(super) async fn usable(
    files: &AgentFiles,
    runtime: &AgentRuntime,
    agents: &AgentSettings,
) -> Result<NewVersion, CheckError> {
    let Checked { faults, version } = check(files, runtime, agents).await?;
    let fatal = faults.iter().filter(|found| found.fault.fatal).map(ToString::to_string);
    version.ok_or_else(|| fatal.collect::<Vec<_>>().join("\n").into())
}
