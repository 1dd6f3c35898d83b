"""One node: its settings, and the only place that makes the organs and joins them."""
