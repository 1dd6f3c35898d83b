"""The nodes below this one: who they are, which child brings which, when they were heard of."""
