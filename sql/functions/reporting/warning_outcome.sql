-- What became of a warning. is_rescued: a message within the grace kept the session open.
-- close_reason: null while it is open.
create or replace function warning_outcome(is_rescued boolean, close_reason text) returns text language sql immutable parallel safe
return case when is_rescued then 'rescued'
            when close_reason = 'timed_out' then 'ended'
            when close_reason is not null then 'ended_otherwise'
            else 'waiting' end;
