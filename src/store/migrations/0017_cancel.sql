-- A request to stop a run outlives the server: the run may still execute when the server dies.
ALTER TABLE runs ADD COLUMN cancel_requested_at INTEGER;
