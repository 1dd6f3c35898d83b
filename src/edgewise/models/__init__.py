"""What a model is, and using one: manifest, package, preprocessing, tasks, ``Model``."""
