-- How many rows have secrets that each key encrypted.
select key_id as "key_id!", count(*) as "rows!"
  from (select key_id from carrier_account
        union all
        select signing_key_id from agent where signing_key_id is not null
        union all
        select key_id from model_key) encrypted (key_id)
 group by key_id
 order by key_id
