-- Locks the contacts of a batch of inbound messages until the transaction ends. Returns the attached numbers of the
-- batch: the locks cover only these. Every batch takes its locks in this order, so two batches can't wait for each
-- other.
create or replace function lock_inbound_contacts(messages inbound_message[]) returns uuid[] language plpgsql
set search_path = textback, pg_temp as $$
declare
    numbers uuid[] := array(
        select distinct number.id
          from unnest(messages) m
          join number on number.project_id = m.project_id and number.number = m."to" and number.detached_at is null);
begin
    -- The same as lock_contact, inline, because a call for each message cost 4 us.
    perform pg_advisory_xact_lock(hashtextextended(contact.number_id::text || ' ' || contact."from", 0))
       from (select number.id as number_id, m."from"
               from unnest(messages) m
               join number on number.project_id = m.project_id and number.number = m."to" and number.id = any (numbers)
              order by number.id, m."from") contact;
    return numbers;
end $$;
