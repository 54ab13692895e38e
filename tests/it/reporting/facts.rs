//! What happened in the fixture of the views, and what each view must tell of it.

use reqwest::Method;
use serde_json::json;

use super::{CONTACTS, rollups, run_sql};
use crate::harness::{ADA, TestApp, create_project};

/// An agent that can fail, say nothing and hang up.
const AGENT: &str = "
def reply(conv, text):
    if text == \"boom please\":
        fail(\"as asked\")
    if text == \"say nothing\":
        return None
    if text == \"good bye\":
        return {\"utterance\": \"so long\", \"hangup\": True}
    return \"echo of \" + text
";

/// Parts of the texts that were sent, of which none may stand in a view.
pub const TEXTS: [&str; 8] = [
    "hello there",
    "echo of",
    "table is ready",
    "as asked",
    "so long",
    "still here",
    "conversation will end",
    "no more of this",
];

/// The four cases of a text, a rescue, an end, a failure, a silence, an opt-out, and an outbound
/// text without a reply.
pub async fn app() -> TestApp {
    let settings = json!({"first_message": "process", "error_message": "It went wrong."});
    let app = TestApp::with_agent(AGENT, settings).await;
    app.ok(Method::PATCH, "/v1/project", Some(json!({"allowed_countries": ["US", "GB"]}))).await;
    let [_, ben, cy, dee, eve, fay] = CONTACTS;
    // New, continued, timed out, and new after the time-out.
    app.answers(ADA, "hello there").await;
    app.answers(ADA, "hello there again").await;
    app.pass(86_400).await;
    app.pass(600).await;
    app.answers(ADA, "hello there, back").await;
    app.answers(ADA, "good bye").await;
    app.answers(ADA, "say nothing").await;
    // A reply to an outbound text.
    let send = |to: &'static str| Some(json!({"to": to, "body": "Your table is ready."}));
    app.ok(Method::POST, "/v1/messages", send(ben)).await;
    app.run_jobs().await;
    app.answers(ben, "hello there, thanks").await;
    // Rescued within the grace, then opted out.
    app.answers(cy, "hello there").await;
    app.pass(86_400 + 30).await;
    app.pass(540).await;
    app.answers(cy, "still here").await;
    app.answers(cy, "STOP").await;
    // A failure that is given up.
    app.text(dee, "boom please").await;
    for _ in 0..3 {
        app.sql("update turn set due_at = now()").await;
        app.run_jobs().await;
    }
    // An outbound text without a reply, to another country.
    app.ok(Method::POST, "/v1/messages", send(eve)).await;
    app.run_jobs().await;
    // One that waits, with its turn.
    app.text(fay, "hello there").await;
    app.sql("insert into quarantine (id, project_id, kind, reason, form) select gen_random_uuid(), id, 'inbound', 'number_not_attached', 'Body=no more of this' from project").await;
    // What a turn of a model would leave: a call of a tool, a refusal by its server, an answer.
    run_sql(
        app.storage.pool(),
        "insert into model_request (project_id, session_id, agent_id, agent_version, turn_id, attempt, round, model, finish, prompt_tokens,
                                    cached_tokens, output_tokens, milliseconds, error)
             select project_id, id, agent_id, agent_version, id, 1, round, 'small', finish, tokens, tokens, tokens, 1500, error
               from (select * from session where contact = '+14155550101' order by id limit 1) session,
                    (values (0, 'done', 90, null), (1, 'failed', null, 'answered 503'), (1, 'done', 120, null)) request (round, finish, tokens, error);
         insert into model_round (turn_id, round, project_id, session_id, message)
             select distinct turn_id, 0, project_id, session_id, '{}'::jsonb from model_request;
         insert into tool_call (turn_id, round, position, project_id, session_id, name, answer)
             select turn_id, 0, 0, project_id, session_id, 'book', '{}' from model_round",
    )
    .await;
    rollups::count(&app).await;
    app
}

/// Another project, with a session of a contact that texts the first one too.
pub async fn add_another_project(app: &TestApp) {
    create_project(&app.storage, "others").await.expect("a project");
    run_sql(
        app.storage.pool(),
        "begin; set local session_replication_role = replica;
         create temp table other as
             select project.id as project_id, gen_random_uuid() as agent_id, gen_random_uuid() as endpoint_id, gen_random_uuid() as session_id,
                    gen_random_uuid() as message_id from project where name = 'others';
         insert into agent (id, project_id, name) select agent_id, project_id, 'their agent' from other;
         insert into agent_version (agent_id, version, spec, warning, reads_history)
             select agent_id, 1, '{\"kind\": \"script\", \"source\": \"x\"}', 'w', false from other;
         insert into active_version (agent_id, environment, version) select agent_id, unnest('{sandbox,live}'::text[]), 1 from other;
         insert into endpoint (id, project_id, kind, agent_id) select endpoint_id, project_id, 'number', agent_id from other;
         insert into number (id, project_id, number, country, generation) select endpoint_id, project_id, '+14155550188', 'US', gen_random_uuid() from other;
         insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id, agent_version, warn_after_seconds)
             select session_id, project_id, endpoint_id, '+14155550101', 'sms', 'open', 'inbound', true, agent_id, 1, 60 from other;
         insert into inactivity (session_id, project_id, due_at) select session_id, project_id, now() + interval '1 minute' from other;
         insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, inactivity_seconds)
             select message_id, project_id, session_id, 'outbound', 'warning', 'theirs', 'gsm7', 1, 60 from other;
         insert into delivery (id, project_id, session_id, number_id, contact, seq, status, carrier_id, history)
             select other.message_id, other.project_id, other.session_id, endpoint_id, '+14155550101', seq, 'sent', 'SM9', '[{\"at\": \"2026-01-01T00:00:00Z\", \"status\": \"sent\"}]'
               from other join message on message.id = other.message_id;
         insert into consent (id, project_id, endpoint_id, contact, kind, source, recorded_at)
             select gen_random_uuid(), project_id, endpoint_id, '+14155550101', 'opted_in', 'operator', now() from other;
         insert into turn_without_message (id, project_id, session_id, attempts, failures, outcome, created_at)
             select gen_random_uuid(), project_id, session_id, 1, 0, 'silent', now() from other;
         insert into quarantine (id, project_id, kind, reason, form) select gen_random_uuid(), project_id, 'inbound', 'x', 'x' from other;
         insert into model_request (project_id, session_id, agent_id, agent_version, turn_id, attempt, round, model, finish, milliseconds)
             select project_id, session_id, agent_id, 1, message_id, 1, 0, 'theirs', 'done', 1 from other;
         drop table other;
         commit",
    )
    .await;
    rollups::count(app).await;
}

/// Adds rows of ninety days to the session of each table that grows, in the order of time, so that
/// their tables have many pages. One message in three is a HELP, so that the partial index of
/// automatic messages is no cheaper than an index by time.
pub async fn add_many(app: &TestApp) {
    run_sql(
        app.storage.pool(),
        "begin; set local session_replication_role = replica; set local statement_timeout = 0;
         create temp table time as
             select position, now() - interval '90 days' + position * interval '90 days' / 60000 as at from generate_series(1, 60000) position;
         insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id, agent_version, warn_after_seconds, opened_at, closed_at, close_reason)
             select gen_random_uuid(), project_id, endpoint_id, '+1', channel, 'closed', origin, engaged, agent_id, agent_version, 60, at, at, 'agent_ended'
               from time, (select * from session limit 1) session order by position;
         insert into message (id, project_id, session_id, direction, kind, body, created_at)
             select gen_random_uuid(), project_id, id, 'outbound', case position % 3 when 0 then 'help' else 'text' end, repeat('x', 100), at from time, (select * from session limit 1) session order by position;
         insert into delivery (id, project_id, session_id, number_id, contact, seq, status, carrier_id, created_at)
             select gen_random_uuid(), project_id, id, endpoint_id, '+1', 0, 'sent', 'SX' || position, at from time, (select * from session limit 1) session order by position;
         insert into turn_without_message (id, project_id, session_id, attempts, failures, outcome, created_at, finished_at)
             select gen_random_uuid(), project_id, id, 1, 0, 'silent', at, at from time, (select * from session limit 1) session order by position;
         insert into model_request (project_id, session_id, agent_id, agent_version, turn_id, attempt, round, model, finish, milliseconds, created_at)
             select project_id, id, agent_id, agent_version, id, 1, 0, 'small', 'done', 1500, at from time, (select * from session limit 1) session order by position;
         drop table time;
         select brin_summarize_new_values(indexrelid) from pg_index join pg_class on pg_class.oid = indexrelid where relname like '%\\_by\\_time';
         commit",
    )
    .await;
    app.sql("analyze").await;
}

/// Questions to the views, and their answers in the fixture.
pub const QUESTIONS: &[(&str, &[&str])] = &[
    ("select name from reporting.projects_v1", &["(tests)"]),
    (
        "select name, kind, current_version, last_error_code, workers_lost from reporting.agents_v1",
        &["(agent,script,1,failed,0)"],
    ),
    (
        "select contact_masked, origin, session_case, status, end_reason, inbound_messages, outbound_messages, continued_messages
           from reporting.sessions_v1 order by session_id",
        &[
            "(+1415•••0101,inbound,new,closed,timed_out,2,3,1)",
            "(+1415•••0101,inbound,after_timeout,closed,agent_ended,2,2,1)",
            "(+1415•••0101,inbound,after_end,open,,1,0,0)",
            "(+1415•••0102,outbound,reply_to_outbound,open,,1,2,0)",
            "(+1415•••0103,inbound,new,closed,opted_out,3,3,2)",
            "(+1415•••0104,inbound,new,open,,1,1,0)",
            "(+4477•••0123,outbound,outbound_without_reply,open,,0,1,0)",
            "(+1415•••0106,inbound,new,open,,1,0,0)",
        ],
    ),
    (
        "select session_case, count(*) from reporting.messages_v1 where direction = 'inbound' group by 1 order by 1",
        &["(after_end,1)", "(after_timeout,1)", "(continued,4)", "(new,4)", "(reply_to_outbound,1)"],
    ),
    (
        "select contact_masked, kind, status, skip_reason, session_case, segments, encoding, characters
           from reporting.messages_v1 where contact_masked = '+1415•••0103' order by message_id",
        &[
            "(+1415•••0103,text,handled,,new,1,gsm7,11)",
            "(+1415•••0103,reply,delivered,,,1,gsm7,19)",
            "(+1415•••0103,warning,delivered,,,1,gsm7,80)",
            "(+1415•••0103,text,handled,,continued,1,gsm7,10)",
            "(+1415•••0103,reply,delivered,,,1,gsm7,18)",
            "(+1415•••0103,keyword,handled,keyword,continued,1,gsm7,4)",
        ],
    ),
    (
        "select outcome, error_code, attempts, failures, messages, agent_name, agent_kind, agent_version, count(*),
                bool_and(total_seconds >= 0 and agent_seconds between 0 and 60) as timed
           from reporting.turns_v1 group by 1, 2, 3, 4, 5, 6, 7, 8 order by 1, 2",
        &[
            "(answered,,1,0,1,agent,script,1,7,t)",
            "(failed,failed,3,2,1,agent,script,1,1,t)",
            "(silent,,1,0,0,agent,script,1,3,t)",
        ],
    ),
    (
        "select status, kind, address, number_country, contact_calling_code, count(*), bool_and(delivered_seconds >= accepted_seconds) as ordered
           from reporting.deliveries_v1 group by 1, 2, 3, 4, 5 order by 2, 5",
        &[
            "(delivered,error,+14155550199,US,1,1,t)",
            "(delivered,reply,+14155550199,US,1,7,t)",
            "(delivered,text,+14155550199,US,1,1,t)",
            "(delivered,text,+14155550199,US,44,1,t)",
            "(delivered,warning,+14155550199,US,1,2,t)",
        ],
    ),
    (
        // A report may come before the answer of the carrier, which then is no step.
        "select count(*) filter (where step = 1 and status = 'sending' and told_by is null) as began,
                count(*) filter (where status = 'delivered' and told_by = 'report') as arrived, bool_and(seconds_since_created >= 0) as ordered
           from reporting.delivery_steps_v1",
        &["(12,12,t)"],
    ),
    (
        "select contact_masked, inactivity_seconds, warning_late_seconds < 60 as warned_in_time, warning_late_seconds >= 30 as warned_late,
                warning_status, outcome, rescued_by, rescued_seconds between 540 and 600 as in_the_grace, end_late_seconds between 0 and 60 as ended_in_time
           from reporting.inactivity_v1 order by warning_message_id",
        &[
            "(+1415•••0101,86400,t,f,delivered,ended,,,t)",
            "(+1415•••0103,86400,t,t,delivered,rescued,inbound,t,)",
        ],
    ),
    (
        "select channel, attempt, round, agent_name, model, finish, prompt_tokens, cached_tokens, output_tokens, seconds, error, tool_calls
           from reporting.model_requests_v1 order by request_id",
        &[
            "(sms,1,0,agent,small,done,90,90,90,1.5,,1)",
            "(sms,1,1,agent,small,failed,,,,1.5,\"answered 503\",0)",
            "(sms,1,1,agent,small,done,120,120,120,1.5,,0)",
        ],
    ),
    (
        "select contact_masked, contact_calling_code, kind, source, is_current, message_id is not null as has_message from reporting.consents_v1",
        &["(+1415•••0103,1,opted_out,keyword,t,t)"],
    ),
    (
        "select direction, address, number_country, contact_calling_code, encoding, is_at_the_carrier, sum(segments)
           from reporting.segments_v1 group by 1, 2, 3, 4, 5, 6 order by 1, 4",
        &[
            "(inbound,+14155550199,US,1,gsm7,t,11)",
            "(outbound,+14155550199,US,1,gsm7,t,11)",
            "(outbound,+14155550199,US,44,gsm7,t,1)",
        ],
    ),
    (
        "select address, country, agent_name, is_attached, desired_state, refusal_reason, webhook, registration, send_policy, check_late_seconds
           from reporting.numbers_v1",
        &["(+14155550199,US,agent,t,attached,,ok,approved,open,0)"],
    ),
    (
        "select kind, depth, due, running, oldest_due_seconds > 0 as is_old from reporting.jobs_v1 order by kind",
        &["(backfill,1,1,0,t)", "(inactivity,4,0,0,f)", "(number,1,0,0,f)", "(turn,1,1,0,t)"],
    ),
    (
        "select kind, reason, bytes, replay_outcome, replayed_at is null as waits from reporting.quarantine_v1",
        &["(inbound,number_not_attached,20,,t)"],
    ),
    ("select count(*), bool_and(holds), max(breaches) from reporting.invariants_v1", &["(12,t,0)"]),
];
