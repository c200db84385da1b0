-- What the newest records are found by, until it is in `found`: a row for each transaction. Things lie
-- anywhere in `found`, so that each record by itself would write three pages of it; many at once share
-- them. `keys` has 16 bytes for each thing and record, in order: the key and the number, both
-- big-endian. `key` is one thing that the record `last` is found by.
CREATE TABLE lately (
    first INTEGER PRIMARY KEY,
    last  INTEGER NOT NULL,
    key   INTEGER NOT NULL,
    keys  BLOB NOT NULL
);

CREATE TRIGGER lately_is_appended BEFORE INSERT ON lately
WHEN NEW.last < NEW.first
  OR NEW.first <= coalesce((SELECT last FROM lately ORDER BY first DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ABORT, 'what records are found by follows what the ones before are'); END;
CREATE TRIGGER lately_is_not_changed BEFORE UPDATE ON lately
BEGIN SELECT RAISE(ABORT, 'what a record is found by is never changed'); END;
CREATE TRIGGER lately_is_found_before_it_leaves BEFORE DELETE ON lately
WHEN NOT EXISTS (SELECT 1 FROM found WHERE key = OLD.key AND number = OLD.last)
BEGIN SELECT RAISE(ABORT, 'what a record is found by stays as long as it'); END;
