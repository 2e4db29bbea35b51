-- Which projects sent which files. The bytes are in the folder `attachments`, once for all of them.

CREATE TABLE attachments (
    project TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id      TEXT NOT NULL,
    PRIMARY KEY (project, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX attachments_by_id ON attachments (id);
