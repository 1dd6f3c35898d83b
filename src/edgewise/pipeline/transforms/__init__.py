"""What turns frames into knowledge and events; one file per kind, named in ``catalog``."""
