-- name: insert_stream
INSERT INTO streams (node, name) VALUES (?, ?) ON CONFLICT DO NOTHING
-- name: select_stream
SELECT id FROM streams WHERE node = ? AND name = ?
-- name: select_streams
SELECT id, name, last, delivered, tallied, bytes FROM streams WHERE node = ?
-- name: select_every_stream
SELECT id, node, name, last, delivered FROM streams ORDER BY id
-- name: update_stream
UPDATE streams SET last = ?, delivered = ?, tallied = ?, bytes = ? WHERE id = ?

-- name: insert_block
INSERT INTO blocks (position, last, time_ns, aged_ns, blobs, codec, checksum, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
-- name: select_block
SELECT position, last, time_ns, aged_ns, blobs, codec, checksum, payload
FROM blocks WHERE position = ?
-- name: select_blocks
SELECT position, last, time_ns, aged_ns, blobs, codec, checksum, payload
FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position
-- name: select_blocks_newest_first
SELECT position, last, time_ns, aged_ns, blobs, codec, checksum, payload
FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position DESC
-- name: select_headers
SELECT position, last, aged_ns, length(payload) FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position
-- name: select_oldest
SELECT position, last, time_ns, aged_ns FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position LIMIT 1
-- name: select_newest
SELECT position, last, time_ns, aged_ns FROM blocks WHERE position BETWEEN ? AND ? ORDER BY position DESC LIMIT 1
-- name: sum_bytes
SELECT count(*), coalesce(sum(length(payload)), 0) FROM blocks WHERE position BETWEEN ? AND ?
-- name: count_records
SELECT coalesce(sum(min(last, :through) - max(position & 1099511627775, :after + 1) + 1), 0)
FROM blocks WHERE position BETWEEN :low AND :high AND last > :after
-- name: delete_blocks
DELETE FROM blocks WHERE position BETWEEN ? AND ?

-- name: insert_blob_ref
INSERT OR IGNORE INTO blob_refs (position, digest) VALUES (?, ?)
-- name: delete_blob_refs
DELETE FROM blob_refs WHERE position BETWEEN ? AND ? RETURNING digest
-- name: select_blob_ref
SELECT 1 FROM blob_refs WHERE digest = ? LIMIT 1
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
-- name: delete_losses
DELETE FROM losses WHERE stream = ? AND consumer = ?
-- name: sum_losses
SELECT coalesce(sum(count), 0) FROM losses WHERE stream = ? AND consumer = ? AND first > ?
-- name: select_losses
SELECT node, name, consumer, first, losses.last, count, reason, time_ns
FROM losses JOIN streams ON streams.id = losses.stream
WHERE :stream = '' OR name = :stream ORDER BY losses.id
