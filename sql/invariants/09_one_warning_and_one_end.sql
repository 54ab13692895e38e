-- A period of inactivity has one warning. A session has one closing message, and no message after
-- it. A closed session has no inactivity job. An engaged session that is not closed has one.
create or replace view invariant_09_one_warning_and_one_end as
select session_id, 'warned twice without a message between' as what
  from (select session_id, kind, lag(kind) over (partition by session_id order by seq) as before
          from message
         where session_id in (select message.session_id from message where message.kind = 'warning')
           and (kind in ('warning', 'closing') or resets_inactivity(kind, skip_reason))) said
 where kind = 'warning' and before = 'warning'
union all
select closing.session_id, 'something was said after the end'
  from message closing
  join message later on later.session_id = closing.session_id and later.seq > closing.seq
 where closing.kind = 'closing'
union all
select session.id, 'closed with a live job'
  from session join inactivity on inactivity.session_id = session.id
 where session.status = 'closed'
union all
select session.id, 'engaged without a job'
  from session
 where session.status <> 'closed' and session.engaged
   and not exists (select from inactivity where inactivity.session_id = session.id)
