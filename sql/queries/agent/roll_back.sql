-- Takes the newest activation of an agent ($1) in an environment ($2) back.
select roll_back_activation($1, $2)
