"""A session that speaks the manifest's names, axes and shapes, whatever the artifact calls them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgewise._lib.documents import nearest
from edgewise.errors import EngineError, PackageError, TensorError
from edgewise.runtimes.base import Session, check_inputs
from edgewise.types import TensorSpec

if TYPE_CHECKING:
    from edgewise.models.manifest import Input, Manifest, Output, Variant
    from edgewise.types import Array


class BoundSession:
    """See the module. Safe in threads as the session is.

    Attributes:
        session: The engine's session.
        batched: Whether one call takes any number of items: all first axes are dynamic, in manifest and artifact.

    Args:
        session: An open session of the variant's artifact.
        manifest: The model's manifest.
        variant: The variant that was opened.

    Raises:
        PackageError: The artifact's tensors are not those of the manifest.
    """

    def __init__(self, session: Session, manifest: Manifest, variant: Variant) -> None:
        self.session = session
        self._specs = [TensorSpec(tensor.name, tensor.datatype, tensor.shape) for tensor in manifest.inputs]
        self._same = not variant.axes and tuple(self._specs) == tuple(session.inputs)
        self._inputs = {tensor.name: _own_name(tensor, variant) for tensor in manifest.inputs}
        self._outputs = {tensor.name: _own_name(tensor, variant) for tensor in manifest.outputs}
        self._shapes = {tensor.name: tensor.shape for tensor in manifest.outputs}
        self._axes = dict(variant.axes)
        inputs = _match("input", manifest.inputs, self._inputs, session.inputs)
        outputs = _match("output", manifest.outputs, self._outputs, session.outputs)
        for taken in manifest.inputs:
            _check(taken, _permuted(taken.shape, self._axes.get(taken.name)), inputs[taken.name])
        for given in manifest.outputs:
            spec = outputs[given.name]
            own = TensorSpec(spec.name, spec.datatype, _permuted(spec.shape, self._axes.get(given.name)))
            _check(given, given.shape, own)
        unfed = {spec.name for spec in session.inputs} - set(self._inputs.values())
        if unfed:
            raise _fault("inputs", f"the artifact also takes {', '.join(map(repr, sorted(unfed)))}")
        shapes = [spec.shape for spec in (*self._specs, *inputs.values())]
        shapes += [tensor.shape for tensor in manifest.outputs]
        self.batched = all(shape[:1] == (-1,) for shape in shapes)

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model once.

        Args:
            inputs: Arrays by the manifest's names.
            outputs: Names wanted; all when None.

        Raises:
            TensorError: A name, datatype or shape does not fit the manifest.
            EngineError: The engine failed, or gave an output of another shape than the manifest's.
            ClosedError: The session was closed.
        """
        wanted = self._outputs if outputs is None else self._wanted(outputs)
        if not self._same or inputs.keys() != self._inputs.keys():  # else the session checks the very same
            check_inputs(self._specs, inputs)
        given = {own: self._arranged(name, inputs[name]) for name, own in self._inputs.items()}
        raw = self.session.infer(given, tuple(wanted.values()))
        return {name: self._checked(name, raw[own]) for name, own in wanted.items()}

    def _wanted(self, outputs: Sequence[str]) -> dict[str, str]:
        for name in outputs:
            if name not in self._outputs:
                raise TensorError(f"No output is named {name!r}", hint=nearest(name, list(self._outputs)), tensor=name)
        return {name: self._outputs[name] for name in outputs}

    def _checked(self, name: str, array: Array) -> Array:
        """An output in the manifest's axes. Artifacts with open sizes tell only now what they give."""
        shape = self._shapes[name]
        if array.ndim == len(shape):
            array = self._arranged(name, array)
            if _agree(shape, array.shape):
                return array
        raise EngineError(
            f"Output {name!r} has shape {list(array.shape)}, the manifest says {list(shape)}",
            tensor=name,
            expected=list(shape),
            actual=list(array.shape),
        )

    def _arranged(self, name: str, array: Array) -> Array:
        if name in self._axes:
            array = array.transpose(self._axes[name])
        return array if array.flags.c_contiguous else array.copy()


def _permuted(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> tuple[int, ...]:
    return shape if axes is None or len(axes) != len(shape) else tuple(shape[axis] for axis in axes)


def _own_name(tensor: Input | Output, variant: Variant) -> str:
    return variant.tensors.get(tensor.name, tensor.name)


def _match(
    kind: str, tensors: Sequence[Input | Output], names: Mapping[str, str], specs: Sequence[TensorSpec]
) -> dict[str, TensorSpec]:
    own = {spec.name: spec for spec in specs}
    for tensor in tensors:
        if names[tensor.name] not in own:
            raise _fault(
                f"{kind}s",
                f"the artifact has no {kind} named {names[tensor.name]!r}",
                nearest(names[tensor.name], own) + " Name it under 'tensors' of the variant.",
            )
    return {tensor.name: own[names[tensor.name]] for tensor in tensors}


def _check(tensor: Input | Output, expected: tuple[int, ...], spec: TensorSpec) -> None:
    if not _agree(expected, spec.shape) or tensor.datatype != spec.datatype:
        raise _fault(
            f"{tensor.name}",
            f"is {tensor.datatype} {list(expected)}, but the artifact has {spec.datatype} {list(spec.shape)}",
        )


@functools.lru_cache(maxsize=1024)
def _agree(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(one) == len(other) and all(-1 in (a, b) or a == b for a, b in zip(one, other, strict=True))


def _fault(field: str, message: str, hint: str = "") -> PackageError:
    return PackageError(f"model.yaml, {field}: {message}", hint=hint, file="model.yaml", field=field)
