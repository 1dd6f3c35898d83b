"""Every kind of origin keeps ``Fetcher``. Each registry is a real one of one package, made for the test; the clients
are the real ones.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewise.errors import NotFoundError, TooLargeError, UnavailableError
from edgewise.zoo.archives import extract_member
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.origins.catalog import CATALOG, fetcher

CONTENT = bytes(range(256)) * 400
MEMBER = "tiny/model.onnx"


class OriginContract:
    """The promises of ``Fetcher``; ``origin`` serves ``MEMBER`` with ``CONTENT``, ``absent`` is not there."""

    origin: Origin
    absent: Origin

    @pytest.fixture(autouse=True)
    def _registry(self, registry: None) -> None:
        """The registry is up."""

    def fetch(self, folder: Path, origin: Origin | None = None) -> Path:
        origin = origin or self.origin
        return fetcher(origin.kind).fetch(origin, folder, lambda *_: None)

    def test_what_arrives_holds_the_content_and_lies_under_the_key(self, tmp_path: Path) -> None:
        arrived = self.fetch(tmp_path)
        assert arrived == tmp_path / self.origin.key
        assert list(tmp_path.iterdir()) == [arrived]
        if self.origin.member:
            extract_member(arrived, self.origin.member, tmp_path / "out", max_bytes=len(CONTENT))
            arrived = tmp_path / "out"
        assert arrived.read_bytes() == CONTENT

    def test_what_is_not_there_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError):
            self.fetch(tmp_path, self.absent)
        assert list(tmp_path.iterdir()) == []

    def test_what_is_too_large_is_not_taken(self, tmp_path: Path) -> None:
        small = msgspec.structs.replace(self.origin, max_bytes=500)
        with pytest.raises(TooLargeError):
            self.fetch(tmp_path, small)
        assert list(tmp_path.iterdir()) == []

    def test_it_can_be_fetched_again(self, tmp_path: Path) -> None:
        first = self.fetch(tmp_path).read_bytes()
        assert self.fetch(tmp_path).read_bytes() == first


class RegistryContract(OriginContract):
    """What is promised of a kind that needs a client."""

    client: str

    def test_without_its_client_it_is_unavailable_and_says_how_to_get_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UnavailableError, match=self.client) as caught:
            self.fetch(tmp_path)
        assert caught.value.hint


def serve(folder: Path) -> Iterator[str]:
    """A web server of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Stays quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  a client that leaves early is meant
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


BACKEND = """
def prepare_metadata_for_build_wheel(folder, settings=None):
    import pathlib
    place = pathlib.Path(folder, "tiny_data-1.0.dist-info")
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-data\\nVersion: 1.0\\n")
    return place.name
"""


def sdist(backend: str) -> bytes:
    """A source distribution of tiny-data 1.0 that needs nothing to be built."""
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in {MEMBER: CONTENT, "backend.py": backend.encode(), "pyproject.toml": system.encode()}.items():
            info = tarfile.TarInfo(f"tiny-data-1.0/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


class TestUrl(OriginContract):
    @pytest.fixture
    def registry(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("site")
        (folder / "model.onnx").write_bytes(CONTENT)
        for address in serve(folder):
            self.origin = Origin("url", f"{address}/model.onnx")
            self.absent = Origin("url", f"{address}/other.onnx")
            yield


class TestPypi(RegistryContract):
    origin = Origin("pypi", "tiny-model==1.0", MEMBER)
    absent = Origin("pypi", "tiny-model==2.0", MEMBER)
    client = "pip"

    @pytest.fixture
    def registry(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path_factory.mktemp("index")
        with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(MEMBER, CONTENT)
            wheel.writestr(
                "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
            )
            wheel.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def test_a_source_distribution_is_never_taken(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path_factory.mktemp("sources")
        ran = folder / "ran"
        (folder / "tiny-data-1.0.tar.gz").write_bytes(sdist(f"open({str(ran)!r}, 'w').close()\n{BACKEND}"))
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        with pytest.raises(NotFoundError):
            self.fetch(tmp_path, Origin("pypi", "tiny-data==1.0", MEMBER))
        assert not ran.exists()


class TestSdist(RegistryContract):
    absent = Origin("sdist", "tiny-data==2.0", f"tiny-data-1.0/{MEMBER}", sha256="0" * 64)
    client = "pip"

    @pytest.fixture
    def registry(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path_factory.mktemp("index")
        packed = sdist(BACKEND)
        (folder / "tiny-data-1.0.tar.gz").write_bytes(packed)
        digest = hashlib.sha256(packed).hexdigest()
        self.origin = Origin("sdist", "tiny-data==1.0", f"tiny-data-1.0/{MEMBER}", sha256=digest)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
class TestNpm(RegistryContract):
    origin = Origin("npm", "tiny-model@1.0.0", f"package/{MEMBER}")
    absent = Origin("npm", "other-model@1.0.0", f"package/{MEMBER}")
    client = "npm"

    @pytest.fixture
    def registry(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("registry")
        self.ran = folder / "ran"
        package = {"name": "tiny-model", "version": "1.0.0", "scripts": {"prepack": f"touch {self.ran}"}}
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, data in ((MEMBER, CONTENT), ("package.json", json.dumps(package).encode())):
                info = tarfile.TarInfo(f"package/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        (folder / "tiny.tgz").write_bytes(packed.getvalue())
        integrity = base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
        for address in serve(folder):
            dist = {"tarball": f"{address}/tiny.tgz", "integrity": f"sha512-{integrity}"}
            about = {
                "name": "tiny-model",
                "dist-tags": {"latest": "1.0.0"},
                "versions": {"1.0.0": package | {"dist": dist}},
            }
            (folder / "tiny-model").write_text(json.dumps(about))
            monkeypatch.setenv("npm_config_registry", address)
            yield

    def test_no_script_of_the_package_runs(self, tmp_path: Path) -> None:
        self.fetch(tmp_path)
        assert not self.ran.exists()


@pytest.mark.skipif(not shutil.which("apt-get"), reason="not a Debian system")
class TestDebian(RegistryContract):
    origin = Origin("debian", "tiny-model", f"usr/share/{MEMBER}")
    absent = Origin("debian", "other-model", f"usr/share/{MEMBER}")
    client = "apt-get"

    @pytest.fixture
    def registry(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path_factory.mktemp("archive")
        control = "Package: tiny-model\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.org>\n"
        tree = folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(control + "Description: a\n")
        place = tree / "usr" / "share" / MEMBER
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
        built = folder / "tiny-model.deb"
        subprocess.run(["dpkg-deb", "--build", tree, built], check=True, capture_output=True)
        data = built.read_bytes()
        index = f"Filename: ./tiny-model.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
        (folder / "Packages").write_text(control + index + "Description: a\n")
        (folder / "sources.list").write_text(f"deb [trusted=yes] file:{folder} ./\n")
        for name in ("lists", "cache", "parts"):
            (folder / name).mkdir()
        (folder / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "{folder}/parts";\n'
            f'Dir::State::lists "{folder}/lists";\nDir::Cache "{folder}/cache";\n'
            f'Dir::State::status "/dev/null";\nAPT::Sandbox::User "root";\n'
        )
        monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))
        subprocess.run(["apt-get", "update"], check=True, capture_output=True)


def test_every_kind_passes_the_contract() -> None:
    tested = {"url", "pypi", "sdist", "npm", "debian"}
    assert tested == set(CATALOG)
