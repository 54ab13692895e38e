-- Changes what is named of a project's ($1) settings ($2, an object with the columns' names).
update project
   set name = coalesce($2::jsonb ->> 'name', name),
       texts_per_contact_per_minute = coalesce(($2::jsonb ->> 'texts_per_contact_per_minute')::integer, texts_per_contact_per_minute),
       repeats_in_five_minutes = coalesce(($2::jsonb ->> 'repeats_in_five_minutes')::integer, repeats_in_five_minutes),
       texts_per_project_per_minute = coalesce(($2::jsonb ->> 'texts_per_project_per_minute')::integer, texts_per_project_per_minute),
       outbound_per_contact_per_hour = coalesce(($2::jsonb ->> 'outbound_per_contact_per_hour')::integer, outbound_per_contact_per_hour),
       outbound_per_contact_per_day = coalesce(($2::jsonb ->> 'outbound_per_contact_per_day')::integer, outbound_per_contact_per_day),
       outbound_per_project_per_minute = coalesce(($2::jsonb ->> 'outbound_per_project_per_minute')::integer, outbound_per_project_per_minute),
       outbound_per_project_per_day = coalesce(($2::jsonb ->> 'outbound_per_project_per_day')::integer, outbound_per_project_per_day),
       allowed_countries = case when jsonb_typeof($2::jsonb -> 'allowed_countries') = 'array'
                                then array(select jsonb_array_elements_text($2::jsonb -> 'allowed_countries'))
                                when $2::jsonb ? 'allowed_countries' then null else allowed_countries end,
       help_message = case when $2::jsonb ? 'help_message' then $2::jsonb ->> 'help_message' else help_message end,
       opt_out_message = case when $2::jsonb ? 'opt_out_message' then $2::jsonb ->> 'opt_out_message' else opt_out_message end,
       opt_in_message = case when $2::jsonb ? 'opt_in_message' then $2::jsonb ->> 'opt_in_message' else opt_in_message end,
       opt_out_words = case when $2::jsonb ? 'opt_out_words' then array(select jsonb_array_elements_text($2::jsonb -> 'opt_out_words'))
                            else opt_out_words end,
       opt_in_words = case when $2::jsonb ? 'opt_in_words' then array(select jsonb_array_elements_text($2::jsonb -> 'opt_in_words'))
                           else opt_in_words end,
       help_words = case when $2::jsonb ? 'help_words' then array(select jsonb_array_elements_text($2::jsonb -> 'help_words'))
                         else help_words end,
       default_number = case when $2::jsonb ? 'default_number' then $2::jsonb ->> 'default_number' else default_number end,
       quiet_from = case when $2::jsonb ? 'quiet_from' then ($2::jsonb ->> 'quiet_from')::time else quiet_from end,
       quiet_until = case when $2::jsonb ? 'quiet_until' then ($2::jsonb ->> 'quiet_until')::time else quiet_until end,
       llm_max_tokens_per_day = coalesce(($2::jsonb ->> 'llm_max_tokens_per_day')::bigint, llm_max_tokens_per_day),
       llm_max_cost_per_day = coalesce(($2::jsonb ->> 'llm_max_cost_per_day')::bigint, llm_max_cost_per_day)
 where id = $1
returning id, name, texts_per_contact_per_minute, repeats_in_five_minutes, texts_per_project_per_minute,
          outbound_per_contact_per_hour, outbound_per_contact_per_day, outbound_per_project_per_minute, outbound_per_project_per_day,
          allowed_countries, help_message, opt_out_message, opt_in_message, default_number, opt_out_words, opt_in_words, help_words,
          quiet_from, quiet_until, llm_max_tokens_per_day, llm_max_cost_per_day, created_at
