-- What was said of two subjects: merged, renamed, linked, unlinked. Rows are only ever added, one for
-- each of the two, so that one look finds what was said of a subject. In clear: keyed digests, the
-- message, its feed and when it came, and what was said. Who the two are is sealed.
CREATE TABLE acts (
    subject BLOB NOT NULL,
    number  INTEGER NOT NULL,
    nth     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    feed    TEXT NOT NULL,
    act     TEXT NOT NULL CHECK (act IN ('merge', 'rekey', 'link', 'unlink')),
    side    TEXT NOT NULL CHECK (side IN ('from', 'into')),
    other   BLOB NOT NULL,
    sealed  BLOB NOT NULL,
    PRIMARY KEY (subject, number, nth)
) WITHOUT ROWID;

CREATE TRIGGER acts_are_not_changed BEFORE UPDATE ON acts
BEGIN SELECT RAISE(ABORT, 'an act is never changed'); END;
CREATE TRIGGER acts_are_not_deleted BEFORE DELETE ON acts
BEGIN SELECT RAISE(ABORT, 'an act is never deleted'); END;

-- How each subject was last described: 8 bytes of a keyed digest each of name, birth date and sex; 0
-- where nothing was said.
CREATE TABLE profiles (
    subject BLOB PRIMARY KEY,
    profile BLOB NOT NULL
) WITHOUT ROWID;
