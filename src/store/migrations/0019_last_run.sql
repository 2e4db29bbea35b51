-- The last run of an error is one that is still there, also after a project was deleted with its runs.
DROP TRIGGER runs_counted_out;

CREATE TRIGGER runs_counted_out AFTER DELETE ON runs BEGIN
    UPDATE run_counts SET n = n - 1 WHERE task = OLD.task AND status = OLD.status;
    DELETE FROM run_tags WHERE n = OLD.n AND tag IN (SELECT value FROM json_each(OLD.tags));
    UPDATE run_errors SET n = n - 1 WHERE fingerprint = OLD.fingerprint;
    DELETE FROM run_errors WHERE fingerprint = OLD.fingerprint AND n <= 0;
    UPDATE run_errors SET (last_run, last_at, message) = (
        SELECT id, finished_at, json_extract(error, '$.message') FROM runs
        WHERE fingerprint = OLD.fingerprint ORDER BY n DESC LIMIT 1
    ) WHERE fingerprint = OLD.fingerprint AND last_run = OLD.id;
END;

UPDATE run_errors SET (last_run, last_at, message) = (
    SELECT id, finished_at, json_extract(error, '$.message') FROM runs
    WHERE fingerprint = run_errors.fingerprint ORDER BY n DESC LIMIT 1
) WHERE last_run NOT IN (SELECT id FROM runs)
    AND EXISTS (SELECT 1 FROM runs WHERE fingerprint = run_errors.fingerprint);
