"""From any documents, failures and restarts to what is wanted last, and never by way of what did not change."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from edgewise.node.reconcile import Kind, Shape, Step, after, plan

NAMES = st.sampled_from("abcd")
SHAPES = st.builds(
    Shape,
    pipelines=st.dictionaries(NAMES, st.integers(0, 2), max_size=4),
    rules=st.tuples(st.integers(0, 2)),
    models=st.lists(st.sampled_from(["x", "y", "z"]), unique=True, max_size=3).map(tuple),
    parent=st.integers(0, 1),
)


def is_as(running: Shape, wanted: Shape) -> bool:
    """Whether nothing is missing; models that are wanted no more may stay."""
    return (
        (running.pipelines, running.rules, running.parent) == (wanted.pipelines, wanted.rules, wanted.parent)
    ) and set(wanted.models) <= set(running.models)


class House(RuleBasedStateMachine):
    """A node that is told one thing after the other, in which steps fail and which is killed."""

    shapes = Bundle("shapes")

    def __init__(self) -> None:
        super().__init__()
        self.wanted = self.kept = Shape()
        self.running = Shape()
        self.starts: dict[str, int] = {}

    @rule(shape=SHAPES, failing=st.sets(st.sampled_from(list(Kind))), lasts=st.integers(0, 8))
    def a_document_comes(self, shape: Shape, failing: set[Kind], lasts: int) -> None:
        """It is kept, then applied: some steps fail, and after ``lasts`` of them the power may go."""
        self.kept = shape
        self._settle(failing, lasts=lasts)

    @rule()
    def it_tries_again(self) -> None:
        self._settle(set(), lasts=100)
        assert is_as(self.running, self.kept)
        assert plan(self.running, self.kept) == ()

    @rule()
    def it_starts_again(self) -> None:
        self.running = Shape()
        self._settle(set(), lasts=100)
        assert is_as(self.running, self.kept)

    def _settle(self, failing: set[Kind], *, lasts: int) -> None:
        before = self.running
        for step in plan(self.running, self.kept)[:lasts]:
            assert self._touches_what_differs(step)
            if step.kind not in failing:
                self.running = after(self.running, step, self.kept)
        for name, pipeline in before.pipelines.items():  # whatever failed, what is wanted as it was runs as it was
            if self.kept.pipelines.get(name) == pipeline:
                assert self.running.pipelines[name] == pipeline

    def _touches_what_differs(self, step: Step) -> bool:
        match step.kind:
            case Kind.LOAD:
                return step.name in self.kept.models and step.name not in self.running.models
            case Kind.RULES:
                return self.running.rules != self.kept.rules
            case Kind.PARENT:
                return self.running.parent != self.kept.parent
            case _:
                return self.running.pipelines.get(step.name) != self.kept.pipelines.get(step.name)

    @invariant()
    def only_what_was_ever_wanted_runs(self) -> None:
        assert set(self.running.pipelines) <= set("abcd")


TestHouse = House.TestCase
TestHouse.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_steps_are_as_few_as_the_differences_and_in_an_order_that_works() -> None:
    running = Shape({"gone": 1, "same": 1, "other": 1}, rules=(1,), models=("x",))
    wanted = Shape({"same": 1, "other": 2, "new": 1}, rules=(2,), models=("x", "y"))
    assert plan(running, wanted) == (
        Step(Kind.LOAD, "y"),
        Step(Kind.RULES),
        Step(Kind.STOP, "gone"),
        Step(Kind.REPLACE, "other"),
        Step(Kind.START, "new"),
    )


def test_nothing_to_do_is_no_step() -> None:
    shape = Shape({"a": 1}, rules=(1,), models=("x",), parent=1)
    assert plan(shape, shape) == ()
