-- Whether the carrier had a message, so that it may charge for it. status and accepted_at: of its
-- delivery, if it is outbound.
create or replace function is_at_the_carrier(direction text, status text, accepted_at timestamptz) returns boolean language sql immutable parallel safe
return direction = 'inbound' or status in ('accepted', 'sent', 'delivered') or (status = 'failed' and accepted_at is not null);
