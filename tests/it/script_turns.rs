//! Tests turns of scripts that can't be compiled, that are slow, or whose runners end.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use textback::agents::Agent as _;
use textback::agents::AgentError;
use textback::agents::script::runner::Runners;
use textback::agents::script::{Headroom, Purpose};
use uuid::Uuid;

use crate::harness::{ADA, ECHO, NUMBER, TestApp};
use crate::script_runners::{SQUARES, agent, echo, runners, say_as, script};

/// What each runner of a program does first: it says that it is ready.
pub const READY: &str = r#"echo '{"Ready":{"thread":0,"no_sandbox":null}}'"#;

/// A program that takes the place of the runner's, and the file that it adds a line to with each
/// start.
pub struct Program {
    folder: PathBuf,
}

impl Program {
    pub fn new(name: &str, body: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("textback-runner-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let text = format!("#!/bin/sh\necho >> {}\n{body}\n", folder.join("starts").display());
        std::fs::write(folder.join("runner"), text).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.join("runner"), mode).expect("allowed");
        Self { folder }
    }

    pub fn runners(&self) -> Runners {
        Runners::of(self.folder.join("runner"))
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.folder.join("starts")).map_or(0, |text| text.lines().count())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn a_script_that_cannot_be_read_is_not_read_for_each_turn_again() {
    // A top level without an end is the script's own fault, for good.
    let (runners, project) = (runners(), Uuid::now_v7());
    let source = format!("def reply(conv, text): return text\ndef f():\n    {SQUARES}\nf()");
    let hostile = agent(&runners, project, &source);
    let error = say_as(&hostile, "1", "hi").await.expect_err("it can't be read");
    assert!(
        matches!(&error, AgentError::OverLimit(what) | AgentError::Unusable(what) if what.contains("top level")),
        "{error:?}"
    );
    let began = Instant::now();
    for session in ["1", "2", "3"] {
        assert_eq!(say_as(&hostile, session, "hi").await, Err(error.clone()));
    }
    assert!(began.elapsed() < Duration::from_millis(200), "it was read again: {:?}", began.elapsed());
    // Whoever saves it is told, too.
    let checked = runners.check(project, &source, &Purpose::Answers).await;
    assert!(!matches!(checked, Ok(faults) if faults.iter().all(|fault| !fault.fatal)));
    assert_eq!(echo(&runners, project).await, ["hi"]);

    // A runner that is ended each time says nothing of the script: only for a while nobody tries.
    let program = Program::new("unread", &format!("{READY}\nread line\nkill -9 $$"));
    let unread = agent(&program.runners(), project, ECHO);
    let error = say_as(&unread, "1", "hi").await.expect_err("it can't be read");
    assert!(matches!(&error, AgentError::Interrupted(what) if what.contains("SIGKILL")), "{error:?}");
    let starts = program.starts();
    for session in ["1", "2", "3"] {
        let again = say_as(&unread, session, "hi").await;
        assert!(matches!(again, Err(AgentError::Ours(_))), "{again:?}");
    }
    assert_eq!((program.starts(), unread.headroom()), (starts, Headroom::None));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_were_queued_before_their_script_was_slow_get_a_permit_or_fail() {
    let runners = runners();
    runners.bound_queue(16);
    let hostile = agent(&runners, Uuid::now_v7(), &script("l = [1]\n    for i in range(60): l = l + l"));
    let sessions: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    let answers = futures::future::join_all(sessions.iter().map(|session| say_as(&hostile, session, "go"))).await;
    let away =
        answers.iter().filter(|answer| matches!(answer, Err(AgentError::Ours(what)) if what.contains("too many")));
    let over = answers.iter().filter(|answer| matches!(answer, Err(AgentError::OverLimit(_))));
    let (away, over) = (away.count(), over.count());
    println!("{over} ran, {away} were sent away");
    assert_eq!(away + over, answers.len(), "{answers:?}");
    assert!((2..=20).contains(&over), "{over} of 60 were run, though six may wait");
    assert_eq!(hostile.headroom(), Headroom::Enough, "all places are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_texts_slows_no_other_person_down() {
    let runners = runners();
    // No run of a slow script may wait, so a second slow run fails at once.
    runners.bound_queue(1);
    let shared = agent(&runners, Uuid::now_v7(), &script("l = [1]\n    for i in range(60): l = l + l"));
    let error = say_as(&shared, "hostile", "go").await.expect_err("over its limit");
    assert!(matches!(error, AgentError::OverLimit(_)), "{error:?}");
    let hostile = async { say_as(&shared, "hostile", "go").await };
    let good = async { futures::future::join_all(["a", "b", "c", "d"].map(|good| say_as(&shared, good, "hi"))).await };
    let (hostile, good) = futures::future::join(hostile, good).await;
    assert!(matches!(hostile, Err(AgentError::OverLimit(_))), "{hostile:?}");
    for answer in good {
        assert_eq!(answer.expect("an answer").texts, ["fine"]);
    }
}

#[tokio::test]
async fn a_turn_whose_runners_end_each_time_fails_with_an_explanation() {
    let app = TestApp::with_agent(ECHO, json!({"first_message": "process", "error_message": "Sorry!"})).await;
    let program = Program::new("killed", &format!("{READY}\nread line\nkill -9 $$"));
    app.text(ADA, "hi").await;
    for interruptions in 1..8 {
        // Another process each time: one remembers for a while that it could not read the script.
        let workers = app.workers_with(program.runners());
        assert_eq!(workers.turns.step().await.expect("turns"), 1);
        let counted = sqlx::query_as::<_, (i32, i32, f64, String)>(
            "select interruptions, failures, extract(epoch from due_at - now())::float8, last_error from turn",
        );
        let (counted, failures, rest, error) = counted.fetch_one(app.storage.pool()).await.expect("a turn");
        assert_eq!((counted, failures), (interruptions, 0));
        assert!(rest > 1.0 && rest < 121.0 && error.contains("SIGKILL"), "{rest} {error}");
        app.sql("update turn set due_at = now()").await;
        if interruptions == 1 {
            assert_eq!(workers.turns.step().await.expect("turns"), 1);
            assert_eq!(app.count("select interruptions::bigint from turn").await, 1, "nothing was tried");
            app.sql("update turn set due_at = now()").await;
        }
    }
    assert_eq!(app.workers_with(program.runners()).turns.step().await.expect("turns"), 1);
    assert_eq!(app.count("select count(*) from turn").await, 0);
    app.run_jobs().await;
    assert_eq!(app.simulator.received(ADA, NUMBER), ["Sorry!"]);
}

#[tokio::test]
async fn a_runner_may_take_its_time_to_start() {
    let body = format!("sleep 4\nexec {} \"$@\"", env!("CARGO_BIN_EXE_textback"));
    let program = Program::new("late", &body);
    let late = agent(&program.runners(), Uuid::now_v7(), ECHO);
    let answer = say_as(&late, "1", "hi").await.expect("an answer");
    assert_eq!((answer.texts.len(), program.starts()), (1, 1));
}
