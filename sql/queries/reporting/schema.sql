-- Whether the schema reporting exists, and whether the current role may create it, or views in it.
select schema.oid is not null as "is_there!",
       case when schema.oid is null then has_database_privilege(current_database(), 'create')
            else has_schema_privilege(schema.oid, 'create') and has_schema_privilege(schema.oid, 'usage') end as "may_create!"
  from (select 1) one
  left join pg_namespace schema on schema.nspname = 'reporting'
