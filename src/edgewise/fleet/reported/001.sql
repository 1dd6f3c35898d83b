-- The newest report of each node, as JSON, and when it was made by this node's wall clock.
CREATE TABLE fleet_reports (
    node TEXT PRIMARY KEY,
    seen_ns BIGINT NOT NULL,
    report TEXT NOT NULL
);

-- What each node counted of each stream last.
CREATE TABLE fleet_counted (
    counted_by TEXT NOT NULL,
    node TEXT NOT NULL,
    stream TEXT NOT NULL,
    last BIGINT NOT NULL,
    acked BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    PRIMARY KEY (counted_by, node, stream)
);

-- When the running node wrote all that it knew.
CREATE TABLE fleet_reports_kept (
    kept_ns BIGINT NOT NULL
);
INSERT INTO fleet_reports_kept (kept_ns) VALUES (0);
