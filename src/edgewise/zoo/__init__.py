"""Real models by name, from pinned origins.

``names`` lists them, ``pull`` brings one into a cache as a model package, ``find`` says where it lies.
"""

from edgewise.zoo.pulling import SHIPPED, Entry, Progress, find, names, pull

__all__ = ["SHIPPED", "Entry", "Progress", "find", "names", "pull"]
