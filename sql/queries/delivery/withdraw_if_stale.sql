-- Withdraws those of the deliveries $1, which were planned again, whose messages are no longer true.
select withdraw_delivery_if_stale(planned.id) from unnest($1::uuid[]) as planned (id)
