-- Which of the messages $1, that turns send outside their answers, were refused when they were
-- stored, and why.
select id, refusal_reason as "reason!" from scheduled_message where id = any ($1) and refusal_reason is not null
