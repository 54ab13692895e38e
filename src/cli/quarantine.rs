//! `textback quarantine`: lists, shows and replays what came in and fits no session.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::Value;
use uuid::Uuid;

use super::operator::{Operator, ProjectOptions};
use super::{Done, print};

/// The subcommands of `textback quarantine`.
#[derive(Subcommand)]
pub enum Command {
    /// List what is in quarantine, newest first, without numbers and texts
    List {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        filter: Filter,
        /// List what was replayed too
        #[arg(long)]
        replayed: bool,
    },
    /// Print an item as JSON, with the contact's number and text
    Show {
        #[command(flatten)]
        project: ProjectOptions,
        /// The id of the item
        id: Uuid,
    },
    /// Process items again, as if they came now, for example after their number was attached
    Replay {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        filter: Filter,
        /// The ids of the items
        #[arg(required_unless_present = "all", conflicts_with_all = ["all", "reason", "kind", "since"])]
        ids: Vec<Uuid>,
        /// All items that were not replayed, the oldest first; the filters choose among them
        #[arg(long)]
        all: bool,
    },
}

/// Which items.
#[derive(Args)]
pub struct Filter {
    /// Only for this reason, such as number_not_attached
    #[arg(long)]
    reason: Option<String>,
    /// Only of this kind: inbound, status or session_state
    #[arg(long)]
    kind: Option<String>,
    /// Only what came at this time or later (RFC 3339)
    #[arg(long)]
    since: Option<String>,
}

/// Runs `textback quarantine`.
pub async fn run(command: Command) -> Done {
    match command {
        Command::List { project, filter, replayed } => list(&project.open().await?, &filter, replayed).await,
        Command::Show { project, id } => {
            let item = project.open().await?.call(Method::GET, &format!("/v1/quarantine/{id}"), None).await?;
            print(&serde_json::to_string_pretty(&item)?)
        }
        Command::Replay { project, filter, ids, all } => {
            let operator = project.open().await?;
            let ids = if all { waiting(&operator, &filter).await? } else { ids.iter().map(Uuid::to_string).collect() };
            replay(&operator, &ids).await
        }
    }
}

async fn items(operator: &Operator, filter: &Filter, replayed: bool) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    let named = [("reason", &filter.reason), ("kind", &filter.kind), ("since", &filter.since)];
    query.extend(named.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    if !replayed {
        query.push(("replayed", "false"));
    }
    Ok(operator.all("/v1/quarantine", &query).await?)
}

/// The ids of the items that wait, the oldest first, so that a conversation keeps its order.
async fn waiting(operator: &Operator, filter: &Filter) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let items = items(operator, filter, false).await?;
    let can_be_replayed = |item: &&Value| text(item, "kind") != "session_state";
    Ok(items.iter().rev().filter(can_be_replayed).map(|item| text(item, "id").to_owned()).collect())
}

async fn list(operator: &Operator, filter: &Filter, replayed: bool) -> Done {
    let items = items(operator, filter, replayed).await?;
    for item in &items {
        let outcome = match text(item, "replay_outcome") {
            "" => String::new(),
            outcome => format!("  replayed: {outcome}"),
        };
        let (id, at, kind, reason) =
            (text(item, "id"), text(item, "received_at"), text(item, "kind"), text(item, "reason"));
        print(&format!("{id}  {at}  {kind:<8}  {reason}{outcome}"))?;
    }
    if items.is_empty() {
        print("nothing is in quarantine")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replays items one after the other. The exit code is 1 if one of them still fits nothing.
async fn replay(operator: &Operator, ids: &[String]) -> Done {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for id in ids {
        let replayed = operator.call(Method::POST, &format!("/v1/quarantine/{id}/replay"), None).await?;
        let (outcome, reason) = (text(&replayed, "outcome"), text(&replayed, "reason"));
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        print(&format!("{id}  {outcome}{reason}"))?;
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    let counted: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    print(&format!("{} replayed{}{}", ids.len(), if counted.is_empty() { "" } else { ": " }, counted.join(", ")))?;
    Ok(if outcomes.contains_key("quarantined") { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}
