-- Counts messages to contacts ($1 projects, $2 contacts, $3 how many messages), and tells which of
-- them a limit stops.
select ordinal as "ordinal!", message as "message!", full_limit as "full_limit!: _", most as "most!", until_at as "until_at!"
  from count_messages($1, $2, $3)
