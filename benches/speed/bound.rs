//! The lower bound: the least SQL that a text could cost, run by pgbench on the same server, on
//! three small tables.
//!
//! The tables are a message, the session of its contact (one open session per contact, by a partial
//! unique index) and a reply. The number of contacts is that of the other loads.

use std::path::Path;
use std::process::Command;

use sqlx::{Connection, PgConnection};

use crate::load_generator::CONTACTS;

const TABLES: &str = "
    drop schema if exists bound cascade;
    create schema bound;
    create table bound.session (
        id bigint generated always as identity primary key, contact bigint not null, active boolean not null default true,
        due timestamptz not null default now(), texts bigint not null default 1) with (fillfactor = 70);
    create unique index one_active on bound.session (contact) where active;
    create table bound.message (
        id bigint generated always as identity primary key, provider_id text not null unique, session_id bigint,
        contact bigint not null, body text not null, state smallint not null default 0,
        created_at timestamptz not null default now()) with (fillfactor = 80);
    create index waiting on bound.message (id) where state = 0;
    create table bound.reply (
        id bigint generated always as identity primary key, message_id bigint not null unique, body text not null,
        state smallint not null default 0, created_at timestamptz not null default now()) with (fillfactor = 80);";

/// A script of the bound.
pub struct Script {
    pub name: &'static str,
    pub what: &'static str,
    /// Messages a run of it handles.
    pub messages: u32,
    /// What it needs besides the tables.
    index: &'static str,
    sql: &'static str,
}

pub const SCRIPTS: [Script; 5] = [
    Script {
        name: "intake",
        what: "one insert and one commit a message",
        messages: 1,
        index: "",
        sql: "insert into bound.message (provider_id, contact, body) values (gen_random_uuid()::text, :contact, 'a text of about fifty characters, as people do');",
    },
    Script {
        name: "six",
        what: "six statements and commits a message: insert, session, claim, reply, sent, done",
        messages: 1,
        index: "",
        sql: "insert into bound.message (provider_id, contact, body) values (gen_random_uuid()::text, :contact, 'a text of about fifty characters, as people do') returning id as message \\gset
insert into bound.session (contact) values (:contact) on conflict (contact) where active do update set texts = bound.session.texts + 1, due = now() returning id as session \\gset
update bound.message set state = 1, session_id = :session where id = :message;
insert into bound.reply (message_id, body) values (:message, 'an answer of about fifty characters, as agents do') returning id as reply \\gset
update bound.reply set state = 1 where id = :reply;
update bound.message set state = 2 where id = :message;",
    },
    Script {
        name: "three",
        what: "three statements and commits a message: in with its session, claimed with its reply, sent and done",
        messages: 1,
        index: "",
        sql: "with s as (insert into bound.session (contact) values (:contact) on conflict (contact) where active do update set texts = bound.session.texts + 1, due = now() returning id) insert into bound.message (provider_id, contact, body, session_id) select gen_random_uuid()::text, :contact, 'a text of about fifty characters, as people do', id from s returning id as message \\gset
with m as (update bound.message set state = 1 where id = :message returning id) insert into bound.reply (message_id, body) select id, 'an answer of about fifty characters, as agents do' from m returning id as reply \\gset
with r as (update bound.reply set state = 1 where id = :reply returning message_id) update bound.message set state = 2 from r where id = r.message_id;",
    },
    Script {
        name: "one",
        what: "all in one statement and commit: out of reach with a carrier in the middle",
        messages: 1,
        index: "",
        sql: "with s as (insert into bound.session (contact) values (:contact) on conflict (contact) where active do update set texts = bound.session.texts + 1, due = now() returning id), m as (insert into bound.message (provider_id, contact, body, session_id, state) select gen_random_uuid()::text, :contact, 'a text of about fifty characters, as people do', id, 2 from s returning id) insert into bound.reply (message_id, body, state) select id, 'an answer of about fifty characters, as agents do', 1 from m;",
    },
    Script {
        name: "fifty",
        what: "three commits for fifty messages",
        messages: 50,
        index: "create index unsent on bound.reply (id) where state = 0",
        sql: "insert into bound.message (provider_id, contact, body) select gen_random_uuid()::text, (:contact + n * 7919) % 20000, 'a text of about fifty characters, as people do' from generate_series(1, 50) n;
with due as (select id, contact from bound.message where state = 0 order by id limit 50 for update skip locked), s as (insert into bound.session (contact) select distinct contact from due order by contact on conflict (contact) where active do update set texts = bound.session.texts + 1, due = now() returning id), m as (update bound.message set state = 1 from due where bound.message.id = due.id returning bound.message.id) insert into bound.reply (message_id, body) select id, 'an answer of about fifty characters, as agents do' from m;
with r as (select id, message_id from bound.reply where state = 0 order by id limit 50 for update skip locked), d as (update bound.reply set state = 1 from r where bound.reply.id = r.id) update bound.message set state = 2 from r where bound.message.id = r.message_id;",
    },
];

/// Runs a script on some connections, and returns its messages per second.
pub async fn run(url: &str, folder: &Path, script: &Script, connections: u32, seconds: u32) -> f64 {
    let mut connection = PgConnection::connect(url).await.expect("a connection");
    sqlx::raw_sql(TABLES).execute(&mut connection).await.expect("the tables");
    sqlx::raw_sql(script.index).execute(&mut connection).await.expect("an index");
    let file = folder.join(format!("{}.sql", script.name));
    std::fs::write(&file, format!("\\set contact random(1, {CONTACTS})\n{}\n", script.sql)).expect("a script");
    let pgbench = |seconds: u32| {
        let url = url.to_owned();
        let file = file.clone();
        tokio::task::spawn_blocking(move || {
            Command::new("pgbench")
                .args([
                    "-n",
                    "-M",
                    "prepared",
                    "-j",
                    "2",
                    "-c",
                    &connections.to_string(),
                    "-T",
                    &seconds.to_string(),
                    "-f",
                ])
                .arg(&file)
                .arg(&url)
                .output()
                .expect("pgbench runs")
        })
    };
    // Each contact has a session before the measurement, as in the other loads.
    pgbench(3).await.expect("it ran");
    sqlx::raw_sql("checkpoint").execute(&mut connection).await.expect("a checkpoint");
    let output = pgbench(seconds).await.expect("it ran");
    let output_text = String::from_utf8_lossy(&output.stdout).into_owned();
    let tps = output_text
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|tps| tps.parse::<f64>().ok());
    sqlx::raw_sql("drop schema bound cascade").execute(&mut connection).await.expect("dropped");
    let tps = tps.unwrap_or_else(|| panic!("pgbench: {output_text} {}", String::from_utf8_lossy(&output.stderr)));
    tps * f64::from(script.messages)
}
