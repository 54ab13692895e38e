//! Measures the load with many stored messages and open sessions, which are inserted directly into
//! the tables for contacts that do not text.

use sqlx::{Connection, PgConnection};

use crate::harness::Server;
use crate::report::Report;
use crate::setting;

/// Messages of a closed session, half of them answers.
const MESSAGES: u64 = 10;
/// Sessions that one statement writes.
const CHUNK: u64 = 10_000;

const IDS: &str = "
    create or replace function bench_id(kind integer, n bigint) returns uuid language sql immutable as $$
        select (lpad(to_hex(1600000000000 + n), 12, '0') || '7' || lpad(to_hex(kind), 3, '0') || '8000' || lpad(to_hex(n), 12, '0'))::uuid
    $$";

/// $1 the first session, $2 the last, $3 messages a session, $4 open or closed.
const FILL: &str = "
    with origin as (
        select id as endpoint_id, project_id, agent_id from endpoint limit 1
    ), made as (
        insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id, agent_version, handled_seq,
                             started_at, opened_at, last_message_at, warn_after_seconds, closed_at, close_reason)
        select bench_id(1, n), project_id, endpoint_id, case when $4 = 'open' then '+1646' else '+1313' end || lpad((n % 10000000)::text, 7, '0'),
               'sms', $4, 'inbound', true, agent_id, 1, 9000000000000000000, now(), now(), now(), 86400,
               case when $4 = 'closed' then now() end, case when $4 = 'closed' then 'timed_out' end
          from generate_series($1::bigint, $2::bigint) n, origin
        returning id, project_id, endpoint_id, contact
    ), watched as (
        insert into inactivity (session_id, project_id, due_at)
        select id, project_id, now() + make_interval(secs => 86400) from made where $4 = 'open'
    ), numbered as (
        select made.*, row_number() over () + $1::bigint * $3::bigint as n, place
          from made cross join generate_series(1, $3::integer) place
    ), said as (
        insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, carrier_id, turn_id)
        select bench_id(10 + $3::integer, n), project_id, id, case when place % 2 = 1 then 'inbound' else 'outbound' end,
               case when place % 2 = 1 then 'text' else 'reply' end, 'a text of about fifty characters, as people do ' || n, 'gsm7', 1,
               case when place % 2 = 1 then 'SM' || replace(bench_id(30 + $3::integer, n)::text, '-', '') end,
               case when place % 2 = 0 then bench_id(4, n) end
          from numbered
        returning id, seq, session_id, direction
    )
    insert into delivery (id, project_id, session_id, number_id, contact, seq, status, attempts, attempted_at, carrier_id,
                          accepted_at, history)
    select said.id, made.project_id, made.id, made.endpoint_id, made.contact, said.seq, 'delivered', 1, now(),
           'SM' || replace(bench_id(6, said.seq)::text, '-', ''), now(),
           delivery_step('sending', null, null, null, null) || delivery_step('accepted', 'carrier', null, null, null)
           || delivery_step('delivered', 'report', null, null, null)
      from said join made on made.id = said.session_id
     where said.direction = 'outbound'";

/// $1 how many messages stay.
const LEAVE: [&str; 2] = [
    "delete from delivery where seq <= (select max(seq) - $1 from message)",
    "delete from message where seq <= (select max(seq) - $1 from message)",
];

/// Takes away what the warming up has written but the last messages, so many at most: sessions and
/// their workings stay.
pub async fn delete_messages_but(server: &Server, messages: i64) {
    let mut connection = PgConnection::connect(server.url()).await.expect("a connection");
    let quick = "set search_path = textback; set session_replication_role = replica";
    sqlx::raw_sql(quick).execute(&mut connection).await.expect("set");
    for statement in LEAVE {
        sqlx::query(statement).bind(messages).execute(&mut connection).await.expect("accepted away");
    }
    sqlx::raw_sql("vacuum full analyze delivery, message").execute(&mut connection).await.expect("vacuumed");
}

/// How much is stored as each measure begins: messages, and sessions that are open besides those of
/// the people who text.
pub fn levels() -> Vec<(u64, u64)> {
    let most = setting("TEXTBACK_BENCH_MESSAGES", 1e6) as u64;
    let open = setting("TEXTBACK_BENCH_OPEN_SESSIONS", 1e6) as u64;
    let levels = [0, 1_000_000, 10_000_000, 100_000_000].into_iter().filter(|level| *level <= most);
    levels.map(|level| (level, 0)).chain([(most, open)]).collect()
}

/// How much is stored, as far as it is counted here.
#[derive(Default)]
pub struct Stored {
    sessions: u64,
}

impl Stored {
    /// Writes closed sessions with so many messages in all.
    pub async fn add_messages(&mut self, server: &Server, report: &mut Report, messages: u64) {
        self.fill(server, report, messages / MESSAGES, MESSAGES, "closed").await;
    }

    /// Writes open sessions, each with a text and its answer, and the job that looks whether it is
    /// silent.
    pub async fn add_open_sessions(&mut self, server: &Server, report: &mut Report, sessions: u64) {
        self.fill(server, report, sessions, 2, "open").await;
    }

    async fn fill(&mut self, server: &Server, report: &mut Report, sessions: u64, messages: u64, status: &str) {
        let mut connection = PgConnection::connect(server.url()).await.expect("a connection");
        // Neither the rows' references are looked up nor the disk waited for: this is not what is
        // measured.
        let quick = "set search_path = textback; set session_replication_role = replica; set synchronous_commit = off; set jit = off";
        for statement in [quick, IDS] {
            sqlx::raw_sql(statement).execute(&mut connection).await.expect("set");
        }
        let until = self.sessions + sessions;
        while self.sessions < until {
            let last = (self.sessions + CHUNK).min(until);
            sqlx::query(FILL)
                .bind(self.sessions as i64)
                .bind(last as i64 - 1)
                .bind(messages as i64)
                .bind(status)
                .execute(&mut connection)
                .await
                .expect("filled");
            self.sessions = last;
            report.tick(1.0 - (until - last) as f64 / sessions as f64);
        }
        for statement in ["drop function bench_id", "vacuum analyze", "checkpoint"] {
            sqlx::raw_sql(statement).execute(&mut connection).await.expect("done");
        }
    }
}

/// Messages that are stored, sessions that are open, and bytes a message of each table and its
/// indexes.
pub async fn count(server: &Server) -> (i64, i64, Vec<(String, f64, f64)>) {
    let mut connection = PgConnection::connect(server.url()).await.expect("a connection");
    let counts = "select (select count(*) from textback.message), (select count(*) from textback.session where status <> 'closed')";
    let (messages, open): (i64, i64) = sqlx::query_as(counts).fetch_one(&mut connection).await.expect("a count");
    let sizes = "select relname::text, pg_table_size(oid)::float8, pg_indexes_size(oid)::float8 from pg_class
                  where relnamespace = 'textback'::regnamespace and relname in ('message', 'delivery', 'session', 'turn', 'inactivity')
                  order by 1";
    let sizes: Vec<(String, f64, f64)> = sqlx::query_as(sizes).fetch_all(&mut connection).await.expect("sizes");
    let a_message = |bytes: f64| bytes / messages as f64;
    (
        messages,
        open,
        sizes.into_iter().map(|(name, table, indexes)| (name, a_message(table), a_message(indexes))).collect(),
    )
}
