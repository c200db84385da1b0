-- What records are found by, in parts: things lie anywhere in one tree, so that with millions of records
-- each would write a page of it for each thing. A part is small enough that many at once share its
-- pages; who looks something up looks in each part.
CREATE TABLE parts (
    part   INTEGER NOT NULL,
    key    INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (part, key, number),
    CHECK (part = number >> 17)
) WITHOUT ROWID;
INSERT INTO parts (part, key, number)
SELECT number >> 17, key, number FROM found ORDER BY 1, 2, 3;
DROP TRIGGER lately_is_found_before_it_leaves;
DROP TABLE found;
ALTER TABLE parts RENAME TO found;

CREATE TRIGGER found_is_not_changed BEFORE UPDATE ON found
BEGIN SELECT RAISE(ABORT, 'what a record is found by is never changed'); END;
CREATE TRIGGER found_leaves_with_its_record BEFORE DELETE ON found
WHEN OLD.number > coalesce((SELECT last FROM segments ORDER BY first DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ABORT, 'what a record is found by stays as long as it'); END;
CREATE TRIGGER lately_is_found_before_it_leaves BEFORE DELETE ON lately
WHEN NOT EXISTS (SELECT 1 FROM found WHERE part = OLD.last >> 17 AND key = OLD.key AND number = OLD.last)
BEGIN SELECT RAISE(ABORT, 'what a record is found by stays as long as it'); END;
