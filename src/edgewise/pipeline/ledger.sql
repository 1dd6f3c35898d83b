-- name: insert_key
INSERT INTO keys (key, time_ns, unconfirmed) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET unconfirmed = excluded.unconfirmed
-- name: confirm_keys
UPDATE keys SET unconfirmed = '' WHERE unconfirmed = ? AND unconfirmed != ''
-- name: select_unconfirmed
SELECT DISTINCT unconfirmed FROM keys WHERE unconfirmed != ''
-- name: delete_key
DELETE FROM keys WHERE key = ?
-- name: select_keys
SELECT key FROM keys ORDER BY rowid
-- name: upsert_hold
INSERT INTO holds (device, origin, cause, since_ns, until_ns) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (device) DO UPDATE SET
    origin = excluded.origin, cause = excluded.cause, since_ns = excluded.since_ns, until_ns = excluded.until_ns
-- name: delete_hold
DELETE FROM holds WHERE device = ?
-- name: select_holds
SELECT device, origin, cause, since_ns, until_ns FROM holds
