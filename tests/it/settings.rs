//! Tests settings that are missing, misspelt or wrong: each command names the setting, the true
//! cause and what to do.

use std::net::SocketAddr;
use std::process::Command;

use textback::secret::SecretKeys;

use crate::commands::{Running, printed, run, textback};
use crate::harness::{TestApp, empty_database};
use crate::process_harness::ProcessHarness;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/agents/demo.star");

/// The commands that use a database, with what else they need.
fn commands_of_the_database() -> Vec<(&'static str, Command)> {
    let of = |name: &'static str, arguments: &[&str]| {
        let mut command = textback();
        command.args(arguments);
        command.env("TEXTBACK_SECRET_KEY", SecretKeys::draw().1).env("TEXTBACK_PUBLIC_URL", "http://127.0.0.1:9");
        command.env("TEXTBACK_LISTEN", "127.0.0.1:0").env("TEXTBACK_METRICS_LISTEN", "off");
        command.env("TEXTBACK_SIMULATOR_LISTEN", "127.0.0.1:0");
        command.env("TEXTBACK_DATA_DIR", std::env::temp_dir().join(format!("textback-url-{}", std::process::id())));
        (name, command)
    };
    vec![
        of("serve", &["serve"]),
        of("work", &["work"]),
        of("migrate", &["migrate"]),
        of("doctor", &["doctor"]),
        of("project", &["project", "create", "acme"]),
        of("dev", &["dev"]),
        of("agent", &["agent", "create", DEMO, "--project", "acme"]),
        of("quarantine", &["quarantine", "list", "--project", "acme"]),
    ]
}

#[test]
fn a_database_url_that_can_not_be_used_is_told_by_every_command() {
    for (url, part) in [
        ("mysql://root:Secret77@db/app", "needs PostgreSQL"),
        ("Secret77", "is not a URL"),
        ("db.example.com:Secret77", "is not a URL"),
        ("postgres://u:Secret#77@db/app", "%23"),
        ("postgres://u:Secret/77@db/app", "%2F"),
        ("postgres://u:Secret?77@db/app", "%3F"),
        ("postgres://u:Secret77@db:5432,db2:5432/app", "several hosts"),
        ("postgres://u:Secret77@db/app?sslmode=Secret77", "sslmode"),
    ] {
        for (name, mut command) in commands_of_the_database() {
            let refused = run(command.env("DATABASE_URL", url));
            let told = printed(&refused);
            assert_eq!(refused.status.code(), Some(1), "{name}, {url}: {told}");
            assert!(told.contains(part) && told.contains("DATABASE_URL"), "{name}, {url}: {told}");
            assert!(!told.contains("Secret"), "{name}: {told}");
        }
    }
}

#[test]
fn a_database_that_can_not_be_reached_is_told_with_the_true_cause() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let closed = format!("postgres://u:Secret77@{closed}/app");
    for (url, part) in [
        (closed.as_str(), "nothing listens there"),
        ("postgres://u:Secret77@no-such-host.invalid/app", "the name of its host is not known"),
        ("postgres://u:Secret77@localhost/app?host=/nowhere", "there is no such socket"),
        ("postgres://u:Secret77@%2Fnowhere/app", "there is no such socket"),
        ("postgres://u:Secret77@[::1]:1/app", "nothing listens there"),
    ] {
        for (name, mut command) in commands_of_the_database() {
            command.env("DATABASE_URL", url);
            // These two wait for their database.
            let told = match name {
                "serve" | "work" => Running::start(&mut command, false).until("started without being ready"),
                _ => printed(&run(&mut command)),
            };
            assert!(told.contains(part) && told.contains("DATABASE_URL"), "{name}, {url}: {told}");
            assert!(!told.contains("Secret77") && !told.contains("pool timed out"), "{name}: {told}");
        }
    }
}

#[test]
fn no_line_of_a_process_without_its_database_says_only_that_a_pool_timed_out() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    for (name, mut command) in commands_of_the_database() {
        if !matches!(name, "serve" | "work") {
            continue;
        }
        // The earlier key lets it look for secrets to encrypt again.
        let keys = [SecretKeys::draw().1, SecretKeys::draw().1].join(",");
        command.env("DATABASE_URL", format!("postgres://u:p@{closed}/app")).env("TEXTBACK_SECRET_KEY", keys);
        command.env("RUST_LOG", "info,textback::storage=debug");
        let mut running = Running::start(&mut command, false);
        let mut lines = running.all_until("stored secrets could not be re-encrypted");
        if name == "work" && !lines.iter().any(|line| line.contains("the connection that listens for jobs")) {
            lines.extend(running.all_until("the connection that listens for jobs"));
        }
        let told = lines.join("\n");
        assert!(told.contains("Connection refused") && !told.contains("pool timed out"), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_told_with_its_repair() {
    let harness = ProcessHarness::start("refuses").await;
    // Any characters, as an operator's generator makes them.
    let password = "p/@:#?%$'\" ü\\x";
    harness.sql("create role careful login superuser password 'p/@:#?%$''\" ü\\x'").await;
    let storage = harness.storage();
    let data: String = sqlx::query_scalar("select current_setting('data_directory')")
        .fetch_one(storage.pool())
        .await
        .expect("a folder");
    std::fs::write(format!("{data}/pg_hba.conf"), "local all careful scram-sha-256\nlocal all all trust\n")
        .expect("written");
    harness.sql("select pg_reload_conf()").await;
    let proxied = harness.to_database.address();
    let url = |user: &str, database: &str, more: &str| format!("postgres://{user}@{proxied}/{database}?{more}");
    for (url, part) in [
        (url("careful:Secret77", "textback", "sslmode=disable"), "it refuses the password"),
        (url("careful", "textback", "sslmode=disable"), "it refuses the password"),
        (url("textback:Secret77", "nowhere", "sslmode=disable"), "there is no such database"),
        (url("nobody:Secret77", "textback", "sslmode=disable"), "it refuses the role"),
        (url("textback:Secret77", "textback", "sslmode=require"), "TLS failed"),
    ] {
        for mut command in [harness.command("doctor", &[]), harness.command("migrate", &[]), {
            let mut create = harness.command("project", &[]);
            create.args(["create", "acme"]);
            create
        }] {
            let told = printed(&run(command.env("DATABASE_URL", &url)));
            assert!(told.contains(part) && told.contains("DATABASE_URL"), "{url}: {told}");
            assert!(!told.contains("Secret77"), "{told}");
        }
    }
    // The password as a variable of its own needs no code, and encoded in the URL it is the same.
    let encoded: String =
        url::form_urlencoded::byte_serialize(password.as_bytes()).collect::<String>().replace('+', "%20");
    for (url, password) in [
        (url("careful", "textback", "sslmode=disable"), password),
        (url(&format!("careful:{encoded}"), "textback", "sslmode=disable"), "another"),
    ] {
        let mut create = harness.command("project", &[]);
        create.args(["create", "acme"]).env("DATABASE_URL", &url).env("PGPASSWORD", password);
        let made = run(&mut create);
        assert!(made.status.success(), "{url}: {}", printed(&made));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_nothing_reads_are_told_of_with_the_name_that_is_meant() {
    let url = empty_database("misspelt").await;
    let migrate = |name: &str, value: &str| {
        let told = run(textback().arg("migrate").env("DATABASE_URL", &url).env(name, value));
        assert!(told.status.success(), "{}", printed(&told));
        printed(&told)
    };
    for (name, meant) in [
        ("TEXTBACK_LISTN", "TEXTBACK_LISTEN?"),
        ("TEXTBACK_SECRETKEY", "TEXTBACK_SECRET_KEY?"),
        ("TEXTBACK_WITH_WORKER", "TEXTBACK_WITH_WORKERS?"),
        ("TEXTBACK_TWILIO_URL", "TEXTBACK_TWILIO_"),
        ("TEXBACK_PUBLIC_URL", "TEXTBACK_PUBLIC_URL?"),
        ("textback_docs", "TEXTBACK_DOCS?"),
    ] {
        let told = migrate(name, "Secret77");
        assert!(told.contains(name) && told.contains(meant) && !told.contains("Secret77"), "{name}: {told}");
    }
    assert!(!migrate("TEXTBACK_PORT", "tcp://10.0.0.1:8080").contains("not a setting"));
    for (given, told) in [
        ("inof", "did you mean info?"),
        ("textback=loud", "loud is not a level"),
        ("texback", "did you mean textback?"),
    ] {
        let said = migrate("RUST_LOG", given);
        assert!(said.contains("RUST_LOG is not used") && said.contains(told), "{given}: {said}");
        assert!(
            said.contains("the database was migrated to the schema of this binary"),
            "what is logged by default is logged: {said}"
        );
    }
}

#[test]
fn switches_are_taken_as_people_write_them() {
    // Without a key, serve ends after its settings were read.
    let serve = |name: &str, value: &str| {
        let mut command = textback();
        command.arg("serve").env("DATABASE_URL", "postgres://u@127.0.0.1:1/app").env("TEXTBACK_LISTEN", "127.0.0.1:0");
        printed(&run(command.env(name, value)))
    };
    for name in ["TEXTBACK_WITH_WORKERS", "TEXTBACK_DOCS", "TEXTBACK_HTTP2"] {
        for value in ["1", "0", "true", "FALSE", "Yes", "no", "ON", " off ", "y\n", ""] {
            let told = serve(name, value);
            assert!(told.contains("TEXTBACK_SECRET_KEY is not set"), "{name}={value:?}: {told}");
        }
        let told = serve(name, "perhaps");
        assert!(told.contains("give true or false") && told.contains(name), "{told}");
    }
    for flag in ["--docs", "--docs=1", "--docs=off", "--with-workers", "--http2=No"] {
        let mut command = textback();
        command.args(["serve", flag]).env("DATABASE_URL", "postgres://u@127.0.0.1:1/app");
        let told = printed(&run(&mut command));
        assert!(told.contains("TEXTBACK_SECRET_KEY is not set"), "{flag}: {told}");
    }
}

#[test]
fn a_wrong_value_names_the_variable_that_it_came_from() {
    for (name, value, command, repair) in [
        ("TEXTBACK_LISTEN", "8080", "serve", "such as 127.0.0.1:8080"),
        ("TEXTBACK_LISTEN", "localhost:8080", "serve", "such as 127.0.0.1:8080"),
        ("TEXTBACK_WORK_LISTEN", ":9464", "work", "such as 127.0.0.1:8080"),
        ("TEXTBACK_SIMULATOR_LISTEN", "8081", "dev", "such as 127.0.0.1:8080"),
        ("TEXTBACK_PUBLIC_URL", "sms.example.com", "work", "https://"),
        ("TEXTBACK_PUBLIC_URL", "ftp://sms.example.com", "doctor", "http"),
        ("TEXTBACK_PUBLIC_URL", "https://me:Secret77@sms.example.com", "serve", "leave them out"),
        ("TEXTBACK_TURN_SLOTS", "0", "work", "from 1 to 4096"),
        ("TEXTBACK_LEASE_SECONDS", "30s", "work", "from 3 to 3600, without a unit"),
        ("TEXTBACK_BODY_MEMORY_MB", "64MB", "serve", "from 4 to 65536, without a unit"),
        ("TEXTBACK_POLL_SECONDS", "1s", "work", "between 0.05 and 60"),
        ("TEXTBACK_METRICS_LISTEN", "9464", "serve", "such as 127.0.0.1:9464"),
        ("TEXTBACK_METRICS_LISTEN", "on", "work", "such as 127.0.0.1:9464"),
        ("TEXTBACK_LOG", "xml", "migrate", "json"),
        ("TEXTBACK_SECRET_KEY", "short", "serve", "32 bytes"),
    ] {
        let told = run(textback().arg(command).env(name, value));
        assert_eq!(told.status.code(), Some(2), "{}", printed(&told));
        assert!(printed(&told).contains(repair), "{}", printed(&told));
        assert!(printed(&told).contains(&format!("The value is that of the variable {name}.")), "{}", printed(&told));
    }
    // A flag is seen in the command, so nothing needs to be said.
    let told = printed(&run(textback().args(["serve", "--listen", "x"])));
    assert!(told.contains("--listen") && !told.contains("variable"), "{told}");
}

#[test]
fn addresses_in_use_and_folders_that_can_not_be_used_are_told_with_their_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (name, mut command) in commands_of_the_database() {
        let setting = match name {
            "serve" => "TEXTBACK_LISTEN",
            "work" => "TEXTBACK_WORK_LISTEN",
            "dev" => "TEXTBACK_SIMULATOR_LISTEN",
            _ => continue,
        };
        let told = run(command.env("DATABASE_URL", "postgres://u@127.0.0.1:1/app").env(setting, &address));
        assert!(!told.status.success() && printed(&told).contains(setting), "{name}: {}", printed(&told));
        let setting = "TEXTBACK_METRICS_LISTEN";
        let given = ["TEXTBACK_LISTEN", "TEXTBACK_WORK_LISTEN", "TEXTBACK_SIMULATOR_LISTEN"];
        let told = run(command.envs(given.map(|name| (name, "127.0.0.1:0"))).env(setting, &address));
        assert!(!told.status.success() && printed(&told).contains(setting), "{name}: {}", printed(&told));
    }
    let told = printed(&run(textback().args(["dev", "--data-dir", "/dev/null/data"])));
    assert!(told.contains("TEXTBACK_DATA_DIR") && told.contains("/dev/null/data"), "{told}");
}

#[test]
fn help_works_as_people_ask_for_it() {
    for (arguments, part) in [
        (&["help"][..], "serve"),
        (&["--help"], "doctor"),
        (&["-h"], "doctor"),
        (&["help", "serve"], "--with-workers"),
        (&["serve", "--help"], "--with-workers"),
        (&["simulate", "help"], "send"),
        (&["help", "simulate", "send"], "--from"),
        (&["project", "help", "create"], "DATABASE_URL"),
        (&["help", "healthcheck"], "TEXTBACK_LISTEN"),
    ] {
        let told = run(textback().args(arguments));
        assert!(told.status.success(), "{arguments:?}: {}", printed(&told));
        assert!(String::from_utf8_lossy(&told.stdout).contains(part), "{arguments:?}: {}", printed(&told));
    }
    let told = run(textback().arg("hlep"));
    assert!(!told.status.success() && printed(&told).contains("help"), "{}", printed(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_says_whether_a_process_runs_and_is_ready() {
    let app = TestApp::new().await;
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let (api, metrics, work) = (free(), free(), free());
    let check = |variables: &[(&str, String)], arguments: &[&str]| {
        let mut command = textback();
        command.arg("healthcheck").args(arguments).env("http_proxy", "http://127.0.0.1:1");
        command.env("TEXTBACK_METRICS_LISTEN", "off").envs(variables.iter().map(|(name, value)| (name, value)));
        let done = run(&mut command);
        (done.status.code(), printed(&done))
    };
    let listen = |address: SocketAddr| ("TEXTBACK_LISTEN", address.to_string());
    let (code, told) = check(&[listen(api)], &[]);
    assert!(
        code == Some(1) && told.contains("no process of textback listens at") && told.contains("TEXTBACK_LISTEN"),
        "{told}"
    );

    let mut serve = app.command("serve", &app.secret_key);
    serve.env("TEXTBACK_LISTEN", api.to_string()).env("TEXTBACK_METRICS_LISTEN", metrics.to_string());
    let mut serve = Running::start(&mut serve, false);
    serve.until("server started");
    let mut worker = app.command("work", &app.secret_key);
    let mut worker = Running::start(worker.env("TEXTBACK_WORK_LISTEN", work.to_string()), false);
    worker.until("workers started");
    let everywhere = SocketAddr::from(([0, 0, 0, 0], api.port()));
    for variables in [
        vec![listen(api)],
        vec![listen(everywhere)],
        vec![listen(free()), ("TEXTBACK_METRICS_LISTEN", metrics.to_string())],
        vec![("TEXTBACK_WORK_LISTEN", work.to_string())],
        // The image sets an address for workers that serve does not have.
        vec![listen(api), ("TEXTBACK_WORK_LISTEN", free().to_string())],
    ] {
        for arguments in [&[][..], &["--live"]] {
            assert_eq!(check(&variables, arguments), (Some(0), "ok\n".to_owned()), "{variables:?}");
        }
    }
    assert_eq!(check(&[], &["--url", &format!("http://{api}")]).0, Some(0));

    app.sql("update carrier_account set key_id = 'deadbeef'").await;
    for variables in [vec![listen(api)], vec![("TEXTBACK_WORK_LISTEN", work.to_string())]] {
        let (code, told) = check(&variables, &[]);
        assert!(code == Some(1) && told.contains("503") && told.contains("TEXTBACK_SECRET_KEY"), "{told}");
        assert_eq!(check(&variables, &["--live"]).0, Some(0), "it runs all the same");
    }
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = mute.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut client in mute.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut client, b"220 mail.example ESMTP\r\n");
        }
    });
    let (code, told) = check(&[listen(at)], &[]);
    assert!(code == Some(1) && told.contains("does not speak HTTP"), "{told}");
    let (code, told) = check(&[listen(app.simulator_address)], &[]);
    assert!(code == Some(1) && told.contains("404"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_carrier_can_not_reach_is_told_of() {
    let app = TestApp::new().await;
    let serve = |public: &str| {
        let mut command = app.command("serve", &app.secret_key);
        command.env("TEXTBACK_LISTEN", "127.0.0.1:0").env("TEXTBACK_METRICS_LISTEN", "off");
        command.env("TEXTBACK_TWILIO_API_URL", "https://api.twilio.com").env("TEXTBACK_PUBLIC_URL", public);
        Running::start(&mut command, false).all_until("server started").join("\n")
    };
    for local in [
        "http://localhost:8080",
        "http://127.0.0.1:8080",
        "http://[::1]",
        "https://192.168.1.5",
        "http://0.0.0.0:8080",
        "",
    ] {
        assert!(serve(local).contains("no carrier can reach"), "{local}");
    }
    assert!(!serve("https://sms.example.com").contains("no carrier can reach"));
}

/// The services of compose.yaml, with its variables.
fn composed(variables: &[(&str, &str)]) -> serde_yaml::Value {
    let page = include_str!("../../compose.yaml");
    let mut all: serde_yaml::Value = serde_yaml::from_str(page).expect("YAML");
    all.apply_merge().expect("merged");
    fn fill(value: &mut serde_yaml::Value, variables: &[(&str, &str)]) {
        match value {
            serde_yaml::Value::String(text) => {
                for (name, given) in variables {
                    for form in [format!("${{{name}:?}}"), format!("${{{name}}}")] {
                        *text = text.replace(&form, given);
                    }
                }
                // What has a default and is not given.
                while let Some((before, rest)) = text.clone().split_once("${") {
                    let (name, after) = rest.split_once('}').expect("closed");
                    let (_, default) = name.split_once(":-").expect("a default");
                    *text = format!("{before}{default}{after}");
                }
            }
            serde_yaml::Value::Sequence(items) => items.iter_mut().for_each(|item| fill(item, variables)),
            serde_yaml::Value::Mapping(fields) => fields.values_mut().for_each(|item| fill(item, variables)),
            _ => {}
        }
    }
    fill(&mut all, variables);
    all["services"].clone()
}

#[test]
fn compose_runs_one_image_with_any_password_and_lets_processes_end() {
    let password = "p/@:#?%'\" x";
    let variables = [
        ("POSTGRES_PASSWORD", password),
        ("TEXTBACK_SECRET_KEY", "k"),
        ("TEXTBACK_PUBLIC_URL", "https://sms.example.com"),
    ];
    let services = composed(&variables);
    let ours = ["migrate", "serve", "work"];
    let text = |service: &str, path: &[&str]| {
        let found = path.iter().fold(services[service].clone(), |value, name| value[*name].clone());
        found.as_str().map(str::to_owned).unwrap_or_else(|| panic!("{service} has no {path:?}"))
    };
    for service in ours {
        assert_eq!(text(service, &["image"]), "textback");
        assert_eq!(text(service, &["build"]), ".");
        let url = text(service, &["environment", "DATABASE_URL"]);
        assert!(
            url.parse::<textback::storage::database_url::DatabaseUrl>().is_ok() && !url.contains(password),
            "{url}"
        );
        assert_eq!(text(service, &["environment", "PGPASSWORD"]), password);
        // Requests end within 5 s, deliveries within 20 s more.
        let grace = text(service, &["stop_grace_period"]);
        assert!(grace.trim_end_matches('s').parse::<u32>().is_ok_and(|seconds| seconds > 25), "{grace}");
    }
    assert_eq!(text("postgres", &["environment", "POSTGRES_PASSWORD"]), password);
    for service in ["serve", "work"] {
        assert_eq!(services[service]["healthcheck"]["test"][2], "healthcheck", "{service}");
    }
    assert_eq!(
        services["serve"]["ports"][0], "127.0.0.1:8080:8080",
        "only this machine, unless something else is said"
    );
    let elsewhere = composed(&[("PUBLISH:-127.0.0.1:8080", "0.0.0.0:80"), variables[0], variables[1], variables[2]]);
    assert_eq!(elsewhere["serve"]["ports"][0], "0.0.0.0:80:8080");

    // Each command of the file is one of the binary, and each setting of it is known.
    let help = printed(&run(textback().arg("help")));
    for service in ours {
        let command = services[service]["command"][0].as_str().expect("a command");
        assert!(help.contains(&format!("  {command} ")), "{command}");
        let told = printed(&run(textback().args(["help", command])));
        let settings = services[service]["environment"].as_mapping().expect("settings");
        for name in settings
            .keys()
            .filter_map(serde_yaml::Value::as_str)
            .filter(|name| service != "migrate" && name.ends_with("LISTEN"))
        {
            assert!(told.contains(name), "{service}: {name}");
        }
    }
}
