-- Keys of programs. Only a digest is kept: a key is shown once, when it is made.
CREATE TABLE api_keys (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT UNIQUE NOT NULL,
    kind       TEXT NOT NULL, -- store::KeyKind
    name       TEXT NOT NULL,
    digest     TEXT UNIQUE NOT NULL,
    hint       TEXT NOT NULL, -- the last characters
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- Sandboxes, snapshots and templates made over the e2b API. `record` is the serde form of the type named beside it.
CREATE TABLE fleet_sandboxes (
    id         TEXT PRIMARY KEY NOT NULL,
    owner      TEXT NOT NULL REFERENCES api_keys (id),
    created_at INTEGER NOT NULL,
    record     TEXT NOT NULL -- sandbox::fleet::Record
) STRICT;

CREATE TABLE fleet_images (
    id         TEXT PRIMARY KEY NOT NULL,
    owner      TEXT NOT NULL REFERENCES api_keys (id),
    created_at INTEGER NOT NULL,
    record     TEXT NOT NULL -- sandbox::fleet::Image
) STRICT;
