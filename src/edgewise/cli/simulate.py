"""``edgewise simulate``: many small nodes that join a parent, to see how many it carries."""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings
from edgewise.errors import InputError, SettingsError

if TYPE_CHECKING:
    from edgewise.testing.swarm import Figures, Return, Swarm
    from edgewise.trust.joining import JoinToken

MAX_NODES = 10_000
_SHOW_S = 5.0
_STACK_BYTES = 256 * 1024
_SWITCH_S = 0.03


def simulate(
    *,
    nodes: Annotated[int, Parameter(help="How many.")] = 100,
    parent: Annotated[str, Parameter(help="Where children reach the parent; this machine's node when left out.")] = "",
    tokens: Annotated[Path | None, Parameter(help="File of join tokens, one a line, one for each node.")] = None,
    rate: Annotated[float, Parameter(help="Readings a second of each.")] = 0.2,
    seconds: Annotated[float, Parameter(help="How long they measure.")] = 60.0,
    churn: Annotated[float, Parameter(help="Share of the connections that break each second.")] = 0.0,
    storm: Annotated[bool, Parameter(negative="", help="At the end all connections break at once.")] = False,
    keep: Annotated[bool, Parameter(negative="", help="Leave the nodes in the parent's list afterwards.")] = False,
    config: ConfigFile = None,
    json: JsonFlag = False,
) -> int:
    """Let many small nodes join a parent, and measure how it bears them.

    They are real children: each proves every request, over a TLS connection of its own; all in this process, with
    journals in memory. On the parent's machine it makes the tokens they join with and removes them afterwards;
    elsewhere give it a file of tokens (there: edgewise token create, once for each).

    Ends with exit code 1 when not all of them are connected in the end, or a record was lost.
    """
    if not 0 < nodes <= MAX_NODES or not 0 <= rate <= 1000 or not 0 <= churn <= 1 or not 0 < seconds <= 86400:
        raise InputError(
            "These numbers cannot be", hint=f"Up to {MAX_NODES} nodes, 1000 readings a second, a day; churn 0 to 1."
        )
    threading.stack_size(_STACK_BYTES)  # each node has a thread, and needs little of it
    sys.setswitchinterval(_SWITCH_S)  # who waits for the interpreter looks this often: hundreds do after a pause
    names = [f"sim-{secrets.token_hex(3)}-{number:05}" for number in range(1, nodes + 1)]
    with _invited(names, parent, tokens, config, keep=keep) as (url, joining):
        figures, back = _run(url, names, joining, rate=rate, seconds=seconds, churn=churn, storm=storm, json=json)
    if json:
        output.show_json({"figures": figures, "storm": back})
    well = figures.connected == figures.nodes and not figures.dropped and (back is None or back.back == back.nodes)
    return 0 if well else 1


def _run(
    url: str,
    names: Sequence[str],
    tokens: Sequence[JoinToken],
    *,
    rate: float,
    seconds: float,
    churn: float,
    storm: bool,
    json: bool,
) -> tuple[Figures, Return | None]:
    import random

    import msgspec

    from edgewise._lib.clock import SystemClock
    from edgewise.testing.swarm import Swarm, SwarmSettings

    clock = SystemClock()
    settings = SwarmSettings(rate=rate, start_s=len(names) / 100)
    swarm = Swarm(url, fingerprint=tokens[0].fingerprint, settings=settings, clock=clock, random=random.random)
    try:
        begun_s = clock.monotonic()
        swarm.join(names, tokens)
        joined_s = clock.monotonic()
        output.note(f"{len(names)} joined in {joined_s - begun_s:.1f} s")
        swarm.start()
        _settle(swarm)
        output.note(f"{swarm.figures().connected} connected {clock.monotonic() - joined_s:.1f} s later")
        figures = _measure(swarm, seconds=seconds, churn=churn, quiet=json)
        _settle(swarm)  # those that were just cut off are coming back
        figures = msgspec.structs.replace(figures, connected=swarm.figures().connected)
        back = swarm.storm() if storm else None
        if back and not json:
            _show_return(back)
    finally:
        swarm.stop()
    return figures, back


def _settle(swarm: Swarm) -> None:
    """Waits until all are connected, a minute at most."""
    for _ in range(120):
        if swarm.figures().connected == len(swarm.nodes):
            return
        time.sleep(0.5)


def _measure(swarm: Swarm, *, seconds: float, churn: float, quiet: bool) -> Figures:
    """Shows figures every few seconds; those of the whole time."""
    from edgewise.telemetry.resources import rss_bytes

    parts: list[Figures] = []
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        for _ in range(round(min(_SHOW_S, left_s)) or 1):
            time.sleep(min(1.0, left_s))
            if churn:
                swarm.churn(churn)
        parts.append(now := swarm.figures())
        if not quiet:
            output.out().print(
                f"{now.connected}/{now.nodes} connected  {now.records / now.seconds:.0f} records/s  "
                f"sync p50 {1000 * now.sync_p50:.0f} p99 {1000 * now.sync_p99:.0f} ms  "
                f"answer p50 {1000 * now.answer_p50:.0f} p99 {1000 * now.answer_p99:.0f} ms  "
                f"errors {now.errors}  reconnects {now.welcomes}  pending {now.pending}  "
                f"memory {(rss_bytes() or 0) / 1e6:.0f} MB",
                markup=False,
            )
    return _whole(parts)


def _whole(parts: Sequence[Figures]) -> Figures:
    """Figures of several spans as one: sums, the worst tail, and the middle of the middles."""
    import statistics

    import msgspec

    return msgspec.structs.replace(
        parts[-1],
        seconds=sum(part.seconds for part in parts),
        records=sum(part.records for part in parts),
        errors=sum(part.errors for part in parts),
        welcomes=sum(part.welcomes for part in parts),
        **{name: statistics.median(getattr(part, name) for part in parts) for name in ("sync_p50", "answer_p50")},
        **{
            name: max(getattr(part, name) for part in parts)
            for name in ("sync_p99", "sync_max", "answer_p99", "answer_max")
        },
    )


def _show_return(back: Return) -> None:
    output.out().print(
        f"All connections broke at once: {back.back} of {back.nodes} are back, the first after {back.first:.2f} s, "
        f"half after {back.p50:.2f}, 99 % after {back.p99:.2f}, the last after {back.last:.2f}; "
        f"{back.most_in_a_second} in the busiest second; the slowest answer took {back.answer_max:.2f} s",
        markup=False,
    )


@contextlib.contextmanager
def _invited(
    names: Sequence[str], parent: str, file: Path | None, config: Path | None, *, keep: bool
) -> Iterator[tuple[str, list[JoinToken]]]:
    """The parent's address, and a token for each node: from a file, or made here and withdrawn with the nodes."""
    from edgewise.trust.joining import JoinToken

    if file is not None:
        if not parent:
            raise InputError("Where is the parent?", hint="--parent https://HOST:8471")
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if len(lines) < len(names):
            raise InputError(f"{file} has {len(lines)} tokens for {len(names)} nodes", hint="Give one for each node.")
        yield parent, [JoinToken.parse(line) for line in lines[: len(names)]]
        return
    from edgewise._lib.clock import SystemClock
    from edgewise.node.kin import authority_folder, open_fleet
    from edgewise.trust.authority import Authority

    settings = load_settings(config)
    if settings.https is None:
        raise SettingsError(
            "There is no node here that takes children", hint="Start one with https: {port: 8471}, or give --tokens."
        )
    clock = SystemClock()
    fleet = open_fleet(settings, clock=clock)
    try:
        authority = Authority(authority_folder(settings), time_ns=clock.time_ns())
        with fleet.batch():
            made = [fleet.invite(authority.fingerprint, random=secrets.token_bytes, node=name) for name in names]
        yield parent or f"https://127.0.0.1:{settings.https.port}", made
        if not keep:
            fleet.refresh()
            with fleet.batch():
                for name in names:
                    if fleet.key(name):
                        fleet.remove(name)
    finally:
        fleet.close()
