"""The REST API under ``/v1``, ``/metrics`` and ``/schema``: everything that is no hot path, on Litestar."""
