-- Blocks move to segment files. What every block's row said stands in ``runs``, for segments that are full; the segment
-- being written is read when the journal is opened. The table ``blocks`` is emptied into segments and dropped then.

-- ``state`` is the number of the newest group that changed the database.
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    state INTEGER NOT NULL
);
INSERT INTO log (id, state) VALUES (1, 0);

-- The segment files; the one with the highest number is being written. ``size`` is that of its frames once it is full.
CREATE TABLE segments (
    number INTEGER PRIMARY KEY,
    salt INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT 0
);

-- Blocks of one stream in one full segment, in the order of their sequences; ``columns`` says where each lies.
CREATE TABLE runs (
    stream INTEGER NOT NULL REFERENCES streams (id),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    segment INTEGER NOT NULL REFERENCES segments (number),
    records INTEGER NOT NULL,
    size INTEGER NOT NULL,
    aged_ns INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    columns BLOB NOT NULL,
    PRIMARY KEY (stream, first)
);

-- Sequences past a stream's ``floor`` that no block holds and that the ledger (or a balance) has accounted for.
CREATE TABLE holes (
    stream INTEGER NOT NULL REFERENCES streams (id),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

-- Everything up to ``floor`` was removed by retention.
ALTER TABLE streams ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams DROP COLUMN tallied;
ALTER TABLE streams DROP COLUMN bytes;
