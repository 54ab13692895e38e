select recount_hours($1, $2)
