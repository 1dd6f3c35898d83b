CREATE TABLE people (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    preferences TEXT NOT NULL,
    photo BLOB,
    created_ns INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL
);

-- One row per enrolled photo: float32, little-endian, unit length; comparable only within one model.
CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX embeddings_by_person ON embeddings (person);

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value REAL NOT NULL
) WITHOUT ROWID;
