"""What a node measures of itself. How it is told stands with who tells it: ``/metrics`` in ``api.metrics``."""
