-- Makes an agent ($1) of a project ($2) with a name ($3). Its first version follows in the same
-- transaction: the constraint agents_current_version_exists is checked at the commit.
insert into agent (id, project_id, name) values ($1, $2, $3)
