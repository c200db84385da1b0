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
