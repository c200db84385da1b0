-- What has the same key, by a keyed digest of it, so that a record that says nothing new is found
-- without a look at all that a subject decided. Empty: written before this column was.
ALTER TABLE consents ADD COLUMN key BLOB NOT NULL DEFAULT x'';
CREATE INDEX consents_by_key ON consents (subject, key);

-- The latest version of a record that was left out, since the ledger had said the same.
CREATE TABLE restated (
    subject BLOB NOT NULL,
    key     BLOB NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (subject, key)
) WITHOUT ROWID;

-- When time alone may next change what is answered about a subject, in milliseconds since 1970.
-- The subject is sealed: of its digest no event can be made.
CREATE TABLE due (
    subject BLOB PRIMARY KEY,
    at      INTEGER NOT NULL,
    sealed  BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX due_by_time ON due (at);

-- Ends of records that were told, each once, whatever the clock does.
CREATE TABLE expired (
    subject BLOB NOT NULL,
    number  INTEGER NOT NULL,
    nth     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (subject, number, nth, at)
) WITHOUT ROWID;
