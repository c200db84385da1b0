-- In clear: realms, epochs, times, states, and keyed digests. Tokens and whom they stand for are
-- sealed.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row a token. `subject` and `token` are keyed digests with the realm in them; of a revoked one
-- only the digest of the token is left, so that nothing is linked with it again. Numbers are never
-- used twice: `rotations` go by them.
CREATE TABLE tokens (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    token   BLOB NOT NULL UNIQUE,
    subject BLOB,
    realm   TEXT NOT NULL,
    epoch   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('current', 'rotated', 'revoked')),
    until   INTEGER,
    sealed  BLOB,
    UNIQUE (subject, epoch),
    CHECK ((state = 'revoked') = (sealed IS NULL)),
    CHECK ((state = 'revoked') = (subject IS NULL)),
    CHECK ((state = 'rotated') = (until IS NOT NULL))
);
CREATE INDEX tokens_that_expire ON tokens (until) WHERE until IS NOT NULL;

-- Each one row, however many tokens it ends: those of the realm that are numbered up to `up_to`, but
-- for those that an earlier one has ended. `swept` is how far they are deleted.
CREATE TABLE rotations (
    id    INTEGER PRIMARY KEY,
    realm TEXT NOT NULL,
    at    INTEGER NOT NULL,
    up_to INTEGER NOT NULL,
    until INTEGER NOT NULL,
    swept INTEGER NOT NULL
);
