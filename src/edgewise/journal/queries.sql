-- name: insert_stream
INSERT INTO streams (node, name) VALUES (?, ?) ON CONFLICT DO NOTHING
-- name: select_stream
SELECT id FROM streams WHERE node = ? AND name = ?
-- name: select_every_stream
SELECT id, node, name, last, delivered, floor FROM streams ORDER BY id
-- name: update_stream
UPDATE streams SET last = ?, delivered = ?, floor = ? WHERE id = ?

-- name: select_state
SELECT state FROM log
-- name: update_state
UPDATE log SET state = ?
-- name: select_identity
SELECT identity FROM log
-- name: update_identity
UPDATE log SET identity = ?
-- name: insert_segment
INSERT INTO segments (number, salt) VALUES (?, ?)
-- name: update_segment
UPDATE segments SET size = ? WHERE number = ?
-- name: select_segments
SELECT number, salt, size FROM segments ORDER BY number
-- name: delete_segment
DELETE FROM segments WHERE number = ?
-- name: insert_run
INSERT INTO runs (stream, first, last, segment, records, size, aged_ns, time_ns, columns)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
-- name: update_run
UPDATE runs SET last = ?, records = ?, size = ?, columns = ? WHERE stream = ? AND first = ?
-- name: select_runs
SELECT stream, first, last, segment, records, size, aged_ns, time_ns FROM runs ORDER BY stream, first
-- name: select_columns
SELECT columns FROM runs WHERE stream = ? AND first = ?
-- name: delete_run
DELETE FROM runs WHERE stream = ? AND first = ?
-- name: delete_runs
DELETE FROM runs WHERE stream = ?1 AND first <= ?2 AND last <= ?2
-- name: delete_runs_of
DELETE FROM runs WHERE segment = ?
-- name: insert_hole
INSERT INTO holes (stream, first, last) VALUES (?, ?, ?)
-- name: extend_hole
UPDATE holes SET last = ?1 WHERE stream = ?2 AND last = ?3 - 1
    AND first = (SELECT max(first) FROM holes WHERE stream = ?2 AND first < ?3)
-- name: select_holes_of
SELECT first, last FROM holes WHERE stream = ? ORDER BY first
-- name: select_holes_at
SELECT first, first, last FROM holes WHERE stream = ?1
    AND first BETWEEN coalesce((SELECT max(first) FROM holes WHERE stream = ?1 AND first < ?2), 0) AND ?3 ORDER BY first
-- name: delete_hole
DELETE FROM holes WHERE stream = ? AND first = ?
-- name: delete_holes
DELETE FROM holes WHERE stream = ?1 AND first <= ?2 AND last <= ?2

-- name: insert_blob_ref
INSERT OR IGNORE INTO blob_refs (position, digest) VALUES (?, ?)
-- name: delete_blob_refs
DELETE FROM blob_refs WHERE position BETWEEN ? AND ? RETURNING digest
-- name: select_blob_ref_of
SELECT 1 FROM blob_refs WHERE position BETWEEN ? AND ? LIMIT 1
-- name: select_blob_ref
SELECT 1 FROM blob_refs WHERE digest = ? LIMIT 1
-- name: select_pointers
SELECT position >> 40, min(position) FROM blob_refs WHERE digest = ? GROUP BY 1
-- name: select_blob_refs
SELECT DISTINCT digest FROM blob_refs

-- name: upsert_consumer
INSERT INTO consumers
    (stream, name, start, missed, acked, delivered, lent_first, lent, attempts, lease_until_ns)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (stream, name) DO UPDATE SET acked = excluded.acked, delivered = excluded.delivered,
    lent_first = excluded.lent_first, lent = excluded.lent, attempts = excluded.attempts,
    lease_until_ns = excluded.lease_until_ns
-- name: select_consumers
SELECT name, start, missed, acked, delivered, lent_first, lent, attempts, lease_until_ns
FROM consumers WHERE stream = ? ORDER BY name
-- name: delete_consumer
DELETE FROM consumers WHERE stream = ? AND name = ?

-- name: insert_loss
INSERT INTO losses (stream, consumer, first, last, count, reason, time_ns) VALUES (?, ?, ?, ?, ?, ?, ?)
-- name: select_last_loss
SELECT id, last, reason, time_ns FROM losses WHERE stream = ? AND consumer = ? ORDER BY id DESC LIMIT 1
-- name: extend_loss
UPDATE losses SET last = ?, count = count + ? WHERE id = ?
-- name: select_thinned
SELECT id, first, last FROM losses WHERE stream = ?1 AND consumer = ?2 AND reason = 'thinned'
    AND first BETWEEN coalesce((SELECT max(first) FROM losses
        WHERE stream = ?1 AND consumer = ?2 AND reason = 'thinned' AND first < ?3), 0) AND ?4 ORDER BY first
-- name: delete_loss
DELETE FROM losses WHERE id = ?
-- name: delete_losses
DELETE FROM losses WHERE stream = ? AND consumer = ?
-- name: sum_losses
SELECT coalesce(sum(count), 0) FROM losses WHERE stream = ? AND consumer = ? AND first > ?
-- name: sum_dropped_of
SELECT coalesce(sum(count), 0) FROM losses WHERE stream = ? AND consumer = ''
-- name: sum_dropped
SELECT coalesce(sum(count), 0) FROM losses WHERE consumer = ''
-- name: select_missing
SELECT first, last, reason FROM losses WHERE stream = ? AND consumer IN (?, '') AND last > ? AND first <= ?
-- name: select_losses
SELECT node, name, consumer, first, losses.last, count, reason, time_ns
FROM losses JOIN streams ON streams.id = losses.stream
WHERE :stream = '' OR name = :stream ORDER BY losses.id

-- name: select_old_table
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'blocks'
-- name: select_old_heads
SELECT position, last FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position
-- name: select_old_blocks
SELECT position, last, time_ns, aged_ns, blobs, codec, checksum, payload FROM blocks ORDER BY position
-- name: select_newest_old_block
SELECT position, last, time_ns, aged_ns, blobs, codec, checksum, payload
FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position DESC LIMIT 1
-- name: delete_old_blocks
DELETE FROM blocks WHERE position <= ?
-- name: drop_old_blocks
DROP TABLE blocks
