-- Times are Unix milliseconds. JSON columns hold the serde form of the type named beside them.

CREATE TABLE projects (
    id         TEXT PRIMARY KEY NOT NULL,
    created_at INTEGER NOT NULL,
    summary    TEXT NOT NULL -- domain::ProjectSummary
) STRICT;

CREATE TABLE events (
    project TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    body    TEXT NOT NULL, -- domain::EventBody
    PRIMARY KEY (project, seq)
) STRICT, WITHOUT ROWID;

-- The fold of a project's events up to seq, so that opening does not read the whole log.
CREATE TABLE snapshots (
    project TEXT PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    format  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    state   TEXT NOT NULL -- domain::ProjectState
) STRICT;

CREATE TABLE transcript (
    n       INTEGER PRIMARY KEY AUTOINCREMENT,
    project TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    turn    TEXT NOT NULL,
    step    INTEGER NOT NULL,
    idx     INTEGER NOT NULL,
    message TEXT NOT NULL, -- the model's own wire form
    UNIQUE (project, turn, step, idx)
) STRICT;

CREATE TABLE runs (
    n               INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT UNIQUE NOT NULL,
    task            TEXT NOT NULL,
    title           TEXT NOT NULL,
    status          TEXT NOT NULL,
    project         TEXT REFERENCES projects (id) ON DELETE CASCADE,
    parent          TEXT,
    call            TEXT,
    idempotency_key TEXT,
    lane            TEXT,
    payload         TEXT NOT NULL,
    output          TEXT,
    error           TEXT,             -- domain::ApiError
    attempt         INTEGER NOT NULL, -- attempts begun
    max_attempts    INTEGER NOT NULL,
    retry           TEXT NOT NULL,    -- workflow::RetryPolicy
    crashes         INTEGER NOT NULL, -- executions cut off by the death of the server
    interruptions   INTEGER NOT NULL, -- executions cut off by an orderly stop
    max_duration_ms INTEGER,
    due_at          INTEGER,          -- when it may start next
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    replay_of       TEXT
) STRICT;

CREATE UNIQUE INDEX runs_by_key ON runs (task, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_by_project ON runs (project, n);
CREATE INDEX runs_by_parent ON runs (parent, n) WHERE parent IS NOT NULL;
CREATE INDEX runs_open ON runs (n) WHERE finished_at IS NULL;
CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE attempts (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    run         TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    error       TEXT, -- domain::ApiError
    retry_at    INTEGER,
    crashed     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX attempts_by_run ON attempts (run, n);

CREATE TABLE run_logs (
    n       INTEGER PRIMARY KEY AUTOINCREMENT,
    run     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    level   TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt INTEGER NOT NULL
) STRICT;

CREATE INDEX run_logs_by_run ON run_logs (run, n);
