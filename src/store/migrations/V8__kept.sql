-- What feeds remember: how far they have come, whom they know, what they saw last. What was written
-- longest ago goes first where a feed has more of a kind than it may keep.
CREATE TABLE kept (
    feed  TEXT NOT NULL,
    kind  TEXT NOT NULL,
    key   BLOB NOT NULL,
    mark  INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (feed, kind, key)
) WITHOUT ROWID;
CREATE INDEX kept_by_mark ON kept (feed, kind, mark);
