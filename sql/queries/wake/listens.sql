-- Whether this connection still listens.
select true
