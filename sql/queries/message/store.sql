-- Stores planned messages that no turn says ($1).
select store_messages($1)
