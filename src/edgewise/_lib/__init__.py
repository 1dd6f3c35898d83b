"""Clock, atomic files and SQLite: the few things every organ needs. Private to the project."""
