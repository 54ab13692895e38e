-- Counts the messages of turns ($1 projects, $2 contacts, $3 how many messages), and tells which of them a limit stops.
select ordinal as "ordinal!", message as "message!", code as "code!: _", detail as "detail!" from count_turns($1, $2, $3)
