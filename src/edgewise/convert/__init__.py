"""From one model format to another, checked numerically."""
