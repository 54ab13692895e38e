-- The statements that are needed so that a role ($1) can read the views with the settings of
-- textback_reporting.
with role as (select oid, rolname, rolconfig from pg_roles where rolname = $1::text and rolname <> 'textback_reporting'),
needed as (
    select 1 as part, format('grant textback_reporting to %I', rolname) as statement
      from role
     where not exists (
           select from pg_auth_members
             join pg_roles given on given.oid = pg_auth_members.roleid and given.rolname = 'textback_reporting'
            where pg_auth_members.member = role.oid)
    union all
    select 2, format('alter role %I set %s = ''%s''', rolname, setting, value)
      from role, (values ('statement_timeout', '15s'), ('default_transaction_read_only', 'on')) as wanted (setting, value)
     where format('%s=%s', setting, value) <> all (coalesce(role.rolconfig, '{}'))
)
select statement as "statement!" from needed order by part, statement
