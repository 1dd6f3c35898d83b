-- The authority that a child took this node for when it last proved itself, noted once there has been more than one.
ALTER TABLE fleet_children ADD COLUMN authority TEXT NOT NULL DEFAULT '';
