"""Sources, transforms, rules and sinks."""
