-- Sealed values are nonce and ciphertext; the key is in a file of its own beside the database.

CREATE TABLE project_secrets (
    project TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    sealed  BLOB NOT NULL,
    PRIMARY KEY (project, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoints (
    prefix     TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    base_url   TEXT NOT NULL,
    sealed_key BLOB,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE model_notes (
    model     TEXT PRIMARY KEY NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0,
    aptitude  TEXT -- llm::Aptitude
) STRICT;
