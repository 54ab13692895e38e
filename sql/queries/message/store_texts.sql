-- Writes texts as they were decided: what they do to their sessions and their attachments ($1), and
-- their messages ($2).
select store_texts($1, $2)
