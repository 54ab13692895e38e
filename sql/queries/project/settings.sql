-- A project ($1) with its settings.
select id, name, texts_per_contact_per_minute, repeats_in_five_minutes, texts_per_project_per_minute,
       outbound_per_contact_per_hour, outbound_per_contact_per_day, outbound_per_project_per_minute, outbound_per_project_per_day,
       allowed_countries, help_message, opt_out_message, opt_in_message, default_number, opt_out_words, opt_in_words, help_words,
       quiet_from, quiet_until, llm_max_tokens_per_day, llm_max_cost_per_day, created_at
  from project where id = $1
