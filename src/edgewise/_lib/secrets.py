"""Reading secrets. They stand in files of their own; settings hold the path, never the value."""

from pathlib import Path

from edgewise.errors import SettingsError


def read_secret(path: str, *, what: str) -> str:
    """The first line of a secret's file.

    Raises:
        SettingsError: It cannot be read, is empty, or others on the machine can read it.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what}: cannot read {path}", hint="Check the path and its permissions.") from error
    if not lines or not lines[0].strip():
        raise SettingsError(f"{what}: {path} is empty", hint=f"openssl rand -hex 32 > {path}")
    if mode & 0o077:
        raise SettingsError(f"{what}: others can read {path}", hint=f"chmod 600 {path}")
    return lines[0].strip()
