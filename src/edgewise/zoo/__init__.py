"""Real models by name, from pinned origins."""
