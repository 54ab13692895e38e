-- The comments on tables of the schema and on their columns, each with what it is on, as
-- `comment on` names it.
select case objsubid when 0 then 'table ' || relname else 'column ' || relname || '.' || attname end as "on!", description as "text!"
  from pg_description
  join pg_class on pg_class.oid = objoid and relnamespace = 'textback'::regnamespace and relkind = 'r'
  left join pg_attribute on attrelid = objoid and attnum = objsubid and attnum > 0
 where classoid = 'pg_class'::regclass
