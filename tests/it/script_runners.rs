//! Tests that a hostile script affects neither its runner nor other tenants nor the machine.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use textback::agents::script::runner::Runners;
use textback::agents::script::{Purpose, ScriptAgent};
use textback::agents::{Agent, AgentError, Answer, Conversation, TurnInput, UserMessage};
use uuid::Uuid;

use crate::commands::textback;
use crate::harness::{ADA, ECHO, NUMBER, TestApp};
use crate::process_harness::ProcessHarness;

/// What one runner may hold in memory, whatever it runs: 96 MiB of a run, 32 MiB of scripts, 64 MiB
/// of stack, and the program.
const MOST_RESIDENT_KIB: u64 = 256 << 10;
/// What a runner may have taken of the machine's memory while it waits, with what the program
/// itself takes.
const MOST_WAITING_KIB: u64 = 56 << 10;
/// The bound of a run by the clock, with what starting a runner takes on a busy machine.
const MOST_WALL: Duration = Duration::from_secs(25);

/// Bodies of `reply` that take much memory or time, most of them within one operation.
const NASTY: [(&str, &str); 18] = [
    ("a list that doubles", "l = [1]\n    for i in range(60): l = l + l"),
    ("a list repeated", "l = [1] * 1000000000"),
    ("a text repeated", "t = \"a\" * 5000000000"),
    ("a text that doubles", "t = \"ab\"\n    for i in range(60): t = t + t"),
    ("a number that is squared", "x = 7\n    for i in range(60): x = x * x"),
    ("a number that is shifted", "x = 1 << 4000000000"),
    ("many squares", "x = 7\n    for i in range(19): x = x * x\n    for i in range(1000000): y = x * x"),
    ("a search", "for i in range(100000): -1 in range(100000000)"),
    ("a range as a list", "l = list(range(1000000000))"),
    ("a dict that grows", "d = {}\n    for i in range(100000000): d[i] = str(i) * 50"),
    ("sorting", "for i in range(1000): l = sorted([(j * 7919) % 1000003 for j in range(1000000)])"),
    ("deep values, printed", "x = []\n    for i in range(1500000): x = [x]\n    return str(x)"),
    (
        "deep values, compared",
        "x = []\n    y = []\n    for i in range(900000):\n        x = [x]\n        y = [y]\n    return str(x == y)",
    ),
    (
        "wide values, compared",
        "x = [1]\n    y = [1]\n    for i in range(40):\n        x = [x, x]\n        y = [y, y]\n    return str(x == y)",
    ),
    ("formatting", "t = \"%s\" * 1000000\n    return t % tuple([\"x\" * 1000] * 1000000)"),
    ("joining", "return \"\".join([\"x\" * 1000000] * 1000)"),
    ("json", "x = [1]\n    for i in range(40): x = [x, x]\n    return json.encode(x)"),
    ("a state that is big", "x = \"\\x01\" * 30000000\n    conv.state.kept = [x, x, x, x, x, x, x, x]"),
];

/// A minute of multiplications, each of them long.
pub const SQUARES: &str = "x = 7\n    for i in range(19): x = x * x\n    for i in range(1000000): y = x * x";

pub fn script(body: &str) -> String {
    format!("def reply(conv, text):\n    if text == \"hi\": return \"fine\"\n    {body}")
}

pub fn runners() -> Runners {
    Runners::of(env!("CARGO_BIN_EXE_textback").into())
}

pub fn agent(runners: &Runners, project: Uuid, source: &str) -> ScriptAgent {
    ScriptAgent::new(runners.clone(), project, Uuid::now_v7().to_string(), source.to_owned(), Purpose::Answers)
}

async fn say(agent: &ScriptAgent, text: &str) -> Result<Answer, AgentError> {
    say_as(agent, "1", text).await
}

/// What a session's person says.
pub async fn say_as(agent: &ScriptAgent, session: &str, text: &str) -> Result<Answer, AgentError> {
    let mut conversation: Conversation = serde_json::from_value(conversation()).expect("a conversation");
    conversation.id = session.to_owned();
    let message = UserMessage { id: "1".to_owned(), text: text.to_owned(), media: json!([]) };
    let (turn_id, signing_secrets) = ("1".to_owned(), Vec::new());
    let input = TurnInput {
        turn_id,
        attempt: 1,
        at: chrono::Utc::now(),
        messages: vec![message],
        signing_secrets,
        model: None,
        traceparent: None,
    };
    agent.reply(conversation, input).await
}

/// An agent that says back what it is told, and its answer; asked again while the machine is busy,
/// as a worker would.
pub async fn echo(runners: &Runners, project: Uuid) -> Vec<String> {
    loop {
        match say(&agent(runners, project, "def reply(conv, text): return text"), "hi").await {
            Err(AgentError::Ours(what) | AgentError::Interrupted(what)) => println!("once more: {what}"),
            answer => return answer.expect("an answer").texts,
        }
    }
}

pub fn conversation() -> Value {
    json!({"id": "1", "channel_type": "sms", "caller_number": ADA, "callee_number": NUMBER, "env": "live",
        "language": null, "state": {}, "history": [], "media": []})
}

/// The request that reads a script with the key `k`.
fn read_request(source: &str) -> Value {
    json!({"Read": {"key": "k", "source": source, "purpose": "Answers"}})
}

/// The request that runs it.
fn run_request() -> Value {
    json!({"Run": {"key": "k", "conversation": conversation(), "call": {"Reply": {"texts": ["go"]}}}})
}

/// A runner that is asked by hand.
fn runner() -> Child {
    let parent = std::process::id().to_string();
    let mut command = textback();
    command.args(["run-scripts", "--parent", &parent]).env_clear().stdin(Stdio::piped()).stderr(Stdio::null());
    command.env("_RJEM_MALLOC_CONF", "narenas:1,oversize_threshold:1048576");
    command.spawn().expect("a runner")
}

/// The field of a process's status in KiB; none when it is gone.
fn status(process: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a process is there and not only a name in the table.
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_runner_holds_a_bounded_part_of_the_machines_memory_whatever_it_runs() {
    let mut most = 0;
    let top_level = |body: &str| json!({"Check": {"source": format!("def reply(conv, text): pass\ndef f():\n    {body}\nf()"), "purpose": "Answers"}});
    for (name, body) in NASTY {
        let read = read_request(&script(body));
        for requests in [vec![read, run_request()], vec![top_level(body)]] {
            let mut runner = runner();
            let mut input = runner.stdin.take().expect("piped");
            for request in requests {
                writeln!(input, "{request}").expect("written");
            }
            // What it answers is read, so that it can go on until it ends or waits for more.
            let output = runner.stdout.take().expect("piped");
            let answered = std::thread::spawn(move || {
                let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok);
                lines.find(|line| ["Ran", "Failed", "Checked"].iter().any(|word| line.contains(word)))
            });
            let until = Instant::now() + Duration::from_secs(20);
            let mut peak = 0;
            while !answered.is_finished() && Instant::now() < until {
                peak = peak.max(status(runner.id(), "VmHWM").unwrap_or(0));
                std::thread::sleep(Duration::from_millis(2));
            }
            runner.kill().expect("ended");
            runner.wait().expect("waited");
            println!("{name}: {} MiB at most", peak >> 10);
            assert!(peak < MOST_RESIDENT_KIB, "{name} took {peak} KiB");
            most = most.max(peak);
        }
    }
    println!("the most of all: {} MiB", most >> 10);
}

/// The stack of deep values and the heap of a big list stay with a process, though nothing uses
/// them any more.
#[test]
fn a_runner_that_waits_holds_little_memory_however_much_its_runs_took() {
    let mut has_ended = false;
    let deep = |levels: usize| format!("x = []\n    for i in range({levels}): x = [x]\n    return str(len(str(x)))");
    // How much stack a level takes differs by build, so some of them: the first ends no runner, one
    // of the others does.
    let bodies = ["return \"small\"".to_owned(), "l = [1] * 3000000\n    return str(len(l))".to_owned()];
    for (n, body) in bodies.into_iter().chain((2..12).map(|n| deep(n * 30_000))).enumerate() {
        let mut runner = runner();
        let mut input = runner.stdin.take().expect("piped");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(runner.stdout.take().expect("piped")));
        let read = read_request(&script(&body));
        let answers = [read, run_request()].map(|request| {
            writeln!(input, "{request}").expect("written");
            lines.find_map(|line| line.ok().filter(|line| !line.contains("Ready"))).expect("an answer")
        });
        assert!(answers[1].contains("Ran"), "{body}: {answers:?}");
        if answers[1].contains("Last") {
            assert!(runner.wait().expect("it ends").success() && n > 0, "one that holds little goes on");
            has_ended = true;
            break;
        }
        let held = status(runner.id(), "RssAnon").expect("it waits");
        println!("{body}: {} MiB", held >> 10);
        assert!(held < MOST_WAITING_KIB, "{body} left {held} KiB in a runner that waits");
        runner.kill().expect("ended");
        runner.wait().expect("waited");
    }
    assert!(has_ended, "no runner ended for what it held");
}

/// Only a privileged process may raise a hard limit, so a runner keeps the one that it was started
/// with.
#[test]
fn a_runner_keeps_the_limits_that_it_was_started_with() {
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "ulimit -t 600 && exec \"$0\" run-scripts", env!("CARGO_BIN_EXE_textback")]);
    let mut runner = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a runner");
    let output = runner.stdout.take().expect("piped");
    let ready = std::io::BufRead::lines(std::io::BufReader::new(output)).next().expect("a line").expect("read");
    assert!(ready.contains("Ready"), "{ready}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", runner.id())).expect("readable");
    let of_time = limits.lines().find(|line| line.starts_with("Max cpu time")).expect("a line");
    let [soft, hard] = [3, 4].map(|field| of_time.split_whitespace().nth(field).and_then(|n| n.parse::<u64>().ok()));
    assert!(soft.is_some_and(|soft| soft < 60) && hard == Some(600), "{of_time}");
    drop(runner.stdin.take());
    runner.wait().expect("it ends with its input");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_ends_within_the_wall_bound_and_spoils_no_runner_for_others() {
    let (runners, good_project) = (runners(), Uuid::now_v7());
    for (name, body) in NASTY {
        let began = Instant::now();
        let outcome = say(&agent(&runners, Uuid::now_v7(), &script(body)), "go").await;
        println!("{name}: {:?} after {:?}", outcome.as_ref().err(), began.elapsed());
        assert!(began.elapsed() < MOST_WALL, "{name} took {:?}", began.elapsed());
        for _ in 0..5 {
            assert_eq!(echo(&runners, good_project).await, ["hi"], "after {name}");
        }
    }
}

#[tokio::test]
async fn a_runner_that_ran_out_of_memory_serves_nobody_else() {
    let app = TestApp::with_agent(
        &script("l = [1]\n    for i in range(60): l = l + l"),
        json!({"first_message": "process", "error_message": "Sorry!"}),
    )
    .await;
    for n in 0..4 {
        let phone = format!("+1415555020{n}");
        app.text(&phone, "go").await;
        app.run_jobs().await;
        // At the first failure, since a run that meets a bound would meet it again; but a machine
        // that is busy counts against nobody.
        while app.simulator.received(&phone, NUMBER).is_empty() {
            assert_eq!(app.count("select count(*) from turn where failures > 0").await, 0);
            app.sql("update turn set due_at = now()").await;
            app.run_jobs().await;
        }
        assert_eq!(app.simulator.received(&phone, NUMBER), ["Sorry!"]);
        let agent = json!({"name": format!("a{n}"), "kind": "script", "source": ECHO});
        app.ok(Method::POST, "/v1/agents", Some(agent)).await;
    }
    assert_eq!(app.answers(ADA, "hi").await, ["fine"]);
}

#[tokio::test]
async fn a_runner_that_cannot_be_started_is_no_fault_of_the_script() {
    let runners = Runners::of("/nowhere/textback".into());
    let output_text = say(&agent(&runners, Uuid::now_v7(), "def reply(conv, text): return text"), "hi").await;
    assert!(matches!(output_text, Err(AgentError::Ours(_))), "{output_text:?}");
    let checked = runners.check(Uuid::now_v7(), ECHO, &Purpose::Answers).await;
    assert!(matches!(checked, Err(AgentError::Ours(_))), "{checked:?}");
    // A program that ends at once, and one that never says that it is ready.
    let checked = Runners::of("/bin/true".into()).check(Uuid::now_v7(), "x = 1", &Purpose::Answers).await;
    assert!(matches!(checked, Err(AgentError::Ours(_))), "{checked:?}");
}

/// The runners of a process.
fn runners_of(process: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_it = processes.filter(|other| {
        let stat = std::fs::read_to_string(format!("/proc/{other}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<u32>().ok());
        let command = std::fs::read(format!("/proc/{other}/cmdline")).unwrap_or_default();
        parent == Some(process) && command.windows(11).any(|word| word == b"run-scripts")
    });
    of_it.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_die_with_a_process_that_is_killed() {
    let mut harness = ProcessHarness::start("orphans").await;
    let source = script(SQUARES);
    let agent = json!({"name": "looping", "kind": "script", "source": source, "first_message": "process"});
    harness.variables.push(("TEXTBACK_WITH_WORKERS", "true".to_owned()));
    harness.open(0, agent).await;
    let serve = harness.serve.take().expect("it runs");
    for phone in ["+14155550301", "+14155550302", "+14155550303"] {
        harness.simulator.say(phone, NUMBER, "go").await;
    }
    let busy = |process: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let ticks = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(11)?.parse::<u64>().ok());
        ticks.is_some_and(|ticks| ticks > 20)
    };
    let until = Instant::now() + Duration::from_secs(30);
    let mut left = Vec::new();
    while !left.iter().any(busy) {
        assert!(Instant::now() < until, "no runner is busy: {left:?}");
        left = runners_of(serve.id());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    serve.tell(Signal::SIGKILL);
    let killed = Instant::now();
    while left.iter().any(|runner| is_alive(*runner)) {
        assert!(killed.elapsed() < Duration::from_secs(2), "{left:?} outlived their process");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{} runners were gone {:?} after the kill", left.len(), killed.elapsed());
    // The closed pipe alone does it too, in the middle of a run and where no signal comes.
    let mut runner = runner();
    let mut input = runner.stdin.take().expect("piped");
    writeln!(input, "{}", read_request(&source)).expect("written");
    writeln!(input, "{}", run_request()).expect("written");
    while !busy(&runner.id()) {
        assert!(runner.try_wait().expect("ours").is_none(), "it ended before it ran");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let closed = Instant::now();
    drop(input);
    let waiting = tokio::task::spawn_blocking(move || runner.wait().expect("it ended"));
    assert!(tokio::time::timeout(Duration::from_secs(2), waiting).await.is_ok(), "it outlived its input");
    println!("a runner was gone {:?} after its input was closed", closed.elapsed());
}

/// Nobody is there to end it: neither a signal nor a closed pipe comes.
#[test]
fn a_run_that_nobody_ends_is_ended_by_the_system() {
    let mut runner = runner();
    let source = script(SQUARES);
    let mut input = runner.stdin.take().expect("piped");
    writeln!(input, "{}", read_request(&source)).expect("written");
    writeln!(input, "{}", run_request()).expect("written");
    while runner.try_wait().expect("ours").is_none() {
        // Either the interpreter's own bound answers, or the limit of the processor's time ends it.
        let ticks = std::fs::read_to_string(format!("/proc/{}/stat", runner.id())).unwrap_or_default();
        let used = ticks.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(11)?.parse::<u64>().ok()).unwrap_or(0);
        assert!(used < 1_000, "it used ten seconds of a processor");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_sandbox_refuses_files_sockets_and_processes() {
    let output = textback().args(["run-scripts", "--self-test"]).output().expect("it runs");
    let output_text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output_text.starts_with("no sandbox") {
        println!("skipped: this kernel has no seccomp: {output_text}");
        return;
    }
    println!("{output_text}");
    assert_eq!(output_text.lines().count(), 12, "{output_text}");
    assert!(output_text.lines().all(|line| line.ends_with(": refused")), "{output_text}");
    assert!(!Path::new("/tmp/textback-sandbox").exists());
}

#[tokio::test]
async fn nobody_reads_the_secrets_of_a_process_from_proc() {
    let app = TestApp::new().await;
    let secret = app.secret_key.clone();
    let mut command = app.command("serve", &secret);
    command.env("TEXTBACK_LISTEN", "127.0.0.1:0").env("PGPASSWORD", "a-password-of-libpq");
    command.env("TEXTBACK_CONSOLE_PASSWORD", "a-password-of-the-console");
    command.arg("--database-url").arg(format!("{}&application_name=a-word-in-the-url", app.database_url));
    let mut serve = crate::commands::Running::start(&mut command, false);
    serve.until("server started");
    for file in ["environ", "cmdline"] {
        // As root, who may read it still.
        let shown = std::fs::read(format!("/proc/{}/{file}", serve.id())).expect("readable for root");
        let shown = String::from_utf8_lossy(&shown);
        let passwords = ["a-password-of-libpq", "a-password-of-the-console"];
        for hidden in passwords.into_iter().chain([secret.as_str(), "a-word-in-the-url", &app.database_url]) {
            assert!(!shown.contains(hidden), "{file} shows a secret");
        }
        assert!(
            shown.contains(if file == "environ" { "TEXTBACK_LISTEN" } else { "serve" }),
            "{file} is as it was else"
        );
    }
    // The kernel gives a process that can't be looked into to root.
    let owner =
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{}/mem", serve.id())).expect("there"));
    assert_eq!(owner, 0);
}

/// The latencies of one tenant, of a script that takes next to nothing, while others do their
/// worst.
async fn latencies(runners: &Runners, count: usize) -> (Duration, Duration) {
    let good = agent(runners, Uuid::now_v7(), "def reply(conv, text): return text");
    let mut took = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        while let Err(error) = say(&good, "hi").await {
            println!("once more: {error}");
        }
        took.push(began.elapsed());
        // Now and then, as people text.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort();
    (took[count / 2], took[count * 99 / 100])
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_hostile_agents_delay_no_other_agent() {
    for projects in [1, 20] {
        let runners = runners();
        let alone = latencies(&runners, 100).await;
        println!("alone: p50 {:?}, p99 {:?}", alone.0, alone.1);
        let projects: Vec<Uuid> = (0..projects).map(|_| Uuid::now_v7()).collect();
        let hostile: Vec<_> = (0..20)
            .map(|n| {
                let (runners, project) = (runners.clone(), projects[n % projects.len()]);
                tokio::spawn(async move {
                    let hostile = agent(&runners, project, &script(NASTY[n % NASTY.len()].1));
                    loop {
                        futures::future::join_all(["1", "2", "3"].map(|session| say_as(&hostile, session, "go"))).await;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .collect();
        let checks: Vec<_> = (0..8)
            .map(|n| {
                let (runners, project) = (runners.clone(), projects[n % projects.len()]);
                tokio::spawn(async move {
                    loop {
                        let _ =
                            runners.check(project, &format!("def f():\n    {SQUARES}\nf()"), &Purpose::Answers).await;
                    }
                })
            })
            .collect();
        let (p50, p99) = latencies(&runners, 300).await;
        println!("beside 20 hostile agents of {} projects: p50 {p50:?}, p99 {p99:?}", projects.len());
        let began = Instant::now();
        let checked = runners.check(Uuid::now_v7(), ECHO, &Purpose::Answers).await;
        println!("a check beside them: {:?}", began.elapsed());
        assert_eq!(checked, Ok(vec![]));
        hostile.into_iter().chain(checks).for_each(|task| task.abort());
        // The goal is 250 ms, which `make isolation` measures. A debug build gives a run ten times
        // as long on a quick slot, and other tests run beside this one; without fair slots it was
        // over 30 s.
        let goal = Duration::from_millis(if cfg!(debug_assertions) { 8_000 } else { 250 });
        assert!(p99 < goal + alone.1 * 2, "p99 is {p99:?}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
