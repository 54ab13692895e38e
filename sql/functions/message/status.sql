-- The status of a message for operators: an outbound message has the status of its delivery, an
-- inbound one depends on the handled_seq of its session. It has a standard body, because reports
-- call it for many rows.
create or replace function message_status(skip_reason text, seq bigint, handled_seq bigint, delivery_status text)
returns text language sql immutable parallel safe
return case when delivery_status is not null then delivery_status
            when skip_reason = 'keyword' then 'handled'
            when skip_reason in ('contact_too_fast', 'repeats', 'paused', 'project_too_fast', 'to_is_from', 'from_own_number') then 'held'
            when skip_reason is not null then 'skipped'
            when seq <= handled_seq then 'handled'
            else 'waiting' end;
