"""``edgewise key``: the key with which the node proves itself to its parent."""

from __future__ import annotations

import cyclopts

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, load_settings

app = cyclopts.App(
    name="key", help="The key with which this node proves itself to its parent.", result_action="return_value"
)


@app.command
def rotate(*, config: ConfigFile = None) -> None:
    """Give this node another key towards its parent, also while it runs. Nothing has to be restarted.

    From then on the parent refuses the old key, so a copy that somebody took is worth nothing. When the command was cut
    off, run it again: the node goes on with whichever key the parent takes. The key that decisions are sealed with is
    another, and stays.
    """
    from edgewise.node.kin import change_key

    membership = change_key(load_settings(config))
    output.out().print(f"{membership.node} has a new key; {membership.parent} refuses the old one", markup=False)
