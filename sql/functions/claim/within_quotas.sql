-- Which jobs of a list a claim may take, as positions from 1: of each owner the first ones, as many
-- as its quota. owners: the owner of each job, in the order in which they became due. An owner in
-- limited has the quota at the same position of quotas. Every other owner has other_quota.
--
-- PL/pgSQL keeps the plan of its statement. A function in SQL would be planned for each claim.
create or replace function within_quotas(owners uuid[], limited uuid[], quotas integer[], other_quota integer) returns setof integer
language plpgsql stable rows 10
set search_path = textback, pg_temp as $$
begin
    return query
    select ranked.ordinal::integer
      from (select job.owner, job.ordinal, row_number() over (partition by job.owner order by job.ordinal) as rank
              from unnest(owners) with ordinality as job (owner, ordinal)) ranked
      left join unnest(limited, quotas) as quota (owner, jobs) on quota.owner = ranked.owner
     where ranked.rank <= coalesce(quota.jobs, other_quota);
end $$;
