"""Where a lake lies: settings into an address and options for the vendor, and the vendor's errors into ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgewise._lib.secrets import read_secret
from edgewise.errors import (
    CorruptError,
    EdgewiseError,
    MissingExtraError,
    PermanentError,
    SettingsError,
    StorageFullError,
    UnavailableError,
)
from edgewise.lake.base import LakeSettings, S3Settings

# How long storage may take to answer: one call, to connect, and all tries of a call together.
_TIMES = {"timeout": "30s", "connect_timeout": "5s", "retry_timeout": "60s", "max_retries": "5"}


class Place(NamedTuple):
    """The address of a lake; ``folder`` is None when it is none on this machine."""

    url: str
    options: dict[str, str]
    folder: Path | None

    def table(self, name: str) -> str:
        """The address of one of its tables."""
        return f"{self.url}/{name}"


def place(settings: LakeSettings) -> Place:
    """Where the settings say the lake is.

    Raises:
        SettingsError: They name no place or two, or the secret cannot be read.
    """
    if bool(settings.folder) == bool(settings.s3):
        raise SettingsError(
            "A lake lies either in a folder or on S3 storage",
            hint="Set lake.folder or lake.s3, one of them.",
            field="lake",
        )
    if settings.s3 is not None:
        return Place(settings.s3.url.rstrip("/"), _s3_options(settings.s3), None)
    folder = Path(settings.folder).absolute()
    return Place(str(folder), {}, folder)


def _s3_options(s3: S3Settings) -> dict[str, str]:
    if bool(s3.access_key) != bool(s3.secret_key_file):
        raise SettingsError(
            "lake.s3: an access key and the file of its secret belong together",
            hint="Set access_key and secret_key_file, or neither.",
            field="lake.s3",
        )
    options = {"aws_region": s3.region, "aws_conditional_put": "etag", **_TIMES}
    if s3.endpoint:
        options["aws_endpoint_url"] = s3.endpoint
    if s3.access_key:
        secret = read_secret(s3.secret_key_file, what="lake.s3.secret_key_file")
        options |= {"aws_access_key_id": s3.access_key, "aws_secret_access_key": secret}
    options["aws_allow_http"] = "true" if s3.allow_http else "false"
    return options


def need_extra() -> None:
    """Refuses to go on without the libraries.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    try:
        import deltalake  # noqa: F401
        import duckdb  # noqa: F401
        import pyarrow  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"The lake needs {error.name}", hint="pip install 'edgewise[lake]'", extra="lake"
        ) from error


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns the vendor's errors into ours.

    Raises:
        StorageFullError: No space left.
        CorruptError: The table's log says what cannot be.
        UnavailableError: The storage does not answer, or refuses.
    """
    from deltalake.exceptions import DeltaError, DeltaProtocolError, SchemaMismatchError

    try:
        yield
    except SchemaMismatchError as error:
        raise PermanentError(
            f"{url} has other columns than this release writes: {error}", hint="Give the lake a place of its own."
        ) from error
    except DeltaProtocolError as error:
        raise CorruptError(f"{url} is no table that can be read: {error}", hint="Look at its _delta_log.") from error
    except (DeltaError, OSError) as error:
        raise _refused(url, error) from error


def _refused(url: str, error: Exception) -> EdgewiseError:
    said = str(error)
    if "No space left" in said or "os error 28" in said or "os error 122" in said:
        return StorageFullError(f"No space left for {url}", hint="Free space, then retry.")
    return UnavailableError(
        f"{url} cannot be reached: {said[:500]}", hint="Check that it is there, and who may read and write it."
    )
