-- The newest migration that was applied, and whether this database only reads (a standby, or set so).
select max(version) as version, current_setting('transaction_read_only') = 'on' as "is_read_only!" from _sqlx_migrations where success
