"""Metrics (Prometheus) and log events."""
