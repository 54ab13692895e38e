-- The GRANT statements that a role ($1, null: the current role) lacks for all commands but migrate.
-- None without a schema. Reads the catalogue by names that need no search path, because a role
-- without USAGE on the schema has none.
with target as (
    select coalesce($1, current_user::text) as role, oid as schema from pg_namespace where nspname = 'textback'
), needed as (
    select 1 as part, 'usage' as kind, 'schema textback' as object, has_schema_privilege(role, schema, 'usage') as has from target
    union all
    select 2, kind, format('table textback.%I', relname), has_table_privilege(role, pg_class.oid, kind)
      from target
      join pg_class on relnamespace = schema and relkind in ('r', 'v')
     cross join unnest(case when relkind = 'v' or relname in ('_sqlx_migrations', 'sms_country') then '{select}'::text[]
                            else '{select,insert,update,delete}' end) as kind
    union all
    select 3, 'usage', format('sequence textback.%I', relname), has_sequence_privilege(role, pg_class.oid, 'usage')
      from target join pg_class on relnamespace = schema and relkind = 'S'
    union all
    select 4, 'execute', format('function textback.%I(%s)', proname, pg_get_function_identity_arguments(pg_proc.oid)),
           has_function_privilege(role, pg_proc.oid, 'execute')
      from target join pg_proc on pronamespace = schema
    union all
    select 5, 'usage', format('type textback.%I', typname), has_type_privilege(role, pg_type.oid, 'usage')
      from target
      join pg_type on typnamespace = schema
      left join pg_class on pg_class.oid = typrelid
     where typtype = 'd' or (typtype = 'c' and relkind = 'c')
)
select format('grant %s on %s to %I', string_agg(kind, ', ' order by kind), object, role) as "statement!"
  from target, needed
 where not has
 group by part, object, role
 order by part, object
