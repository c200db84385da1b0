-- Which transitions of visits a route's sources told so far (`once`). `transition` is a keyed digest,
-- `told` is sealed; `turn` grows with each change on the route, so that the oldest are known.
CREATE TABLE once (
    route TEXT NOT NULL,
    transition BLOB NOT NULL,
    turn INTEGER NOT NULL,
    at INTEGER NOT NULL,
    told BLOB NOT NULL,
    PRIMARY KEY (route, transition)
) WITHOUT ROWID;
CREATE INDEX once_by_turn ON once (route, turn);
CREATE INDEX once_by_time ON once (at);
