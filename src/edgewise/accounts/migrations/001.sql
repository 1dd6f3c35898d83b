-- Names are folded (see names.py). Passwords are Argon2id hashes.
CREATE TABLE accounts (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    disabled SMALLINT NOT NULL,
    created_ns BIGINT NOT NULL,
    changed_ns BIGINT NOT NULL
);

-- Tokens and sessions are stored as SHA-256 of themselves: they are random, so nothing slower is needed.
CREATE TABLE account_tokens (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_ns BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL,
    used_ns BIGINT NOT NULL
);

-- A session begun with a token has its id, and ends with it; one begun with a password has none.
CREATE TABLE account_sessions (
    digest TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE,
    token TEXT REFERENCES account_tokens (id) ON DELETE CASCADE,
    address TEXT NOT NULL,
    created_ns BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL,
    used_ns BIGINT NOT NULL
);
CREATE INDEX account_sessions_by_account ON account_sessions (account);

-- Changes made beside the node, until it writes them into its journal.
CREATE TABLE account_changes (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    time_ns BIGINT NOT NULL,
    kind TEXT NOT NULL,
    facts TEXT NOT NULL
);

-- Counts every change, so that others see that there was one.
CREATE TABLE account_revision (number BIGINT NOT NULL);
INSERT INTO account_revision (number) VALUES (0);
