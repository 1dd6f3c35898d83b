"""``edgewise pull``: real models by name, from pinned origins."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from edgewise.cli import output
from edgewise.cli.options import JsonFlag


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
    entries = {entry.name: entry for entry in zoo.names()}
    pulled = []
    for name in names:
        if entry := entries.get(name):
            output.note(f"[bold]{name}[/]  licence: {entry.licence}")
        with output.err().status(f"Fetching {name} …") as status:
            folder = zoo.pull(name, cache, progress=status.update)
        pulled.append({"name": name, "path": str(folder)})
        if not json:
            output.out().print(f"{name}  {folder}")
    if json:
        output.show_json(pulled)


def _show_list(*, json: bool) -> None:
    from edgewise import zoo
    from edgewise.node.library import default_cache

    cache = default_cache()
    entries = zoo.names()
    if json:
        output.show_json(entries)
        return
    output.show_table(
        ("name", "task", "size", "here", "needs", "licence", "summary"),
        [
            (
                entry.name,
                entry.task,
                output.human_bytes(entry.size),
                "shipped" if entry.shipped else "yes" if zoo.find(entry.name, cache) else "no",
                f"edgewise[{','.join(entry.extras)}]" if entry.extras else "",
                entry.licence,
                entry.summary,
            )
            for entry in entries
        ],
    )
