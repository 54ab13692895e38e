-- Postpones the next look for the unknown delivery $1 to $2.
update delivery set due_at = $2, lease_token = null, leased_until = null, updated_at = now() where id = $1
