-- One row per (node, stream). ``last`` is the newest sequence given that no stored block shows any more (it was removed,
-- or never kept); ``delivered`` counts records removed after every consumer acknowledged them; ``bytes`` is the size of
-- the blocks that begin at or before ``tallied``.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    last INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    tallied INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (node, name)
);

-- One row per accepted block: the records position & 0xFFFFFFFFFF .. last of stream position >> 40, without gaps.
-- ``aged_ns`` is the journal's own clock, for retention; ``blobs`` counts the rows of blob_refs that belong to it.
CREATE TABLE blocks (
    position INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    aged_ns INTEGER NOT NULL,
    blobs INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    payload BLOB NOT NULL
);

CREATE TABLE blob_refs (
    position INTEGER NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (position, digest)
) WITHOUT ROWID;
CREATE INDEX blob_refs_by_digest ON blob_refs (digest);

CREATE TABLE consumers (
    stream INTEGER NOT NULL REFERENCES streams (id),
    name TEXT NOT NULL,
    start INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    acked INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    lent_first INTEGER NOT NULL,
    lent INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lease_until_ns INTEGER NOT NULL,
    PRIMARY KEY (stream, name)
) WITHOUT ROWID;

-- The loss ledger. Lines are joined while they touch and are young, else only added.
CREATE TABLE losses (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams (id),
    consumer TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    time_ns INTEGER NOT NULL
);
CREATE INDEX losses_by_consumer ON losses (stream, consumer, id);
