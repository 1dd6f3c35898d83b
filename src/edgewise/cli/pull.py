"""``edgewise pull``: real models by name, from pinned origins."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import JsonFlag

if TYPE_CHECKING:
    from rich.status import Status

    from edgewise.zoo import Progress


def pull(
    *names: str,
    list_: Annotated[bool, Parameter(name="--list", negative="", help="Show what can be pulled.")] = False,
    json: JsonFlag = False,
) -> None:
    """Fetch models from the zoo, check their digests and keep them for use without a network.

    Parameters
    ----------
    names:
        Models to fetch, such as ``yunet efficientnet-lite0``. Without any, what can be pulled is shown.
    """
    from edgewise import zoo
    from edgewise.node.library import default_cache

    cache = default_cache()
    if list_ or not names:
        _show_list(json=json)
        return
    pulled = []
    for name in names:
        with output.err().status(f"Fetching {name} …") as status:
            folder = zoo.pull(name, cache, progress=functools.partial(_tell, status))
        pulled.append({"name": name, "path": str(folder)})
        if not json:
            output.out().print(f"{name}  {folder}")
    if json:
        output.show_json(pulled)


def _tell(status: Status, progress: Progress) -> None:
    """The licence and notes stay on the screen; steps take each other's place."""
    if progress.step in {"licence", "note"}:
        output.note(escape(progress.message))
    elif progress.total_bytes:
        done, total = (output.human_bytes(count) for count in (progress.done_bytes, progress.total_bytes))
        status.update(escape(f"{progress.message}: {done} of {total}"))
    else:
        status.update(escape(progress.message))


def _show_list(*, json: bool) -> None:
    from edgewise import zoo
    from edgewise.node.library import default_cache

    cache = default_cache()
    entries = zoo.names()
    if json:
        output.show_json(entries)
        return
    for entry in entries:
        here = "shipped" if entry.shipped else "here" if zoo.find(entry.name, cache) else "not here"
        size = output.human_bytes(entry.size_bytes)
        output.out().print(f"[bold]{entry.name:20}[/] {entry.task:15} {size:>8}  {here:8}  {entry.licence}")
        needs = " or ".join(f"edgewise[{extra}]" for extra in entry.extras)
        output.out().print(f"  {escape(entry.summary)}" + (f"  [dim](needs {escape(needs)})[/]" if needs else ""))
