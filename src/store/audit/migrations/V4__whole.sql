-- A record comes behind the newest one, and one that is refused ends its transaction: no other one of it
-- would be kept either. So SQLite need not keep, for each record, how its page was before it, which is
-- ten times as much as the record. It would for a number that is given, which it may have to refuse in
-- the middle: the daemon gives none, and SQLite takes the next.
DROP TRIGGER records_are_appended;
CREATE TRIGGER records_are_not_replaced BEFORE INSERT ON records
WHEN EXISTS (SELECT 1 FROM records WHERE number = NEW.number)
BEGIN SELECT RAISE(ROLLBACK, 'a record is never changed'); END;
CREATE TRIGGER records_are_appended AFTER INSERT ON records
WHEN NEW.number <> coalesce((SELECT max(number) FROM records WHERE number < NEW.number), 0) + 1
  OR EXISTS (SELECT 1 FROM records WHERE number > NEW.number)
BEGIN SELECT RAISE(ROLLBACK, 'a record is appended, or not written'); END;
