"""Consumers that nobody is any more hold nothing back."""

from __future__ import annotations

from pathlib import Path

from edgewise.journal.base import Batch, Packed
from edgewise.journal.packed import pack
from edgewise.node import kin, organs
from edgewise.node.settings import load
from edgewise.types import Entry


def test_a_lake_a_parent_and_a_pipeline_that_are_gone_are_waited_for_no_longer(tmp_path: Path) -> None:
    file = tmp_path / "edgewise.yaml"
    file.write_text("node: {name: gateway, data: data}\npipelines:\n  hall: {source: {kind: below}}\n")
    settings = load(file, environment={})
    journal, blobs = organs.open_journal(settings)
    journal.take([Batch("door", "readings", (Packed(1, 1, pack([Entry("k", {}, time_ns=1)])),))])
    for consumer in ("lake", "parent", "pipeline/hall", "pipeline/attic", "rules"):
        journal.follow("door/readings", consumer)
        journal.follow("events", consumer)
    organs.forget_consumers(settings, journal)
    kin.settle_parent(settings, journal, blobs, None)
    assert {(each.node, each.consumer) for each in journal.audit() if each.consumer} == {
        ("door", "pipeline/hall"),
        ("door", "rules"),
        ("gateway", "pipeline/hall"),
        ("gateway", "rules"),
    }
    journal.close()
    blobs.close()
