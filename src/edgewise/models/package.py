"""The model package: everything known about a model, as a folder or a zip of it.

This is the face of the modules behind it: ``folder`` reads, checks and seals a folder, ``archive`` packs and unpacks
zips, ``check`` looks at everything and runs the golden data,
``scaffold`` makes a new one around an artifact.
"""

from edgewise.models.archive import ArchiveLimits, opened, pack, unpack
from edgewise.models.check import Finding, Line, Report, check
from edgewise.models.folder import (
    MANIFEST,
    dump_manifest,
    load_manifest,
    parse_manifest,
    save,
    seal,
    verify,
)
from edgewise.models.scaffold import new

__all__ = [
    "MANIFEST",
    "ArchiveLimits",
    "Finding",
    "Line",
    "Report",
    "check",
    "dump_manifest",
    "load_manifest",
    "new",
    "opened",
    "pack",
    "parse_manifest",
    "save",
    "seal",
    "unpack",
    "verify",
]
