-- The views of the schema reporting: the mark that migrate left on the rule of each, and a hash of
-- its definition, its options and all its comments.
select view.relname as "name!", obj_description(rule.oid, 'pg_rewrite') as mark,
       md5(concat_ws(E'\n', pg_get_viewdef(view.oid), array_to_string(view.reloptions, ','), obj_description(view.oid, 'pg_class'),
                     (select string_agg(coalesce(col_description(view.oid, attnum), ''), E'\n' order by attnum)
                        from pg_attribute where attrelid = view.oid and attnum > 0))) as "definition!"
  from pg_class view
  join pg_namespace schema on schema.oid = view.relnamespace and schema.nspname = 'reporting'
  join pg_rewrite rule on rule.ev_class = view.oid and rule.rulename = '_RETURN'
 where view.relkind = 'v'
