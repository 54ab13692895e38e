//! The commands on one screen; each is carried out in `command`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use textback::agents::script::memory::Bounded;
use textback::agents::script::{process, runner, sandbox};
use textback::cli::{self, Done, agent, dev, doctor, project, secrets, serve, simulate};
use textback::config::DatabaseSettings;
use textback::telemetry::{self, LogFormat};

/// A text's memory is allocated on one thread and freed on another. With the system's allocator this took a sixth of
/// our CPU time. In script runners, allocations are counted too.
#[global_allocator]
static ALLOCATOR: Bounded<tikv_jemallocator::Jemalloc> = Bounded(tikv_jemallocator::Jemalloc);

/// Answers text messages: one binary, one PostgreSQL.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The shape of log lines; how much is logged says RUST_LOG
    #[arg(long, env = "TEXTBACK_LOG", value_enum, default_value = "text", global = true)]
    log: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process: a private PostgreSQL, the API, workers, a simulated carrier and a phone in the browser
    Dev(dev::Options),
    /// The API and the webhook, and workers if wanted
    Serve {
        #[command(flatten)]
        database: DatabaseSettings,
        #[command(flatten)]
        options: serve::ServeOptions,
    },
    /// Workers: turns and deliveries
    Work {
        #[command(flatten)]
        database: DatabaseSettings,
        #[command(flatten)]
        worker: serve::WorkOptions,
    },
    /// Bring the database to this binary's schema
    Migrate {
        #[command(flatten)]
        database: DatabaseSettings,
        /// The role that serve, work and doctor connect as, if another one owns the schema: it gets the rights that it lacks
        #[arg(long, env = "TEXTBACK_GRANT_TO", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        grant_to: Option<String>,
    },
    /// Look at everything that keeps texts from being answered, and say how to mend it
    Doctor(doctor::Options),
    /// Print the OpenAPI document
    Openapi,
    /// A simulated Twilio and its phones
    Simulate {
        #[command(subcommand)]
        command: simulate::Command,
    },
    /// Projects, the tenants
    Project {
        #[command(subcommand)]
        command: project::Command,
    },
    /// Agents, before anybody texts them
    Agent {
        #[command(subcommand)]
        command: agent::Command,
    },
    /// What runs scripts for the others; not for people
    #[command(name = runner::COMMAND, hide = true)]
    RunScripts {
        /// The process that started it; without that it ends
        #[arg(long)]
        parent: Option<i32>,
        /// Try what the sandbox refuses, and tell
        #[arg(long)]
        self_test: bool,
    },
}

fn main() -> ExitCode {
    // Before any other thread exists, because the environment must not change beside one.
    secrets::forget_empty_variables();
    let cli = Cli::try_parse().unwrap_or_else(|error| secrets::hide_in(error).exit());
    let done = match cli.command {
        // Needs neither log nor runtime: it is to be small.
        Command::RunScripts { self_test: true, .. } => cli::print(&sandbox::self_test()),
        Command::RunScripts { parent, .. } => process::serve(parent).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        command => {
            // Before any other thread exists too.
            secrets::hide();
            telemetry::log(cli.log);
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

async fn carry_out(command: Command) -> Done {
    match command {
        Command::Dev(options) => dev::run(options).await,
        Command::Serve { database, options } => serve::serve(&database, options).await,
        Command::Work { database, worker } => serve::work(&database, worker).await,
        Command::Migrate { database, grant_to } => project::migrate(&database, grant_to.as_deref()).await,
        Command::Doctor(options) => doctor::run(options).await,
        Command::Openapi => cli::print(&textback::http::api::document()),
        Command::Simulate { command } => simulate::run(command).await,
        Command::Project { command } => project::run(command).await,
        Command::Agent { command } => agent::run(command).await,
        Command::RunScripts { .. } => unreachable!("carried out without a runtime"),
    }
}
