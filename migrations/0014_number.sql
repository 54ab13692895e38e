-- Numbers at the carrier: what was seen and done there becomes rows, and what it means for texts.

-- What the carrier tells of a number's registration (null: nothing new), and what follows for its texts by its country's policy. Texts that were
-- held leave in order when it is approved, and fail when it is rejected; while it is only not found (it may be on its way from one
-- messaging service to another) they wait on.
create function settle_registration(of_number uuid, to_registration text, detail text) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    held  record;
    after text;
begin
    -- Not "for update": whoever writes a consent of the number shares its key, and may hold what we want next.
    select project_id, country, sends, registration, registration_detail into held from number where id = of_number for no key update;
    if to_registration is null then
        -- Nothing new was heard; the policy may be another.
        to_registration := held.registration;
        detail := coalesce(detail, held.registration_detail);
    end if;
    after := case when registration_policy_of(held.project_id, held.country) <> 'required' then 'open'
                  when to_registration = 'pending' then 'held'
                  when to_registration in ('unregistered', 'rejected') then 'blocked'
                  else 'open' end;
    update number set registration = to_registration, registration_detail = detail, sends = after where id = of_number;
    if after = 'open' then
        update delivery set due_at = now(), error_detail = null, updated_at = now()
         where number_id = of_number and status = 'planned' and due_at = 'infinity';
    elsif after = 'blocked' and to_registration = 'rejected' then
        perform fail_held(of_number, 'number_not_registered', 'the carrier blocks texts from this number');
    end if;
end $$;

-- Lets texts fail that waited for a number's registration.
create function fail_held(of_number uuid, code text, why text) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update delivery
       set status = 'failed', due_at = null, updated_at = now(), error_class = 'permanent_config', error_detail = code || ': ' || why,
           history = with_step(history, delivery_step('failed', null, null, 'permanent_config', code))
     where number_id = of_number and status = 'planned' and due_at = 'infinity';
end $$;

-- A number that we don't have any more: what waited for it would otherwise leave years later, when it comes back.
create function let_number_go(of_number uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update number
       set detached_at = now(), carrier_sid = null, account_sid = null, may_buy = false, refused = null, sends = 'open',
           registration = 'unknown', registration_detail = null, lease_token = null, leased_until = null
     where id = of_number;
    perform fail_held(of_number, 'number_detached', 'its number was let go before it was sent');
    update scheduled_message set due_at = null, refused = 'number_detached'
     where number_id = of_number and due_at is not null;
end $$;

-- Takes back that a number is wanted which was never ours and never will be. Answers whether that was done: a wish that came
-- since is looked after at once instead.
create function forget_number(of_number uuid, by_token uuid, of_wish uuid) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    held record;
begin
    select wish, carrier_sid into held from number where id = of_number and lease_token = by_token for no key update;
    if not found then
        return false;
    end if;
    if held.wish <> of_wish or held.carrier_sid is not null then
        update number set check_at = now(), lease_token = null, leased_until = null where id = of_number;
        return false;
    end if;
    perform let_number_go(of_number);
    return true;
end $$;

-- What was seen and done about a number, for who holds its token.
-- facts: {wish (the one that was looked after), carrier_sid, account_sid, number_type, refused, webhook, webhook_detail, webhook_was_set, trap, registration,
--         registration_detail, gone, steps: [{step, detail}], check_in_seconds}; what is left out was not looked at.
create function settle_number(of_number uuid, by_token uuid, facts jsonb) returns boolean language plpgsql
set search_path = textback, pg_temp as $$
declare
    this_time timestamptz := now();
    held      record;
    is_same   boolean;
begin
    select wanted, wish into held from number where id = of_number and lease_token = by_token for no key update;
    if not found then
        return false;
    end if;
    is_same := held.wish = (facts ->> 'wish')::uuid;
    update number
       set carrier_sid = case when not (facts ->> 'gone')::boolean then coalesce(facts ->> 'carrier_sid', carrier_sid) end,
           account_sid = coalesce(facts ->> 'account_sid', account_sid),
           -- What was wished for since stays.
           may_buy = may_buy and (not is_same or (facts ->> 'carrier_sid' is null and facts ->> 'refused' is null)),
           refused = case when facts ->> 'carrier_sid' is not null or facts ->> 'refused' is not null then facts ->> 'refused' else refused end,
           number_type = coalesce(facts ->> 'number_type', number_type),
           webhook = coalesce(facts ->> 'webhook', webhook),
           webhook_detail = case when facts ? 'webhook' then facts ->> 'webhook_detail' else webhook_detail end,
           -- Ours from when it was seen to be right, whoever set it.
           webhook_set_at = case when not is_same then webhook_set_at
                                 when (facts ->> 'webhook_was_set')::boolean then this_time
                                 when facts ->> 'webhook' = 'ok' then coalesce(webhook_set_at, this_time)
                                 else webhook_set_at end,
           trap = case when facts ? 'trap' then facts ->> 'trap' else trap end,
           steps = (select coalesce(jsonb_agg(step order by place), '[]')
                      from (select step, place from jsonb_array_elements(
                                steps || (select coalesce(jsonb_agg(step || jsonb_build_object('at', this_time)), '[]')
                                            from jsonb_array_elements(facts -> 'steps') step)) with ordinality as all_steps (step, place)
                             order by place desc limit 30) newest),
           checked_at = this_time,
           -- A wish that came while we looked is looked after at once.
           check_at = case when is_same
                           then this_time + make_interval(secs => (facts ->> 'check_in_seconds')::double precision) else this_time end,
           lease_token = null, leased_until = null
     where id = of_number;
    if (facts ->> 'gone')::boolean then
        -- Who wants it released since has not got that yet: then it is looked after once more.
        if held.wanted = 'detached' or (held.wanted = 'released' and is_same) then
            perform let_number_go(of_number);
        end if;
    elsif facts ->> 'registration' is not null or facts ->> 'registration_detail' is not null then
        perform settle_registration(of_number, facts ->> 'registration', facts ->> 'registration_detail');
    end if;
    return true;
end $$;

-- A project's own rule for a country; null takes what is known. Its numbers there follow at once.
create function rule_country(of_project uuid, in_country text, changes jsonb) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into country_rule (project_id, iso2) values (of_project, in_country)
    on conflict on constraint country_rule_pk do nothing;
    update country_rule
       set two_way = case when changes ? 'two_way' then (changes ->> 'two_way')::boolean else two_way end,
           registration_policy = case when changes ? 'registration_policy' then changes ->> 'registration_policy' else registration_policy end,
           note = case when changes ? 'note' then changes ->> 'note' else note end,
           changed_at = now()
     where project_id = of_project and iso2 = in_country;
    perform settle_registration(id, null, null)
       from (select id from number where project_id = of_project and country = in_country and detached_at is null order by id) theirs;
    -- Where nothing had to be registered, nothing was read.
    update number set check_at = now() where project_id = of_project and country = in_country and detached_at is null;
end $$;
