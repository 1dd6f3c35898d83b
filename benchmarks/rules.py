"""The rule engine with 1,000 rules against what is asked of it (1,000 events a second on one core) and against the bare
calls of compiled CEL that it cannot do without.

* ``readings``: 1,000 rules, each on a sensor of its own, with a window (``avg`` over 5 minutes) and a comparison. The
  windows are full when it begins: 300 values each.
* ``events``: 1,000 rules, each on a kind of event of its own, with two comparisons.
* ``mixed``: half and half, and a tenth of the events go through a sequence or a counting window as well.
* ``one kind``: the worst case, 1,000 rules that all listen to the same kind of event.

The bare loop evaluates the same expressions, compiled beforehand, on variables converted once for each sample: no
windows, no cooldowns, no keys. Each round runs both in turn; the table shows medians. The engine is measured alone: no
journal and no devices.

Run: ``python benchmarks/rules.py [--rounds 5] [--seconds 1]``
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, RuleEngine, RuleSettings, Situation, Step
from edgewise.pipeline.rules.expression import cel

ASKED = 1000.0
RULES = 1000
SECOND = 10**9
START = 1_700_000_000 * SECOND
# Readings in five minutes, at the rate that is asked.
FULL = 300 * 1000
SIREN = (Do("siren", "raise"),)
READING_WHEN = 'avg(heat, "5m") > 80 && values.heat > 70.0'
BARE_READING = "window > 80 && values.heat > 70.0"
EVENT_WHEN = 'event.body.similarity > 0.9 && event.body.zone == "gate"'


def reading_rules(count: int) -> list[RuleSettings]:
    return [RuleSettings(f"r{n}", "reading", SIREN, source=f"s{n}", when=READING_WHEN) for n in range(count)]


def event_rules(count: int) -> list[RuleSettings]:
    return [RuleSettings(f"e{n}", f"seen.k{n}", SIREN, when=EVENT_WHEN) for n in range(count)]


def mixed_rules() -> list[RuleSettings]:
    after = (Step("seen.k1"),)
    looking = [
        RuleSettings(f"a{n}", f"seen.k{n}", SIREN, after=after, within_s=60.0, when=EVENT_WHEN) for n in range(25)
    ]
    looking += [
        RuleSettings(f"c{n}", f"seen.k{n}", SIREN, when=f'count("seen.k{n}", "10m", "source") > 1000000')
        for n in range(25, 50)
    ]
    return [*reading_rules(RULES // 2), *event_rules(RULES // 2 - len(looking)), *looking]


def reading(number: int, sources: int) -> Event:
    source = f"s{number % sources}"
    return Event("reading", source, START + number * SECOND // 1000, {"source": source, "values": {"heat": 75.0}})


def event(number: int, kinds: int) -> Event:
    kind = f"seen.k{number % kinds}"
    body = {"similarity": 0.7, "zone": "gate", "source": "door", "box": [1, 2, 3, 4]}
    return Event(kind, "door", START + number * SECOND // 1000, body)


def readings() -> Iterator[Event]:
    return (reading(number, RULES) for number in itertools.count(FULL))


def events() -> Iterator[Event]:
    return (event(number, RULES) for number in itertools.count())


def mixed() -> Iterator[Event]:
    half = RULES // 2
    return (reading(n, half) if n % 2 else event(n // 2, half - 50) for n in itertools.count())


def same() -> Iterator[Event]:
    return (event(0, 1) for _ in itertools.count())


def rate(step: Callable[[Event], object], samples: Iterator[Event], seconds: float) -> float:
    """Samples a second, made beforehand, a thousand at a time."""
    done, taken = 0, 0.0
    while taken < seconds:
        batch = list(itertools.islice(samples, 1000))
        start = time.process_time()
        for sample in batch:
            step(sample)
            done += 1
            if done % 100 == 0 and taken + time.process_time() - start > seconds:
                break
        taken += time.process_time() - start
    return done / taken


def engine_step(rules: list[RuleSettings]) -> Callable[[Event], object]:
    engine = RuleEngine(rules)
    memory = engine.memory()
    if all(rule.on == "reading" for rule in rules):
        for number in range(FULL):
            memory.remember(reading(number, RULES))
    return lambda sample: engine.decide(sample, Situation(sample.time_ns), memory)


def bare_step(evaluations: int) -> Callable[[Event], object]:
    on_reading, on_event, context = cel().compile(BARE_READING), cel().compile(EVENT_WHEN), cel().Context

    def step(sample: Event) -> None:
        variables = context()
        if sample.kind == "reading":
            variables.add_variable("values", sample.body["values"])
            variables.add_variable("window", 75.0)
            program = on_reading
        else:
            told = {"kind": sample.kind, "source": sample.source, "body": sample.body}
            variables.add_variable("event", told)
            program = on_event
        for _ in range(evaluations):
            program.execute(variables)

    return step


SCENES: dict[str, tuple[Callable[[], list[RuleSettings]], Callable[[], Iterator[Event]], int]] = {
    "readings": (lambda: reading_rules(RULES), readings, 1),
    "events": (lambda: event_rules(RULES), events, 1),
    "mixed": (mixed_rules, mixed, 1),
    "one kind": (lambda: [RuleSettings(f"o{n}", "seen.k0", SIREN, when=EVENT_WHEN) for n in range(RULES)], same, RULES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    print(f"{RULES} rules, one core, {arguments.rounds} rounds, medians; events a second of processor time")
    print("scene        engine   asked   ratio to asked (min..max) |  bare CEL   ratio to bare (min..max)")
    for name, (make_rules, samples, evaluations) in SCENES.items():
        rounds = []
        for _ in range(arguments.rounds):
            engine = rate(engine_step(make_rules()), samples(), arguments.seconds)
            rounds.append((engine, rate(bare_step(evaluations), samples(), arguments.seconds)))
        engines, bares = [pair[0] for pair in rounds], [pair[1] for pair in rounds]
        ratios = [engine / bare for engine, bare in rounds]
        print(
            f"{name:9} {statistics.median(engines):9,.0f} {ASKED:7,.0f} {statistics.median(engines) / ASKED:8.2f} "
            f"({min(engines) / ASKED:.2f}..{max(engines) / ASKED:.2f}) | {statistics.median(bares):9,.0f} "
            f"{statistics.median(ratios):8.2f} ({min(ratios):.2f}..{max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
