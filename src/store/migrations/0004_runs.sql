-- Runs for many callers: trees, priorities, time to live, keys of the API, tags; steps; counts and errors that are kept
-- as runs change, because counting 100,000 rows for each look at a page is too slow.

ALTER TABLE runs ADD COLUMN root TEXT;                         -- the run at the top of its tree; none at the top
ALTER TABLE runs ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; -- seconds ahead of its time
ALTER TABLE runs ADD COLUMN expires_at INTEGER;                -- must have started by then
ALTER TABLE runs ADD COLUMN key_expires_at INTEGER;            -- the idempotency key is free again then
ALTER TABLE runs ADD COLUMN owner TEXT;                        -- the API key that submitted it
ALTER TABLE runs ADD COLUMN queue TEXT;
ALTER TABLE runs ADD COLUMN batch TEXT;
ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';   -- JSON array of strings
ALTER TABLE runs ADD COLUMN metadata TEXT;                     -- JSON
ALTER TABLE runs ADD COLUMN fingerprint TEXT;                  -- of the error, without what differs from run to run

-- The rowid, and so the order of submission, is the last column of each of these.
CREATE INDEX runs_by_status ON runs (status);
CREATE INDEX runs_by_task ON runs (task, status);
CREATE INDEX runs_by_fingerprint ON runs (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX runs_by_owner ON runs (owner) WHERE owner IS NOT NULL;
CREATE INDEX runs_by_batch ON runs (batch) WHERE batch IS NOT NULL;
CREATE INDEX runs_by_created ON runs (created_at);

CREATE TABLE run_tags (
    tag TEXT NOT NULL,
    n   INTEGER NOT NULL,
    PRIMARY KEY (tag, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    run         TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    output      TEXT, -- JSON; there means done, and never done again
    error       TEXT  -- domain::ApiError
) STRICT;

CREATE INDEX steps_by_run ON steps (run, n);

CREATE TABLE batches (
    id         TEXT PRIMARY KEY NOT NULL,
    owner      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    run_count  INTEGER NOT NULL,
    sealed     INTEGER NOT NULL DEFAULT 0,
    idempotency_key TEXT
) STRICT;

CREATE UNIQUE INDEX batches_by_key ON batches (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE batch_items (
    batch TEXT NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    idx   INTEGER NOT NULL,
    run   TEXT NOT NULL,
    PRIMARY KEY (batch, idx)
) STRICT, WITHOUT ROWID;

-- Projects that belong to an API key, made for its sandboxes.
CREATE TABLE owned_projects (
    project TEXT PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    owner   TEXT NOT NULL
) STRICT;

CREATE TABLE run_counts (
    task   TEXT NOT NULL,
    status TEXT NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (task, status)
) STRICT, WITHOUT ROWID;

INSERT INTO run_counts SELECT task, status, COUNT(*) FROM runs GROUP BY task, status;

CREATE TABLE run_errors (
    fingerprint TEXT PRIMARY KEY NOT NULL,
    task        TEXT NOT NULL,
    message     TEXT NOT NULL,
    n           INTEGER NOT NULL,
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    last_run    TEXT NOT NULL
) STRICT;

CREATE INDEX run_errors_by_last ON run_errors (last_at);

CREATE TRIGGER runs_counted_in AFTER INSERT ON runs BEGIN
    INSERT INTO run_counts VALUES (NEW.task, NEW.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER runs_counted_over AFTER UPDATE OF status ON runs WHEN NEW.status <> OLD.status BEGIN
    UPDATE run_counts SET n = n - 1 WHERE task = OLD.task AND status = OLD.status;
    INSERT INTO run_counts VALUES (NEW.task, NEW.status, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER runs_counted_out AFTER DELETE ON runs BEGIN
    UPDATE run_counts SET n = n - 1 WHERE task = OLD.task AND status = OLD.status;
    DELETE FROM run_tags WHERE n = OLD.n AND tag IN (SELECT value FROM json_each(OLD.tags));
    UPDATE run_errors SET n = n - 1 WHERE fingerprint = OLD.fingerprint;
    DELETE FROM run_errors WHERE fingerprint = OLD.fingerprint AND n <= 0;
END;

CREATE TRIGGER runs_failed AFTER UPDATE OF fingerprint ON runs
WHEN NEW.fingerprint IS NOT NULL AND OLD.fingerprint IS NULL BEGIN
    INSERT INTO run_errors VALUES (
        NEW.fingerprint, NEW.task, json_extract(NEW.error, '$.message'), 1, NEW.finished_at, NEW.finished_at, NEW.id
    ) ON CONFLICT DO UPDATE SET n = n + 1, last_at = excluded.last_at, last_run = excluded.last_run,
        message = excluded.message;
END;

-- Keys of the server's own, made when they are first needed.
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;
