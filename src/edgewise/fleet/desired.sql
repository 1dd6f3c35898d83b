-- name: position
SELECT epoch, number FROM fleet_position
-- name: begin
INSERT INTO fleet_position (one, epoch, number) VALUES (1, :epoch, 0) ON CONFLICT (one) DO NOTHING
-- name: count_up
UPDATE fleet_position SET number = number + 1

-- name: document
SELECT by_node, revision, document FROM fleet_documents WHERE kind = :kind AND name = :name
-- name: documents
SELECT name, document FROM fleet_documents WHERE kind = :kind
-- name: names
SELECT name FROM fleet_documents WHERE kind = :kind ORDER BY name
-- name: put_document
INSERT INTO fleet_documents (kind, name, by_node, revision, document, changed_ns)
VALUES (:kind, :name, :by_node, :revision, :document, :now_ns)
ON CONFLICT (kind, name) DO UPDATE SET by_node = excluded.by_node, revision = excluded.revision,
    document = excluded.document, changed_ns = excluded.changed_ns
-- name: remove_document
DELETE FROM fleet_documents WHERE kind = :kind AND name = :name

-- name: desired
SELECT node, by_node, revision, document FROM fleet_desired WHERE node = :node
-- name: places
SELECT node, child, sequence FROM fleet_desired WHERE sequence > :after
-- name: page
SELECT node, by_node, revision, document, sequence FROM fleet_desired
WHERE child = :child AND sequence > :after ORDER BY sequence LIMIT :most
-- name: put_desired
INSERT INTO fleet_desired (node, child, by_node, revision, document, sequence)
VALUES (:node, :child, :by_node, :revision, :document, :sequence)
ON CONFLICT (node) DO UPDATE SET child = excluded.child, by_node = excluded.by_node, revision = excluded.revision,
    document = excluded.document, sequence = excluded.sequence
-- name: move_desired
UPDATE fleet_desired SET child = :child, sequence = :sequence WHERE node = :node

-- name: state
SELECT report, heard_ns FROM fleet_states WHERE node = :node
-- name: states
SELECT report FROM fleet_states
-- name: put_state
INSERT INTO fleet_states (node, report, heard_ns) VALUES (:node, :report, :now_ns)
ON CONFLICT (node) DO UPDATE SET report = excluded.report, heard_ns = excluded.heard_ns
