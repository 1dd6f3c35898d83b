-- name: insert_person
INSERT INTO people (name, preferences, photo, created_ns, updated_ns) VALUES (?, ?, ?, ?, ?)
-- name: update_person
UPDATE people SET preferences = ?, photo = coalesce(photo, ?), updated_ns = ? WHERE id = ?
-- name: delete_person
DELETE FROM people WHERE name = ?
-- name: select_person
SELECT id, preferences FROM people WHERE name = ?
-- name: select_people
SELECT p.name, p.preferences, p.photo IS NOT NULL, p.created_ns, p.updated_ns,
    (SELECT count(*) FROM embeddings WHERE person = p.id)
FROM people p WHERE :name IS NULL OR p.name = :name ORDER BY p.id
-- name: select_names
SELECT name FROM people
-- name: select_photo
SELECT photo FROM people WHERE name = ?
-- name: count_people
SELECT count(*) FROM people
-- name: insert_embedding
INSERT INTO embeddings (person, model, vector) VALUES (?, ?, ?)
-- name: count_embeddings
SELECT count(*) FROM embeddings WHERE person = ?
-- name: select_embeddings
SELECT p.name, e.model, e.vector FROM embeddings e JOIN people p ON p.id = e.person ORDER BY e.id
-- name: select_setting
SELECT value FROM settings WHERE key = ?
-- name: upsert_setting
INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
