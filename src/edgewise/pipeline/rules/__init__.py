"""Rules: which events, readings and times lead to which actions. docs/rules.md is the language; ``engine`` decides."""

from edgewise.pipeline.rules.engine import Decision, Fault, Firing, RuleEngine, Situation
from edgewise.pipeline.rules.memory import Mark, Memory, Part
from edgewise.pipeline.rules.settings import READING, TIME, Do, Location, Name, RuleSettings, Step

__all__ = [
    "READING",
    "TIME",
    "Decision",
    "Do",
    "Fault",
    "Firing",
    "Location",
    "Mark",
    "Memory",
    "Name",
    "Part",
    "RuleEngine",
    "RuleSettings",
    "Situation",
    "Step",
]
