-- Evidence. Records name fields, codes, tokens and keyed digests; nothing in here is a patient's
-- value, and nothing is sealed: who verifies needs no key.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The chain. `bytes` is the record as it was written, `hash` is SHA-256 over the hash before it and
-- these bytes.
CREATE TABLE records (
    number INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL,
    bytes  BLOB NOT NULL
);

-- What records are found by: 64 bits of a hash.
CREATE TABLE found (
    key    INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (key, number)
) WITHOUT ROWID;

-- What was moved out of `records`, in the order of the chain.
CREATE TABLE segments (
    first       INTEGER PRIMARY KEY,
    last        INTEGER NOT NULL,
    hash_before BLOB NOT NULL,
    hash_after  BLOB NOT NULL,
    sha256      BLOB NOT NULL
);

-- Of what was moved out, the newest record for each subject and route by which something left, but
-- for the fates of its fields: a notice has to follow it, however old it is.
CREATE TABLE disclosed (
    subject BLOB NOT NULL,
    route   TEXT NOT NULL,
    number  INTEGER NOT NULL,
    bytes   BLOB NOT NULL,
    PRIMARY KEY (subject, route)
) WITHOUT ROWID;

CREATE TRIGGER records_are_appended BEFORE INSERT ON records
WHEN NEW.number <> coalesce((SELECT max(number) FROM records), 0) + 1
BEGIN SELECT RAISE(ABORT, 'a record is appended, or not written'); END;
CREATE TRIGGER records_are_not_changed BEFORE UPDATE ON records
BEGIN SELECT RAISE(ABORT, 'a record is never changed'); END;
CREATE TRIGGER records_are_archived_before_they_leave BEFORE DELETE ON records
WHEN OLD.number > coalesce((SELECT last FROM segments ORDER BY first DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ABORT, 'a record that is not archived is never deleted'); END;

CREATE TRIGGER found_is_not_changed BEFORE UPDATE ON found
BEGIN SELECT RAISE(ABORT, 'what a record is found by is never changed'); END;
CREATE TRIGGER found_leaves_with_its_record BEFORE DELETE ON found
WHEN OLD.number > coalesce((SELECT last FROM segments ORDER BY first DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ABORT, 'what a record is found by stays as long as it'); END;

CREATE TRIGGER segments_are_appended BEFORE INSERT ON segments
WHEN NEW.first <> coalesce((SELECT last FROM segments ORDER BY first DESC LIMIT 1), 0) + 1
  OR NEW.last < NEW.first
  OR NEW.last >= (SELECT max(number) FROM records)
BEGIN SELECT RAISE(ABORT, 'a segment follows the one before it, and is of records'); END;
CREATE TRIGGER segments_are_not_changed BEFORE UPDATE ON segments
BEGIN SELECT RAISE(ABORT, 'a segment is never changed'); END;
CREATE TRIGGER segments_are_not_deleted BEFORE DELETE ON segments
BEGIN SELECT RAISE(ABORT, 'a segment is never deleted'); END;

CREATE TRIGGER disclosed_goes_forward BEFORE UPDATE ON disclosed
WHEN NEW.number < OLD.number OR NEW.subject <> OLD.subject OR NEW.route <> OLD.route
BEGIN SELECT RAISE(ABORT, 'only a newer record takes the place of an older one'); END;
CREATE TRIGGER disclosed_is_not_replaced_by_older BEFORE INSERT ON disclosed
WHEN EXISTS (SELECT 1 FROM disclosed WHERE subject = NEW.subject AND route = NEW.route
             AND number > NEW.number)
BEGIN SELECT RAISE(ABORT, 'only a newer record takes the place of an older one'); END;
CREATE TRIGGER disclosed_is_not_deleted BEFORE DELETE ON disclosed
BEGIN SELECT RAISE(ABORT, 'what was disclosed is never forgotten'); END;

CREATE TRIGGER meta_is_said_once BEFORE INSERT ON meta
WHEN EXISTS (SELECT 1 FROM meta WHERE name = NEW.name)
BEGIN SELECT RAISE(ABORT, 'what the chain is named by is said once'); END;
CREATE TRIGGER meta_is_not_changed BEFORE UPDATE ON meta
BEGIN SELECT RAISE(ABORT, 'what the chain is named by is never changed'); END;
CREATE TRIGGER meta_is_not_deleted BEFORE DELETE ON meta
BEGIN SELECT RAISE(ABORT, 'what the chain is named by is never deleted'); END;
