"""From fetched files to model packages, one builder per model."""
