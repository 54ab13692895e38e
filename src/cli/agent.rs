//! `textback agent`: looks at scripts before anybody texts them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use uuid::Uuid;

use super::{Done, print};
use crate::agents::script::runner::Runners;

/// What `textback agent` can do.
#[derive(Subcommand)]
pub enum Command {
    /// Tell a script's faults with line and column; exits with 1 if it can't be used
    Check {
        /// The script
        file: PathBuf,
    },
}

/// Runs `textback agent`.
pub async fn run(command: Command) -> Done {
    let Command::Check { file } = command;
    let name = file.display();
    let source = std::fs::read_to_string(&file).map_err(|error| format!("{name} can't be read: {error}"))?;
    // In a runner, whose bounds are those of the API's check.
    let faults = Runners::new()?.check(Uuid::nil(), &source).await?;
    for fault in &faults {
        let weight = if fault.fatal { "error" } else { "warning" };
        let place = if fault.line > 0 { format!("{}:{}:", fault.line, fault.column) } else { String::new() };
        print(&format!("{name}:{place} {weight}: {}", fault.message))?;
    }
    if faults.iter().any(|fault| fault.fatal) {
        return Ok(ExitCode::FAILURE);
    }
    print(&format!("{name}: it can be used"))
}
