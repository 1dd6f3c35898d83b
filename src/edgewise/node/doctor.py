"""What this machine can do for a node, as findings with the command that mends each lack."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from edgewise import __version__, runtimes, zoo
from edgewise.errors import EdgewiseError, SettingsError
from edgewise.node import settings as node_settings
from edgewise.node.check import check
from edgewise.node.library import default_cache
from edgewise.node.organs import cores

# Instruction sets that decide how fast a model runs, as /proc/cpuinfo names them.
CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


class Finding(msgspec.Struct, frozen=True):
    """One line of the report; ``mend`` is a command to type, empty when there is nothing to do."""

    section: str
    what: str
    state: Literal["ok", "missing", "wrong"] = "ok"
    detail: str = ""
    mend: str = ""


def examine(config: Path | None = None) -> list[Finding]:
    """Looks at everything; never raises for what it finds."""
    return [*_machine(), *_runtimes(), *_cameras(), *_microphones(), *_models(), *_settings(config)]


def _machine() -> Iterator[Finding]:
    section = "Machine"
    features = " ".join(feature for feature in CPU_FEATURES if feature in _cpu_flags())
    yield Finding(section, f"{platform.system()} {platform.machine()}, {cores()} cores", detail=features)
    yield Finding(section, f"Edgewise {__version__} on Python {platform.python_version()}")
    if memory := _memory_bytes():
        yield Finding(section, f"{memory / 1e9:.1f} GB of memory")
    free = shutil.disk_usage(Path.cwd()).free
    low = free < 1e9
    yield Finding(
        section,
        f"{free / 1e9:.1f} GB of disk free here",
        state="wrong" if low else "ok",
        detail="journal, snapshots and models need room" if low else "",
        mend="edgewise up --data /path/on/a/larger/disk" if low else "",
    )


def _runtimes() -> Iterator[Finding]:
    section = "Runtimes"
    for name, status in runtimes.available().items():
        if name == "fake":
            continue
        if not status.installed:
            yield Finding(section, name, state="missing", mend=status.hint)
            continue
        try:
            providers = runtimes.open_runtime(name).providers()
        except Exception as error:  # noqa: BLE001 - an engine that is there but broken may raise anything
            mend = error.hint if isinstance(error, EdgewiseError) else status.hint
            yield Finding(section, f"{name} {status.version}", state="wrong", detail=str(error), mend=mend)
            continue
        usable = ", ".join(provider.name for provider in providers if provider.available)
        absent = ", ".join(provider.name for provider in providers if not provider.available)
        detail = f"runs on {usable}" + (f"; not here: {absent}" if absent else "")
        yield Finding(section, f"{name} {status.version}".rstrip(), detail=detail)


def _cameras() -> Iterator[Finding]:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        yield Finding(
            "Cameras", "none", state="missing", detail="plug one in, or use a video file, a folder or uploads as source"
        )
    for device in devices:
        name = Path(f"/sys/class/video4linux/{device.name}/name")
        label = name.read_text().strip() if name.is_file() else ""
        readable = os.access(device, os.R_OK | os.W_OK)
        yield Finding(
            "Cameras",
            str(device),
            state="ok" if readable else "wrong",
            detail=label if readable else "no permission",
            mend="" if readable else "sudo usermod -aG video $USER   # then log in again",
        )


def _microphones() -> Iterator[Finding]:
    cards = sorted(Path("/proc/asound").glob("card*/pcm*c/info"))
    if not cards:
        yield Finding("Microphones", "none", state="missing", detail="plug one in")
    for card in cards:
        name = next((line[6:] for line in card.read_text().splitlines() if line.startswith("name: ")), card.parent.name)
        yield Finding("Microphones", name, detail=f"hw:{card.parent.parent.name.removeprefix('card')}")


def _models() -> Iterator[Finding]:
    cache = default_cache()
    for entry in zoo.names():
        here = entry.shipped or zoo.find(entry.name, cache) is not None
        yield Finding(
            "Models",
            entry.name,
            state="ok" if here else "missing",
            detail=f"{entry.task}, {entry.licence}",
            mend="" if here else f"edgewise pull {entry.name}",
        )


def _settings(config: Path | None) -> Iterator[Finding]:
    section = "Settings"
    try:
        settings = check(config)
    except SettingsError as error:
        yield Finding(section, str(error), state="wrong", mend=error.hint)
        return
    address = f"{settings.http.host}:{settings.http.port}"
    if node_settings.is_loopback(settings.http.host):
        yield Finding(
            section,
            f"listens on {address}",
            detail="this machine alone; to listen wider make an account (edgewise user add) and set http.host",
        )
    else:
        yield Finding(section, f"listens on {address}", detail="every client has to sign in")


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return set(lines[0].split(":", 1)[1].split()) if lines else set()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
