"""HTTP: REST with OpenAPI, and the Open Inference Protocol v2."""
