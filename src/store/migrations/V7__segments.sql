-- The names of segments that have come in on each feed, each with the first message that held it.
CREATE TABLE segments (
    feed   TEXT NOT NULL,
    name   TEXT NOT NULL,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (feed, name)
) WITHOUT ROWID;
