"""Durable, bounded, ordered streams of records; see ``base``."""
