-- How far the documents below have got: ``number`` counts every change of one, ``epoch`` is made with the database, so
-- that a child sees when it is another one.
CREATE TABLE fleet_position (
    one SMALLINT PRIMARY KEY,
    epoch TEXT NOT NULL,
    number BIGINT NOT NULL
);

-- Documents as they were set: ``kind`` is ``node`` or ``label`` for those set here, ``above`` for those of nodes above.
CREATE TABLE fleet_documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    by_node TEXT NOT NULL,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    changed_ns BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);

-- What follows for each node, by way of which child it goes there, and the number under which it last changed.
CREATE TABLE fleet_desired (
    node TEXT PRIMARY KEY,
    child TEXT NOT NULL,
    by_node TEXT NOT NULL,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    sequence BIGINT NOT NULL
);
CREATE INDEX fleet_desired_by_child ON fleet_desired (child, sequence);

-- What each node reported last.
CREATE TABLE fleet_states (
    node TEXT PRIMARY KEY,
    report TEXT NOT NULL,
    heard_ns BIGINT NOT NULL
);
