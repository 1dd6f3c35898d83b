-- The authority that a child took this node for when it last proved itself; empty where that was not noted yet.
ALTER TABLE fleet_children ADD COLUMN authority TEXT NOT NULL DEFAULT '';
