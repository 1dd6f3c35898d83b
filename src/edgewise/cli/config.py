"""``edgewise config``: check a settings file, or show what is in force and where it came from."""

from __future__ import annotations

from pathlib import Path

import cyclopts

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, JsonFlag, load_settings

app = cyclopts.App(name="config", help="Check and show settings.", result_action="return_value")


@app.command
def check(file: Path = Path("edgewise.yaml")) -> None:
    """Check a settings file: unknown keys, wrong types, names that lead nowhere.

    Parameters
    ----------
    file:
        The settings file.
    """
    settings = load_settings(file)
    output.out().print(
        f"{file} is right: {len(settings.models)} models, {len(settings.pipelines)} pipelines, "
        f"{len(settings.devices)} devices, {len(settings.rules)} rules."
    )


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
