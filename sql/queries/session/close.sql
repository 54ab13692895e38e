-- Closes sessions ($1) for reasons ($2).
select close_session(closing.id, closing.reason) from unnest($1::uuid[], $2::text[]) as closing (id, reason)
