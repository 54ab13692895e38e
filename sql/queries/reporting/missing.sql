-- The statements that are needed so that members of the role textback_reporting can read the views.
-- It reads the catalogue alone, so any role may ask.
with role as (
    select known.oid, known.rolconfig from (select 1) one left join pg_roles known on known.rolname = 'textback_reporting'
), schema as (
    select reporting.oid, ours.nspowner::regrole::text as owner
      from pg_namespace ours left join pg_namespace reporting on reporting.nspname = 'reporting'
     where ours.nspname = 'textback'
), needed as (
    select 1 as part, format('create schema reporting authorization %s', owner) as statement from schema where oid is null
    union all
    select 2, 'create role textback_reporting nologin' from role where oid is null
    union all
    select 3, format('alter role textback_reporting set %s = ''%s''', setting, value)
      from role, (values ('statement_timeout', '15s'), ('default_transaction_read_only', 'on')) as wanted (setting, value)
     where format('%s=%s', setting, value) <> all (coalesce(role.rolconfig, '{}'))
    union all
    select 4, 'grant usage on schema reporting to textback_reporting'
      from role, schema where schema.oid is not null and coalesce(has_schema_privilege(role.oid, schema.oid, 'usage'), false) is false
    union all
    select 5, format('grant select on reporting.%I to textback_reporting', view.relname)
      from role, schema join pg_class view on view.relnamespace = schema.oid and view.relkind = 'v'
     where view.relname = any ($1::text[]) and coalesce(has_table_privilege(role.oid, view.oid, 'select'), false) is false
)
select statement as "statement!" from needed order by part, statement
