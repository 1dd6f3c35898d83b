-- name: reports
SELECT node, seen_ns, report FROM fleet_reports
-- name: keep_report
INSERT INTO fleet_reports (node, seen_ns, report) VALUES (:node, :seen_ns, :report)
ON CONFLICT (node) DO UPDATE SET seen_ns = excluded.seen_ns, report = excluded.report
-- name: keep_seen
UPDATE fleet_reports SET seen_ns = :seen_ns WHERE node = :node
-- name: forget_report
DELETE FROM fleet_reports WHERE node = :node

-- name: counted
SELECT counted_by, node, stream, last, acked, pending, dropped FROM fleet_counted
-- name: keep_counted
INSERT INTO fleet_counted (counted_by, node, stream, last, acked, pending, dropped)
VALUES (:counted_by, :node, :stream, :last, :acked, :pending, :dropped)
ON CONFLICT (counted_by, node, stream) DO UPDATE SET last = excluded.last, acked = excluded.acked,
    pending = excluded.pending, dropped = excluded.dropped
-- name: forget_counted
DELETE FROM fleet_counted WHERE counted_by = :node

-- name: kept
SELECT kept_ns FROM fleet_reports_kept
-- name: keep_kept
UPDATE fleet_reports_kept SET kept_ns = :now_ns
