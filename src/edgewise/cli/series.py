"""``edgewise series``: pack recorded series into little space, and unpack them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import JsonFlag
from edgewise.errors import InputError

app = cyclopts.App(name="series", help="Pack recorded series into little space.", result_action="return_value")


@app.command
def compress(
    file: Path,
    target: Path | None = None,
    /,
    *,
    bound: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dead_band: Annotated[bool, Parameter(negative="")] = False,
    time: str = "time",
    json: JsonFlag = False,
) -> None:
    """Pack a CSV file: without loss, or thinned within bounds; say how much smaller it is and how far off.

    What is packed is unpacked again and compared, so the errors are measured ones.

    Parameters
    ----------
    file:
        CSV with a header, a column of times and one column per channel.
    target:
        File to write, such as ``turbine.ews``; without it nothing is written, only measured.
    bound:
        Largest error of a channel that may be thinned, as ``CHANNEL=NUMBER``; may be given several times.
    dead_band:
        Thin by dead band instead of swinging door.
    time:
        Name of the column of times.
    """
    from edgewise._lib.files import write_atomic
    from edgewise.series.packed import pack
    from edgewise.series.table import read_csv

    block = read_csv(file, time=time)
    bounds = dict(map(_bound, bound))
    packed = pack(block.times_ns, block.columns, bounds=bounds, method="dead_band" if dead_band else "swinging_door")
    if target is not None:
        write_atomic(target, packed.content)
    text_bytes = file.stat().st_size
    if json:
        facts = {"rows": packed.rows, "bytes": len(packed.content), "text_bytes": text_bytes}
        output.show_json({**facts, "plain_bytes": packed.plain_bytes, "channels": packed.channels})
        return
    output.show_table(
        ("channel", "values", "kept", "bound", "largest error"),
        [
            (channel.name, channel.values, channel.kept, f"{channel.bound:g}", f"{channel.error:g}")
            for channel in packed.channels
        ],
    )
    size = len(packed.content)
    output.note(
        f"{output.human_bytes(size)}: {text_bytes / size:.1f} times smaller than the text, {packed.ratio:.1f} times "
        f"smaller than 8 bytes a number."
    )
    if target is not None:
        output.note(f"Unpack it: edgewise series expand {escape(str(target))}")


@app.command
def expand(file: Path, target: Path | None = None, /) -> None:
    """Unpack a packed series into CSV.

    Parameters
    ----------
    file:
        What ``edgewise series compress`` wrote.
    target:
        CSV file to write; without it the text goes to the output.
    """
    import io

    from edgewise._lib.files import write_atomic
    from edgewise.series.packed import unpack
    from edgewise.series.table import write_csv

    text = io.StringIO()
    write_csv(text, unpack(file.read_bytes()))
    if target is None:
        sys.stdout.write(text.getvalue())
    else:
        write_atomic(target, text.getvalue().encode())


def _bound(text: str) -> tuple[str, float]:
    channel, _, number = text.rpartition("=")
    try:
        bound = float(number)
    except ValueError:
        bound = -1.0
    if not channel or not 0 <= bound < float("inf"):
        raise InputError(f"{text!r} is no bound", hint="Write CHANNEL=NUMBER, such as power=5.")
    return channel, bound
