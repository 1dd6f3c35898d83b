"""SIGKILL while a blob is received: what was taken is there, and it goes on from there until it is whole.

A process of its own receives in pieces of random size and tells how far it is. It is killed at random moments, again
and again on the same folder, until it is let go on to the end. ``EDGEWISE_UPLOAD_KILLS`` sets how often.
"""

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgewise.journal.blobs import read_blob
from edgewise.journal.cipher import make_key, open_cipher

KILLS = int(os.environ.get("EDGEWISE_UPLOAD_KILLS", "6"))
SIZE = 40_000_000
SEED = 11

RECEIVER = """
import hashlib, os, random, sys
from pathlib import Path
from edgewise._lib.clock import SystemClock
from edgewise.journal.blobs import BlobStore
from edgewise.journal.cipher import open_cipher
from edgewise.journal.uploads import Uploads

folder, key, slow = Path(sys.argv[1]), sys.argv[2], sys.argv[5] == "slow"
size, seed = int(sys.argv[3]), int(sys.argv[4])
content = random.Random(seed).randbytes(size)
digest = hashlib.sha256(content).hexdigest()
clock = SystemClock()
store = BlobStore(folder / "blobs", clock=clock, cipher=open_cipher(key) if key else None)
uploads = Uploads(folder / "uploads", store=store, clock=clock)

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

offset = uploads.begin(digest, size, "video/mp4")
tell("begun", offset)
pieces = random.Random()
stop = offset + size // 10 if slow else size
while offset < stop:
    offset = uploads.write(digest, offset, content[offset : offset + pieces.randrange(1, 20_000)])
    tell("taken", offset)
while slow:
    uploads.write(digest, offset, b"")  # until it is killed
uploads.finish(digest)
tell("kept", offset)
"""


@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed"])
def test_what_was_taken_survives_being_killed_at_any_moment(tmp_path: Path, sealed: bool) -> None:
    key = str(tmp_path / "node.key") if sealed else ""
    if key:
        make_key(Path(key))
    content = random.Random(SEED).randbytes(SIZE)
    digest = hashlib.sha256(content).hexdigest()
    taken, moments = 0, random.Random(3)
    for kill in range(KILLS + 1):
        last = kill == KILLS
        arguments = [str(tmp_path), key, str(SIZE), str(SEED), "fast" if last else "slow"]
        with subprocess.Popen([sys.executable, "-c", RECEIVER, *arguments], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            word, offset = child.stdout.readline().split()
            assert (word, int(offset) >= taken) == ("begun", True)
            timer = threading.Timer(moments.uniform(0.005, 0.1), child.kill)
            if not last:
                timer.start()
            for line in child.stdout:
                word, told = line.split()
                taken = int(told)
            timer.cancel()
    assert word == "kept"
    assert read_blob(tmp_path / "blobs", digest, open_cipher(key) if key else None) == content
    assert list((tmp_path / "uploads").iterdir()) == []
