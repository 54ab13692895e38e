-- Makes an agent ($1) of a project ($2) with a name ($3). Its first version follows in the same
-- transaction.
insert into agent (id, project_id, name) values ($1, $2, $3)
