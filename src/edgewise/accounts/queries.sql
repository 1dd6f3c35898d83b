-- name: revision
SELECT number FROM account_revision
-- name: count_up
UPDATE account_revision SET number = number + 1
-- name: accounts
SELECT name, role, disabled, created_ns, changed_ns FROM accounts ORDER BY name
-- name: account
SELECT name, role, disabled, created_ns, changed_ns FROM accounts WHERE name = :name
-- name: password
SELECT password FROM accounts WHERE name = :name
-- name: add_account
INSERT INTO accounts (name, role, password, disabled, created_ns, changed_ns)
VALUES (:name, :role, :password, 0, :now_ns, :now_ns)
-- name: set_role
UPDATE accounts SET role = :role, changed_ns = :now_ns WHERE name = :name
-- name: set_password
UPDATE accounts SET password = :password, changed_ns = :now_ns WHERE name = :name
-- name: renew_password
UPDATE accounts SET password = :password WHERE name = :name AND password = :before
-- name: set_disabled
UPDATE accounts SET disabled = :disabled, changed_ns = :now_ns WHERE name = :name
-- name: remove_account
DELETE FROM accounts WHERE name = :name
-- name: tokens
SELECT id, digest, account, name, scopes, created_ns, expires_ns, used_ns FROM account_tokens ORDER BY created_ns, id
-- name: add_token
INSERT INTO account_tokens (id, digest, account, name, scopes, created_ns, expires_ns, used_ns)
VALUES (:id, :digest, :account, :name, :scopes, :now_ns, :expires_ns, 0)
-- name: remove_token
DELETE FROM account_tokens WHERE id = :id
-- name: token_used
UPDATE account_tokens SET used_ns = :used_ns WHERE digest = :digest AND used_ns < :used_ns
-- name: sessions
SELECT digest, account, token, address, created_ns, expires_ns, used_ns FROM account_sessions ORDER BY created_ns, digest
-- name: add_session
INSERT INTO account_sessions (digest, account, token, address, created_ns, expires_ns, used_ns)
VALUES (:digest, :account, :token, :address, :now_ns, :expires_ns, :now_ns)
-- name: session_used
UPDATE account_sessions SET used_ns = :used_ns WHERE digest = :digest AND used_ns < :used_ns
-- name: remove_session
DELETE FROM account_sessions WHERE digest = :digest
-- name: remove_sessions
DELETE FROM account_sessions WHERE account = :account
-- name: remove_expired
DELETE FROM account_sessions WHERE expires_ns <= :now_ns OR used_ns <= :idle_ns
-- name: sessions_of
SELECT digest FROM account_sessions WHERE account = :account ORDER BY used_ns, created_ns
-- name: add_change
INSERT INTO account_changes (id, node, time_ns, kind, facts) VALUES (:id, :node, :time_ns, :kind, :facts)
-- name: changes
SELECT id, time_ns, kind, facts FROM account_changes WHERE node = :node ORDER BY time_ns, id
-- name: count_changes
SELECT count(*) FROM account_changes
-- name: remove_change
DELETE FROM account_changes WHERE id = :id
