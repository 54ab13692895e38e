//! Prints the settings and the commands as Markdown, for `docs/configuration.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::{Arg, Command};

/// A setting: its variable, its flag, its default and its meaning. Commands may differ in the
/// default or in the meaning; then these are several settings.
type Setting = (String, String, String, String);

/// All settings and all commands that are not hidden, as the generated part of
/// `docs/configuration.md`.
pub fn markdown(command: &Command) -> String {
    let commands = commands(command, "textback");
    let mut page =
        "## All settings\n\n| variable | flag | default | what | commands |\n|---|---|---|---|---|\n".to_owned();
    let mut settings: BTreeMap<Setting, Vec<String>> = BTreeMap::new();
    for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
        settings.entry(setting(argument)).or_default().push("all".to_owned());
    }
    for (path, command) in &commands {
        for argument in command.get_arguments().filter(|argument| is_setting(argument)) {
            settings.entry(setting(argument)).or_default().push(path.trim_start_matches("textback ").to_owned());
        }
    }
    for ((variable, flag, default, what), of) in settings {
        let of = of.iter().map(|name| if name == "all" { name.clone() } else { format!("`{name}`") });
        let of = of.collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| `{variable}` | `{flag}` | {default} | {what} | {of} |");
    }
    page += "\n## Commands\n";
    for (path, command) in commands {
        let _ = write!(page, "\n### {path}\n\n{}.\n", text(command.get_about()));
        let own: Vec<&Arg> =
            command.get_arguments().filter(|argument| is_shown(argument) && !is_setting(argument)).collect();
        if !own.is_empty() {
            page += "\n| argument | default | what |\n|---|---|---|\n";
        }
        for argument in own {
            let _ = writeln!(page, "| `{}` | {} | {} |", name(argument), default(argument), what(argument));
        }
        let of: Vec<String> = command
            .get_arguments()
            .filter(|argument| is_setting(argument))
            .map(|one| format!("`{}`", variable(one)))
            .collect();
        if !of.is_empty() {
            let _ = write!(page, "\nSettings: {}.\n", of.join(", "));
        }
    }
    page
}

/// All commands without subcommands, with the words that call them.
fn commands<'c>(command: &'c Command, path: &str) -> Vec<(String, &'c Command)> {
    let below: Vec<&Command> =
        command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help").collect();
    if below.is_empty() {
        return vec![(path.to_owned(), command)];
    }
    below.into_iter().flat_map(|one| commands(one, &format!("{path} {}", one.get_name()))).collect()
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

/// Whether an argument is a variable too. What all commands have is told once.
fn is_setting(argument: &Arg) -> bool {
    is_shown(argument) && argument.get_env().is_some() && !argument.is_global_set()
}

fn variable(argument: &Arg) -> String {
    argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn setting(argument: &Arg) -> Setting {
    (variable(argument), name(argument), default(argument), what(argument))
}

/// How an argument is given: `--flag`, or the name of its value where it is one by its position.
fn name(argument: &Arg) -> String {
    match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => argument
            .get_value_names()
            .and_then(|names| names.first())
            .map_or_else(|| argument.get_id().to_string(), ToString::to_string),
    }
}

fn default(argument: &Arg) -> String {
    let values: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    values.join(", ")
}

fn what(argument: &Arg) -> String {
    text(argument.get_help())
}

/// A help text in one line that fits a cell of a table.
fn text(help: Option<&clap::builder::StyledStr>) -> String {
    let line = help.map(ToString::to_string).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|").replace('<', "&lt;").trim_end_matches('.').to_owned()
}
