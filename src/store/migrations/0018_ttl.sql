-- A time to live counts from when the run may start, so it begins anew when that is moved.
ALTER TABLE runs ADD COLUMN ttl_ms INTEGER;
UPDATE runs SET ttl_ms = expires_at - COALESCE(due_at, created_at) WHERE expires_at IS NOT NULL;
