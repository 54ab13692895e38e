//! The job: reads a message, runs the agent, stores its reply, sends it, and marks it sent. Each
//! step is committed before the next.

use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage, Pubsub};
use serde::Deserialize;

use crate::{Answer, Error, QUEUE, database, setting};

const READ: &str = "
    select message.body, session.number, session.contact, reply.body, reply.sent_at is not null
      from message
      join session on session.id = message.session_id
      left join reply on reply.message_id = message.id
     where message.id = $1";
const DRAFT: &str = "insert into reply (message_id, body) values ($1, $2) on conflict (message_id) do nothing";
const SENT: &str = "update reply set provider_id = $2, sent_at = now() where message_id = $1";

/// How many jobs are fetched and run at a time. Chosen by trial: see the README.
const JOBS: usize = 64;

/// What a job needs.
#[derive(Clone)]
struct Clients {
    pool: PgPool,
    http: reqwest::Client,
    messages_url: String,
    account: String,
    token: String,
}

pub async fn run() -> Result<(), Error> {
    let pool = database(20).await?;
    let account = setting("ACCOUNT_SID")?;
    let clients = Clients {
        pool: pool.clone(),
        http: reqwest::Client::builder().tcp_nodelay(true).build()?,
        messages_url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", setting("CARRIER_URL")?),
        account,
        token: setting("AUTH_TOKEN")?,
    };
    let config = Config::default().queue(QUEUE).batch_size(JOBS);
    let strategy = PollStrategy {
        interval: IntervalStrategy::new(Duration::from_millis(100)),
        notified: StreamStrategy::new(Pubsub::new(pool.clone(), QUEUE.to_owned())),
    };
    let backend = PostgresStorage::<Answer>::new(&pool).with_config(config).poll_with_strategy(strategy);
    // A name of its own for each start: under one that lives again, its lost jobs would never be
    // taken up.
    let started = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    WorkerBuilder::new(format!("answer-{}-{started}", std::process::id()))
        .backend(backend)
        .data(clients)
        .concurrency(JOBS)
        .build(answer)
        .run()
        .await?;
    Ok(())
}

/// Looks for jobs when one is announced, and every interval.
///
/// `Strategy` has both as well, but takes one of them a poll: the other's waker is then not
/// registered, and the worker was seen to do nothing until its next heartbeat (30 s). This takes
/// everything there is, so that both always wake it.
struct PollStrategy {
    interval: IntervalStrategy,
    notified: StreamStrategy<Pubsub>,
}

impl PollStrategy for PollStrategy {
    fn poll_drive(&mut self, cx: &mut Context<'_>, snapshot: &PollSnapshot) -> Poll<Option<()>> {
        let mut woken = Poll::Pending;
        while let Poll::Ready(Some(())) = self.notified.poll_drive(cx, snapshot) {
            woken = Poll::Ready(Some(()));
        }
        while self.interval.poll_drive(cx, snapshot).is_ready() {
            woken = Poll::Ready(Some(()));
        }
        woken
    }
}

/// The agent: an echo.
async fn agent(text: &str) -> String {
    text.to_owned()
}

async fn answer(job: Answer, clients: Data<Clients>) -> Result<(), BoxDynError> {
    type Read = (String, String, String, Option<String>, bool);
    let read: Option<Read> = sqlx::query_as(READ).bind(job.message).fetch_optional(&clients.pool).await?;
    // A job that comes again sends nothing that was marked sent.
    let Some((text, number, contact, drafted, false)) = read else { return Ok(()) };
    let reply = match drafted {
        Some(reply) => reply,
        None => {
            let reply = agent(&text).await;
            sqlx::query(DRAFT).bind(job.message).bind(&reply).execute(&clients.pool).await?;
            reply
        }
    };
    // A crash from here until the mark is committed sends the reply a second time.
    let sid = send(&clients, &contact, &number, &reply).await?;
    sqlx::query(SENT).bind(job.message).bind(sid).execute(&clients.pool).await?;
    Ok(())
}

/// Posts a message to the carrier and gives what it calls it.
async fn send(clients: &Clients, to: &str, from: &str, body: &str) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct HistoryEntry {
        sid: String,
    }
    let answer = clients
        .http
        .post(&clients.messages_url)
        .basic_auth(&clients.account, Some(&clients.token))
        .form(&[("To", to), ("From", from), ("Body", body)])
        .send()
        .await?
        .error_for_status()?;
    Ok(answer.json::<HistoryEntry>().await?.sid)
}
