-- Stores the messages that turns send outside their answers ($1).
select store_sends($1)
