-- Counts every change, so that others who share the state notice.
CREATE TABLE fleet_revision (
    number BIGINT NOT NULL
);
INSERT INTO fleet_revision (number) VALUES (1);

-- Children. ``key`` is what it proves itself with; ``journal`` the identity of the journal whose records were taken.
CREATE TABLE fleet_children (
    name TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    rotations BIGINT NOT NULL,
    journal TEXT NOT NULL,
    labels TEXT NOT NULL,
    joined_ns BIGINT NOT NULL
);

-- Keys of which nothing is taken any more.
CREATE TABLE fleet_revoked (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    revoked_ns BIGINT NOT NULL
);

CREATE TABLE fleet_invitations (
    digest TEXT PRIMARY KEY,
    expires_ns BIGINT NOT NULL,
    node TEXT NOT NULL,
    labels TEXT NOT NULL,
    used_by TEXT NOT NULL
);

-- Which child brings which node; each child brings itself.
CREATE TABLE fleet_routes (
    node TEXT PRIMARY KEY,
    child TEXT NOT NULL
);
