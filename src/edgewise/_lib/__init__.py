"""Clock, atomic files, secrets, YAML documents and SQLite: the few things every organ needs. Private to the project."""
