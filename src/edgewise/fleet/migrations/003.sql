-- Labels of nodes further down, as JSON: what was said here (null for what is not to be there), and what the child that
-- brings it says. They go with the route. Those of children stand with the children.
ALTER TABLE fleet_routes ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE fleet_routes ADD COLUMN told TEXT NOT NULL DEFAULT '{}';
