-- A status more: a version of a resource that came after a newer one. What a CHECK allows is changed in
-- the schema alone, as SQLite describes it (lang_altertable, section 7): no row is written again.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''refused'')', '''refused'', ''superseded'')')
WHERE type = 'table' AND name = 'messages';
PRAGMA writable_schema = RESET;
