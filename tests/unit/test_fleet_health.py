"""How a node is: silence is told from what it said, and no fault is hidden by another."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edgewise.fleet.health import CLOCK_S, GONE, HOT_C, LATE, LOW_DISK_BYTES, Status, Why, judge
from edgewise.link.reports import PipelineReport, Report, ResourceReport

ORDER = list(Status)

reports = st.builds(
    Report,
    node=st.just("door"),
    every_s=st.sampled_from([15.0, 300.0]),
    clock_ahead_s=st.floats(-1e6, 1e6),
    pipelines=st.lists(
        st.builds(PipelineReport, name=st.just("p"), phase=st.sampled_from(["running", "retrying", "failed", "new"])),
        max_size=3,
    ).map(tuple),
    resources=st.builds(
        ResourceReport,
        disk_free_bytes=st.none() | st.integers(0, 2**40),
        temperature_c=st.none() | st.floats(-50, 150),
    ),
)
ages = st.floats(0, 1e7)


def faulty(report: Report) -> bool:
    use = report.resources
    return (
        any(pipeline.phase in {"retrying", "failed"} for pipeline in report.pipelines)
        or (use.disk_free_bytes is not None and use.disk_free_bytes < LOW_DISK_BYTES)
        or (use.temperature_c is not None and use.temperature_c >= HOT_C)
        or abs(report.clock_ahead_s) > CLOCK_S
    )


@given(reports, ages)
def test_the_status_is_the_worst_that_is_known_and_each_has_its_reasons(report: Report, age_s: float) -> None:
    health = judge(report, age_s=age_s)
    silent = age_s > LATE * report.every_s
    if age_s > GONE * report.every_s:
        assert health.status is Status.GONE
    elif faulty(report):
        assert health.status is Status.FAILING
    else:
        assert health.status is (Status.LATE if silent else Status.OK)
    assert (health.status is Status.OK) == (not health.reasons)
    assert any(reason.why is Why.SILENT for reason in health.reasons) == silent
    assert any(reason.why != Why.SILENT for reason in health.reasons) == faulty(report)
    assert all(reason.message for reason in health.reasons)


@given(reports, ages, ages)
def test_silence_never_makes_it_better(report: Report, one: float, other: float) -> None:
    sooner, later = sorted((one, other))
    assert ORDER.index(judge(report, age_s=sooner).status) <= ORDER.index(judge(report, age_s=later).status)


def test_a_node_behind_one_that_is_gone_says_so() -> None:
    health = judge(Report("door"), age_s=1000, parent_gone="gateway")
    assert [(reason.why, reason.what) for reason in health.reasons] == [(Why.PARENT_GONE, "gateway")]


def test_who_was_never_heard_of_is_gone() -> None:
    assert judge(None, age_s=math.inf).reasons[0].why is Why.NEVER_HEARD
    assert judge(None, age_s=math.inf).status is Status.GONE
