-- Writes a version of an agent.
insert into agent_version (agent_id, version, spec, greeting, first_message, debounce_seconds, error_message,
                           warn_after_seconds, grace_seconds, warning, closing, max_segments, smart_encoding, max_messages_per_turn,
                           reads_history, reactions, markdown, links, allowed_link_hosts, allowed_phone_numbers)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
