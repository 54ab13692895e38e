-- What a role ($1) may do: whether it may read the tables, so that it sees all projects whatever is
-- granted. None: there is no such role.
select has_table_privilege(oid, 'textback.project'::regclass, 'select') as "reads_tables!" from pg_roles where rolname = $1::text
