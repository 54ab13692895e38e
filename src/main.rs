//! The command line: each command is parsed here and carried out in [`textback::cli`].

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use textback::agents::script::memory::Bounded;
use textback::agents::script::{process, sandbox};
use textback::cli::{
    self, Done, agent, configuration, dev, doctor, environment, healthcheck, project, quarantine, report, reporting,
    secrets, serve, simulate,
};
use textback::config::DatabaseSettings;
use textback::telemetry::{self, LogFormat, traces};

/// The memory of a message is allocated on one thread and freed on another. With the system's
/// allocator this took a sixth of the CPU time. In script runners, allocations are also counted.
#[global_allocator]
static ALLOCATOR: Bounded<tikv_jemallocator::Jemalloc> = Bounded(tikv_jemallocator::Jemalloc);

/// Answers text messages: one binary, one PostgreSQL.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The format of log lines; RUST_LOG sets the level
    #[arg(long, env = "TEXTBACK_LOG", value_enum, default_value = "text", global = true)]
    log: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process: a private PostgreSQL, the API, workers, a simulated Twilio
    /// and a phone in the browser
    Dev(dev::Options),
    /// Serve the API and the webhooks; with --with-workers, run workers in this process too
    Serve {
        #[command(flatten)]
        database: DatabaseSettings,
        #[command(flatten)]
        options: serve::ServeOptions,
    },
    /// Run workers: turns, deliveries and all other jobs
    Work {
        #[command(flatten)]
        database: DatabaseSettings,
        #[command(flatten)]
        worker: serve::WorkOptions,
    },
    /// Migrate the database to the schema of this binary
    Migrate {
        #[command(flatten)]
        database: DatabaseSettings,
        /// The role that serve, work and doctor connect as, if it does not own the schema. It is
        /// granted the rights that it lacks
        #[arg(long, env = "TEXTBACK_GRANT_TO", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        grant_to: Option<String>,
    },
    /// Check everything that can keep texts from being answered, and say how to repair it
    Doctor(doctor::Options),
    /// Ask a process on this machine whether it is ready. The exit code is 1 if it is not
    Healthcheck(healthcheck::Options),
    /// Print the OpenAPI document
    Openapi,
    /// Print the settings and the commands as Markdown, for docs/configuration.md
    #[command(hide = true)]
    Configuration,
    /// Run a simulated Twilio and use its phones
    Simulate {
        #[command(subcommand)]
        command: simulate::Command,
    },
    /// Create projects (tenants)
    Project {
        #[command(subcommand)]
        command: project::Command,
    },
    /// Check agents before anybody texts them, create and update them
    Agent {
        #[command(subcommand)]
        command: agent::Command,
    },
    /// List, show and replay what came in and fits no session
    Quarantine {
        #[command(subcommand)]
        command: quarantine::Command,
    },
    /// Answer a question of the dashboards in the terminal, as text, CSV or JSON; without a name,
    /// list the questions
    Report(report::Options),
    /// Say which role sees which project in the views for dashboards, and write the dashboards
    Reporting {
        #[command(subcommand)]
        command: reporting::Command,
    },
    /// Run scripts for another textback process; started by textback itself
    #[command(name = process::COMMAND, hide = true)]
    RunScripts {
        /// The id of the process that started this one; this process ends with it
        #[arg(long)]
        parent: Option<i32>,
        /// Try everything that the sandbox must refuse, and print what happened
        #[arg(long)]
        self_test: bool,
    },
}

fn main() -> ExitCode {
    // These must run before another thread exists, because the environment may not change while
    // another thread reads it.
    secrets::clean_variables();
    secrets::reach_this_machine();
    let cli = Cli::try_parse().unwrap_or_else(|error| secrets::exit_with(error, &Cli::command()));
    let done = match cli.command {
        // A script runner needs neither a log nor a runtime, and must stay small.
        Command::RunScripts { self_test: true, .. } => cli::print(&sandbox::self_test()),
        Command::RunScripts { parent, .. } => process::serve(parent).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        command => {
            // This too must run before another thread exists.
            let unread = environment::unread(&Cli::command(), &secrets::variables());
            secrets::hide();
            telemetry::log(cli.log);
            for sentence in unread {
                tracing::warn!(error = %sentence, "a variable of the environment was ignored");
            }
            cli::open_many_files();
            tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(carry_out(command)))
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("textback: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Carries out a command that exports traces, if the environment asks for them.
async fn traced(command: impl Future<Output = Done>) -> Done {
    traces::start();
    let done = command.await;
    traces::stop().await;
    done
}

async fn carry_out(command: Command) -> Done {
    match command {
        Command::Dev(options) => traced(dev::run(options)).await,
        Command::Serve { database, options } => traced(serve::serve(&database, options)).await,
        Command::Work { database, worker } => traced(serve::work(&database, worker)).await,
        Command::Migrate { database, grant_to } => project::migrate(&database, grant_to.as_deref()).await,
        Command::Doctor(options) => doctor::run(options).await,
        Command::Healthcheck(options) => healthcheck::run(options).await,
        Command::Configuration => cli::print(&configuration::markdown(&Cli::command())),
        Command::Openapi => cli::print(&textback::http::api::document()),
        Command::Simulate { command } => simulate::run(command).await,
        Command::Project { command } => project::run(command).await,
        Command::Agent { command } => agent::run(command).await,
        Command::Quarantine { command } => quarantine::run(command).await,
        Command::Report(options) => report::run(options).await,
        Command::Reporting { command } => reporting::run(command).await,
        Command::RunScripts { .. } => unreachable!("carried out without a runtime"),
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::{Arg, ArgAction};

    use super::*;

    /// All arguments of a command and its subcommands, with the names of the subcommands that lead
    /// to each.
    fn arguments(command: &clap::Command, path: &[String]) -> Vec<(Vec<String>, Arg)> {
        let own = command.get_arguments().map(|argument| (path.to_vec(), argument.clone()));
        let below = command
            .get_subcommands()
            .flat_map(|below| arguments(below, &[path, &[below.get_name().to_owned()]].concat()));
        own.chain(below).collect()
    }

    #[test]
    fn each_switch_that_is_a_setting_is_read_as_people_write_it() {
        let mut switches = 0;
        for (path, argument) in arguments(&Cli::command(), &[]) {
            let is_switch = argument.get_value_parser().type_id() == TypeId::of::<bool>();
            if !is_switch || argument.get_env().is_none() {
                continue;
            }
            switches += 1;
            let flag = format!("--{}", argument.get_long().expect("a flag"));
            assert!(!matches!(argument.get_action(), ArgAction::SetTrue), "{flag}: 1 and yes would be refused");
            for given in [flag.clone(), format!("{flag}=1"), format!("{flag}= On "), format!("{flag}=NO")] {
                let line = ["textback".to_owned()].into_iter().chain(path.clone()).chain([given.clone()]);
                assert!(Cli::try_parse_from(line).is_ok(), "{given}");
            }
        }
        assert!(switches >= 3, "{switches}");
    }

    #[test]
    fn each_setting_that_is_a_secret_is_hidden() {
        let words = ["key", "password", "token", "secret", "database-url"];
        let mut found = 0;
        for (path, argument) in arguments(&Cli::command(), &[]) {
            let Some(long) = argument.get_long().filter(|long| words.iter().any(|word| long.contains(word))) else {
                continue;
            };
            found += 1;
            assert!(secrets::ARGUMENTS.contains(&&*format!("--{long}")), "{path:?} --{long}");
            if let Some(variable) = argument.get_env().and_then(|name| name.to_str()) {
                assert!(secrets::READ_ONCE.contains(&variable), "{variable}");
                assert!(argument.is_hide_env_values_set(), "--help shows {variable}");
            }
        }
        assert!(found >= 5, "{found}");
    }
}
