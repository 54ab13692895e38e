-- The time now.
select now() as "now!";
