//! `textback agent`: checks scripts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use uuid::Uuid;

use super::{Done, print};
use crate::agents::script::runner::Runners;

/// The subcommands of `textback agent`.
#[derive(Subcommand)]
pub enum Command {
    /// Print the faults of a script with line and column. The exit code is 1 if the script can't be used
    Check {
        /// The file of the script
        file: PathBuf,
    },
}

/// Runs `textback agent`.
pub async fn run(command: Command) -> Done {
    let Command::Check { file } = command;
    let name = file.display();
    let source = std::fs::read_to_string(&file).map_err(|error| format!("{name} can't be read: {error}"))?;
    // A runner has the same limits as the check of the API.
    let faults = Runners::new()?.check(Uuid::nil(), &source).await?;
    for fault in &faults {
        let severity = if fault.fatal { "error" } else { "warning" };
        let position = if fault.line > 0 { format!("{}:{}:", fault.line, fault.column) } else { String::new() };
        print(&format!("{name}:{position} {severity}: {}", fault.message))?;
    }
    if faults.iter().any(|fault| fault.fatal) {
        return Ok(ExitCode::FAILURE);
    }
    print(&format!("{name}: the script can be used"))
}
