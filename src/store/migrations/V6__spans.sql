-- The span of the journal that a route delivers shuffled, one for each such route: entries behind
-- `after`, up to and including `last`, each with so many slots for its events. The first `place` of all
-- slots in shuffled order are done, with `sequence` events before and among them. What they are
-- shuffled by is wrapped by the master key. A span that is done stays without it, for when it was due.
CREATE TABLE spans (
    route    TEXT PRIMARY KEY,
    due      INTEGER NOT NULL,
    after    INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    slots    INTEGER NOT NULL,
    key      BLOB NOT NULL,
    place    INTEGER NOT NULL,
    sequence INTEGER NOT NULL
) WITHOUT ROWID;
