"""A lake on a real S3-compatible server keeps what every lake keeps. The server is SeaweedFS."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewise.errors import UnavailableError
from edgewise.lake import open_lake as open_at
from edgewise.lake.base import LakeSettings, S3Settings
from edgewise.testing.lake import LakeContract, reading

ACCESS, SECRET = "center", "not-a-real-secret"
IDENTITIES = {
    "identities": [
        {
            "name": "center",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}
READY_S = 30


def free_ports(count: int) -> list[int]:
    """Ports whose number plus 10,000, where the server speaks gRPC, is free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1] % 20_000 + 20_000
            with socket.socket() as plain:
                try:
                    plain.bind(("127.0.0.1", port))
                    other.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
        if port not in found:
            found.append(port)
    return found


def answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
    except urllib.error.HTTPError:
        return True  # it refuses strangers, so it is there
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server with an empty bucket named lake."""
    folder = tmp_path_factory.mktemp("seaweed")
    (folder / "s3.json").write_text(json.dumps(IDENTITIES))
    s3, master, volume, filer = free_ports(4)
    command = shutil.which("weed", path=str(Path(sys.executable).parent)) or "weed"
    arguments = f"-dir={folder} -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.port={master} -volume.port={volume} "
    arguments += f"-filer -filer.port={filer} -s3 -s3.port={s3} -s3.port.iceberg=0 -s3.port.lance=0 "
    arguments += f"-s3.config={folder / 's3.json'} -volume.max=20"
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen([command, "server", *arguments.split()], stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + READY_S
            while not (answers(s3) and make_bucket(filer)):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield s3
        finally:
            process.kill()  # it would take half a minute to end by itself, and nobody needs what it holds


def make_bucket(filer: int) -> bool:
    """A bucket is a folder of the server's own file store."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{filer}/buckets/lake/", method="POST", headers={"Content-Length": "0"}
    )
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return str(path)


class TestLakeOnS3(LakeContract):
    @pytest.fixture
    def open_lake(self, server, secret, tmp_path, clock):
        s3 = S3Settings(
            f"s3://lake/{tmp_path.name}",
            endpoint=f"http://127.0.0.1:{server}",
            access_key=ACCESS,
            secret_key_file=secret,
            allow_http=True,
        )
        return lambda **facts: open_at(LakeSettings(s3=s3, **facts), clock=clock)

    def test_a_wrong_secret_is_refused_and_stays_secret(self, server, tmp_path, clock):
        wrong = tmp_path / "wrong"
        wrong.write_text("guessed-by-somebody")
        wrong.chmod(0o600)
        s3 = S3Settings(
            "s3://lake/x", endpoint=f"http://127.0.0.1:{server}", access_key=ACCESS, secret_key_file=str(wrong),
            allow_http=True,
        )  # fmt: skip
        with pytest.raises(UnavailableError) as caught:
            open_at(LakeSettings(s3=s3), clock=clock).take([reading(1)])
        assert "guessed" not in str(caught.value)
