-- In clear: times, feeds, types, statuses, and keyed digests. All else is sealed.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Keys of this store, each wrapped by the master key.
CREATE TABLE keys (
    id      INTEGER PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('digest', 'data')),
    made_at INTEGER NOT NULL,
    wrapped BLOB NOT NULL
);

-- The journal. The highest number is never deleted, so that no number is used twice.
CREATE TABLE messages (
    number  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    feed    TEXT NOT NULL,
    type    TEXT NOT NULL,
    status  TEXT NOT NULL CHECK (status IN ('admitted', 'parked', 'unsupported', 'refused')),
    epoch   INTEGER NOT NULL,
    content BLOB NOT NULL,
    raw     BLOB NOT NULL
);

-- What was acknowledged positively, by keyed digest of what it is recognized by.
CREATE TABLE correlations (
    key     BLOB NOT NULL,
    epoch   INTEGER NOT NULL,
    content BLOB NOT NULL,
    at      INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (key, epoch)
) WITHOUT ROWID;

-- What needs a human; two of a kind are one, counted. `number` is the message that it shows.
CREATE TABLE exceptions (
    id       INTEGER PRIMARY KEY,
    category TEXT NOT NULL,
    feed     TEXT NOT NULL,
    key      BLOB NOT NULL,
    number   INTEGER NOT NULL,
    type     TEXT NOT NULL,
    place    TEXT NOT NULL,
    text     TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    UNIQUE (feed, category, key)
);
CREATE INDEX exceptions_by_message ON exceptions (number);

-- How far each route has come: every event up to and including this message is delivered.
CREATE TABLE cursors (
    route    TEXT PRIMARY KEY,
    number   INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL
) WITHOUT ROWID;
