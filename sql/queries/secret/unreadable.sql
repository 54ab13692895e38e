-- The rows whose secrets none of the keys $1 encrypted: how many there are, and five of them with
-- their keys. The row of a carrier account is named by its project.
select kind as "kind!", id as "id!", key_id as "key_id!", count(*) over () as "all_rows!"
  from (select 'carrier account of project' as kind, project_id as id, key_id from carrier_account
        union all
        select 'agent', id, signing_key_id from agent where signing_key_id is not null
        union all
        select 'model key of the agent', agent_id, key_id from model_key) encrypted
 where key_id <> all ($1::text[])
 order by kind desc, id
 limit 5
