-- The countries that a project ($1) may send to, if it has a list of its own.
select allowed_countries from project where id = $1
