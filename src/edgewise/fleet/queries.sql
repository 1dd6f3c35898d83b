-- name: revision
SELECT number FROM fleet_revision
-- name: count_up
UPDATE fleet_revision SET number = number + 1

-- name: children
SELECT name, key, rotations, journal, labels, joined_ns, authority FROM fleet_children ORDER BY name
-- name: add_child
INSERT INTO fleet_children (name, key, rotations, journal, labels, joined_ns, authority)
VALUES (:name, :key, 0, :journal, :labels, :now_ns, :authority)
-- name: set_child
UPDATE fleet_children SET key = :key, rotations = :rotations, labels = :labels WHERE name = :name
-- name: set_authority
UPDATE fleet_children SET authority = :authority WHERE name = :name
-- name: remove_child
DELETE FROM fleet_children WHERE name = :name

-- name: revoked
SELECT key FROM fleet_revoked
-- name: add_revoked
INSERT INTO fleet_revoked (key, name, revoked_ns) VALUES (:key, :name, :now_ns) ON CONFLICT (key) DO NOTHING

-- name: invitation
SELECT digest, expires_ns, node, labels, used_by FROM fleet_invitations WHERE digest = :digest
-- name: invitations
SELECT digest, expires_ns, node, labels, used_by FROM fleet_invitations ORDER BY expires_ns
-- name: count_invitations
SELECT count(*) FROM fleet_invitations
-- name: add_invitation
INSERT INTO fleet_invitations (digest, expires_ns, node, labels, used_by)
VALUES (:digest, :expires_ns, :node, :labels, '')
-- name: use_invitation
UPDATE fleet_invitations SET used_by = :used_by, node = :node WHERE digest = :digest
-- name: forget_invitations
DELETE FROM fleet_invitations WHERE expires_ns < :before_ns
-- name: remove_invitation
DELETE FROM fleet_invitations WHERE digest = :digest

-- name: routes
SELECT node, child, labels, told FROM fleet_routes
-- name: add_route
INSERT INTO fleet_routes (node, child) VALUES (:node, :child)
-- name: set_labels
UPDATE fleet_routes SET labels = :labels WHERE node = :node
-- name: set_told
UPDATE fleet_routes SET told = :told WHERE node = :node
-- name: remove_route
DELETE FROM fleet_routes WHERE node = :node
-- name: remove_routes
DELETE FROM fleet_routes WHERE child = :child
