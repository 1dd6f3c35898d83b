"""``edgewise config``: check a settings file, or show what is in force and where it came from."""

from __future__ import annotations

from pathlib import Path

import cyclopts

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

app = cyclopts.App(name="config", help="Check and show settings.", result_action="return_value")


@app.command
def check(file: Path = Path("edgewise.yaml"), /) -> None:
    """Check a settings file: keys, types, and that the rules, models, commands, files and secrets it names are right.

    Parameters
    ----------
    file:
        The settings file.
    """
    from edgewise.node.check import check as check_settings

    settings = check_settings(file)
    parts = {"model": settings.models, "pipeline": settings.pipelines, "device": settings.devices}
    told = ", ".join(output.counted(len(found), what) for what, found in {**parts, "rule": settings.rules}.items())
    output.out().print(f"{file} is right: {told}.", markup=False)


@app.command
def show(*, config: ConfigFile = None, json: JsonFlag = False) -> None:
    """Show the settings in force: defaults < file < environment < flags."""
    settings = load_settings(config)
    if json:
        output.show_json(settings)
        return
    import msgspec
    import yaml

    output.out().print(yaml.safe_dump(msgspec.to_builtins(settings), sort_keys=False, allow_unicode=True), markup=False)
