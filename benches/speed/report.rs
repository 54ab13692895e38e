//! Prints progress, and writes the measured tables into a Markdown file without changing the text
//! around them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Tables that grow.
#[derive(Default)]
pub struct Report {
    text: String,
    done: usize,
    steps: usize,
}

impl Report {
    /// A report of so many steps.
    pub fn of(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }

    /// Says what is measured now, and how far we are.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        let filled = self.done * 30 / self.steps.max(1);
        eprintln!("[{:<30}] {:>2}/{} {what}", "#".repeat(filled.min(30)), self.done, self.steps);
    }

    /// Says how far a long step is.
    pub fn tick(&self, part: f64) {
        eprint!("\r    {:>3.0} %{}", part * 100.0, if part < 1.0 { "" } else { "\n" });
    }

    /// Begins a table.
    pub fn table(&mut self, title: &str, about: &str, columns: &[&str]) {
        let rule = "|---".repeat(columns.len());
        let _ = write!(self.text, "\n### {title}\n\n{about}\n\n| {} |\n{rule}|\n", columns.join(" | "));
        println!("\n{title}\n{}", columns.join("  "));
    }

    pub fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
        println!("{}", cells.join("  "));
    }

    /// Writes the tables into a document, in place of those of the last run.
    pub fn write(&self, path: &Path, settings: &[(String, String)], run: &str) {
        let before = std::fs::read_to_string(path).unwrap_or_else(|_| format!("# Results\n\n{BEGIN}\n{END}\n"));
        let (head, rest) = before.split_once(BEGIN).unwrap_or((before.as_str(), ""));
        let (_, tail) = rest.split_once(END).unwrap_or(("", "\n"));
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let measured = format!(
            "{BEGIN}\nMachine: {}. PostgreSQL: {}. Run: {run}. Commit: {}.\n{}{END}",
            machine(),
            settings.join(", "),
            message_number("git", &["describe", "--always", "--dirty"]),
            self.text
        );
        std::fs::write(path, format!("{head}{measured}{tail}")).expect("the results are written");
        println!("\nwritten to {}", path.display());
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let memory =
        read("/proc/meminfo").lines().next().map(|line| line.trim_start_matches("MemTotal:").trim().to_owned());
    let load = read("/proc/loadavg");
    format!(
        "{} cores ({model}), {} of memory, kernel {}, load {} at the end",
        cpu.lines().filter(|line| line.starts_with("processor")).count(),
        memory.unwrap_or_default(),
        message_number("uname", &["-r"]),
        load.split(' ').next().unwrap_or_default()
    )
}

fn message_number(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
