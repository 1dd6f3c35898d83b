-- Made with the journal; sequences mean something under it alone.
ALTER TABLE log ADD COLUMN identity TEXT NOT NULL DEFAULT '';
