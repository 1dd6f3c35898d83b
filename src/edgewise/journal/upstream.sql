-- name: create
CREATE TABLE IF NOT EXISTS upstream (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    media_type TEXT NOT NULL
)
-- name: insert_mark
INSERT OR IGNORE INTO upstream (digest, media_type) VALUES (?, ?)
-- name: select_mark
SELECT media_type FROM upstream WHERE digest = ?
-- name: select_digests
SELECT digest FROM upstream
-- name: delete_mark
DELETE FROM upstream WHERE digest = ?
-- name: delete_all
DELETE FROM upstream
-- name: delete_oldest
DELETE FROM upstream WHERE number <= (SELECT max(number) FROM upstream) - ?
