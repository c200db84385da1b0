-- The consent ledger: records are only ever added. In clear: a keyed digest of the subject, the
-- message that brought a record, its feed and when it came, and whether it closes every purpose. The
-- record is sealed.
CREATE TABLE consents (
    subject BLOB NOT NULL,
    number  INTEGER NOT NULL,
    nth     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    feed    TEXT NOT NULL,
    closes  INTEGER NOT NULL,
    record  BLOB NOT NULL,
    PRIMARY KEY (subject, number, nth)
) WITHOUT ROWID;

-- Whether a subject was ever closed, without a look at all that it decided.
CREATE INDEX consents_that_close ON consents (subject) WHERE closes;

CREATE TRIGGER consents_are_not_changed BEFORE UPDATE ON consents
BEGIN SELECT RAISE(ABORT, 'a consent record is never changed'); END;
CREATE TRIGGER consents_are_not_deleted BEFORE DELETE ON consents
BEGIN SELECT RAISE(ABORT, 'a consent record is never deleted'); END;
