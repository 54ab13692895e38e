-- What the first message of a contact in a session does: it begins one as new, after_timeout or
-- after_end, or it is a reply_to_outbound. previous_id and previous_reason: the session before it,
-- and why that one ended.
create or replace function opening_case(origin text, previous_id uuid, previous_reason text) returns text language sql immutable parallel safe
return case when origin = 'outbound' then 'reply_to_outbound'
            when previous_id is null then 'new'
            when previous_reason = 'timed_out' then 'after_timeout'
            else 'after_end' end;
