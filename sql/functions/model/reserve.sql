-- Counts the most that a request to a model may use ($4 tokens, $5 cost), unless the session
-- (limits $6 and $7, null: none) or the day of the project has reached a limit. Each counter is
-- changed by one conditional update, so requests at the same time exceed a limit by one request at
-- most. Returns reserved, busy (the requests that run may reach the limit, and may not),
-- session_spent or project_spent, and whether it is the first refusal of the session or of the day.
create or replace function reserve_model_use(
    reservation uuid, of_project uuid, of_session uuid, most_tokens bigint, most_cost bigint,
    session_tokens bigint, session_cost bigint, out outcome text, out is_first boolean
) language plpgsql
set search_path = textback, pg_temp as $$
declare
    today      date := (now() at time zone 'UTC')::date;
    day_tokens bigint;
    day_cost   bigint;
    is_new     boolean;
begin
    is_first := false;
    -- An earlier attempt left them when its process ended. What was counted stays.
    delete from model_reservation where session_id = of_session;
    insert into model_use_of_session as known (session_id, project_id, tokens, cost)
    values (of_session, of_project, most_tokens, most_cost)
    on conflict on constraint model_use_of_session_pk do update
       set tokens = known.tokens + excluded.tokens, cost = known.cost + excluded.cost
     where (session_tokens is null or known.tokens < session_tokens) and (session_cost is null or known.cost < session_cost);
    if not found then
        update model_use_of_session set refused = refused + 1 where session_id = of_session returning refused = 1 into is_first;
        outcome := 'session_spent';
        return;
    end if;
    select nullif(llm_max_tokens_per_day, 0), nullif(llm_max_cost_per_day, 0) into day_tokens, day_cost
      from project where id = of_project;
    insert into model_use_of_day as known (project_id, day, tokens, cost) values (of_project, today, most_tokens, most_cost)
    on conflict on constraint model_use_of_day_pk do update
       set tokens = known.tokens + excluded.tokens, cost = known.cost + excluded.cost
     where (day_tokens is null or known.tokens < day_tokens) and (day_cost is null or known.cost < day_cost)
    returning xmax = 0 into is_new;
    if not found then
        update model_use_of_session set tokens = tokens - most_tokens, cost = cost - most_cost where session_id = of_session;
        -- No request runs for five minutes (120 s is the longest), so an older reservation is of a
        -- process that ended, and counts in full.
        select case when known.tokens - coalesce(sum(running.tokens), 0) < coalesce(day_tokens, 'infinity'::numeric)
                     and known.cost - coalesce(sum(running.cost), 0) < coalesce(day_cost, 'infinity'::numeric)
                    then 'busy' else 'project_spent' end
          into outcome
          from model_use_of_day known
          left join model_reservation running
            on running.project_id = known.project_id and running.day = known.day and running.reserved_at > now() - interval '5 minutes'
         where known.project_id = of_project and known.day = today
         group by known.tokens, known.cost;
        if outcome = 'project_spent' then
            update model_use_of_day set refused = refused + 1 where project_id = of_project and day = today returning refused = 1 into is_first;
        end if;
        return;
    end if;
    if is_new then
        delete from model_reservation where project_id = of_project and day < today;
    end if;
    insert into model_reservation (id, project_id, session_id, day, tokens, cost)
    values (reservation, of_project, of_session, today, most_tokens, most_cost);
    outcome := 'reserved';
end $$;
