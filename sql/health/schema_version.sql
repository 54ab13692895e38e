-- The newest migration that was applied.
select max(version) from _sqlx_migrations where success
