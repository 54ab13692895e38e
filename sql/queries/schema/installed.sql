-- The functions, triggers and views of the schema, as `comment on` names them: the comment that
-- migrate left, and a hash of the definition that the catalogue has now.
select 'function ' || proname as "name!", obj_description(oid, 'pg_proc') as mark, md5(pg_get_functiondef(oid)) as "definition!"
  from pg_proc
 where pronamespace = 'textback'::regnamespace and prokind = 'f'
union all
select 'trigger ' || tgname || ' on ' || relname, obj_description(pg_trigger.oid, 'pg_trigger'), md5(pg_get_triggerdef(pg_trigger.oid))
  from pg_trigger join pg_class on pg_class.oid = tgrelid
 where relnamespace = 'textback'::regnamespace and not tgisinternal
union all
select 'view ' || relname, obj_description(oid, 'pg_class'), md5(pg_get_viewdef(oid))
  from pg_class
 where relnamespace = 'textback'::regnamespace and relkind = 'v'
