//! The metrics of the process itself, with the names that Prometheus' own libraries give them. They
//! are read from `/proc` when the page is asked for; on other systems there are none.

use std::fmt::Write;

use super::Metric;

/// A metric of the process.
const fn of(kind: &'static str, name: &'static str, help: &'static str) -> Metric {
    Metric { kind, name, help, labels: &[], buckets: &[] }
}

/// All metrics of the process, in the order of [`read`].
pub const METRICS: [Metric; 7] = [
    of("counter", "process_cpu_seconds_total", "CPU time of this process, of the system and of the user."),
    of("gauge", "process_start_time_seconds", "When this process started, in seconds since 1970."),
    of("gauge", "process_resident_memory_bytes", "Memory of this process that is in RAM."),
    of("gauge", "process_virtual_memory_bytes", "Address space of this process."),
    of("gauge", "process_threads", "Threads of this process."),
    of("gauge", "process_open_fds", "Open files and sockets of this process."),
    of("gauge", "process_max_fds", "The limit of open files and sockets of this process."),
];

/// Adds the metrics of this process to a page.
pub(super) fn render(page: &mut String) {
    let Some(values) = read() else { return };
    for (Metric { kind, name, help, .. }, value) in METRICS.iter().zip(values) {
        // Writing to a String does not fail.
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
    }
}

#[cfg(target_os = "linux")]
fn read() -> Option<[f64; 7]> {
    use std::fs;

    use nix::sys::resource::{Resource, getrlimit};
    use nix::unistd::{SysconfVar, sysconf};

    let configured = |variable| sysconf(variable).ok().flatten().map(float);
    let (ticks, page_bytes) = (configured(SysconfVar::CLK_TCK)?, configured(SysconfVar::PAGE_SIZE)?);
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let booted = fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = booted.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some([
        stat.cpu_ticks / ticks,
        booted + stat.started_ticks / ticks,
        stat.resident_pages * page_bytes,
        stat.virtual_bytes,
        stat.threads,
        f64::from(u32::try_from(open).unwrap_or(u32::MAX)),
        f64::from(u32::try_from(most).unwrap_or(u32::MAX)),
    ])
}

#[cfg(not(target_os = "linux"))]
fn read() -> Option<[f64; 7]> {
    None
}

#[cfg(target_os = "linux")]
fn float(value: i64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

/// What `/proc/self/stat` tells of a process (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    started_ticks: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name of the program is in parentheses and may have blanks and parentheses of its own.
        let (_, after_name) = line.rsplit_once(')')?;
        let fields: Vec<f64> = after_name.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        // The first of these is field 4 of proc(5).
        let field = |number: usize| fields.get(number.checked_sub(4)?).copied();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_process_are_found_after_its_name() {
        let line =
            "42 (a b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 12 0 9000 1048576 256 18446744073709551615 1";
        let expected = Stat {
            cpu_ticks: 200.0,
            threads: 12.0,
            started_ticks: 9000.0,
            virtual_bytes: 1_048_576.0,
            resident_pages: 256.0,
        };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_files_memory_and_a_start_time() {
        let [_, started, resident, in_all, threads, open, most] = read().expect("/proc");
        assert!(
            started > 1.6e9 && resident > 1e6 && in_all >= resident && threads >= 1.0,
            "{started} {resident} {in_all}"
        );
        assert!(open >= 3.0 && most >= open, "{open} of {most}");
    }
}
