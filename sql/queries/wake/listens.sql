-- Whether this connection still listens.
select true as listens
