-- Texts by what they did
-- What each message of a contact did: it opened a session, was the first reply to an outbound message, or continued a session.
-- chart: ranking
-- session_case (text): new, after_timeout, after_end, reply_to_outbound or continued.
-- texts (count): Messages of contacts.

select session_case, sum(messages)::bigint as texts
  from reporting.messages_by_hour_v1
 where direction = 'inbound' and hour >= date_trunc('hour', $1::timestamptz) and hour < $2::timestamptz
 group by 1
 order by 2 desc, 1;
