"""The seam between a model's output tensors and typed results.

One kind of head is one file with a frozen options struct and a class that keeps ``Decoder``; a row in ``catalog.py``
names it. Decoders are pure: no files, no state that changes, safe in any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from edgewise._lib.documents import nearest
from edgewise.errors import EngineError, PackageError
from edgewise.models.geometry import Geometry
from edgewise.models.manifest import Layout, Manifest, Output

if TYPE_CHECKING:
    from edgewise.types import Array, Result

MAX_LABELS = 1_000_000


class TaskOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the options of a task, which stand in ``task`` of the manifest.

    Attributes:
        kind: The name in the catalogue.
    """

    kind: str


class Context(msgspec.Struct, frozen=True):
    """What a decoder needs to know of the items of a batch.

    Attributes:
        items: Per item the way back to its picture; None for what is no picture.
    """

    items: tuple[Geometry | None, ...]

    def geometry(self, index: int) -> Geometry:
        """The geometry of a picture.

        Raises:
            PackageError: The model's input is no picture, so its outputs cannot be places in one.
        """
        geometry = self.items[index]
        if geometry is None:
            raise _fault("task.kind", "finds places in pictures, but the input is of another kind")
        return geometry


class Head(msgspec.Struct, frozen=True):
    """What a decoder may know of its model while it is made.

    Attributes:
        manifest: The model's.
        read: Gives the content of a file of the package.
    """

    manifest: Manifest
    read: Callable[[str], bytes]

    def output(self, name: str = "", *, field: str = "task.output") -> Output:
        """The output of that name; without one, the model's only output.

        Raises:
            PackageError: There is none of that name, or several to choose from.
        """
        outputs = {output.name: output for output in self.manifest.outputs}
        if name in outputs:
            return outputs[name]
        if not name and len(outputs) == 1:
            return self.manifest.outputs[0]
        message = f"no output is named {name!r}" if name else "must name one of the outputs"
        raise _fault(field, message, nearest(name, list(outputs)))

    def labels(self, path: str, *, classes: int = -1) -> tuple[str, ...]:
        """The class names, one a line of the file.

        Args:
            path: The file in the package.
            classes: How many there must be; ``-1`` for any number.

        Raises:
            PackageError: The file is missing, not UTF-8, too long, or has another number of lines.
        """
        try:
            lines = tuple(self.read(path).decode("utf-8-sig").splitlines())
        except UnicodeDecodeError as error:
            raise PackageError(f"{path} is not UTF-8 text", file=path, field="task.labels") from error
        if not 0 < len(lines) <= MAX_LABELS or (classes >= 0 and len(lines) != classes):
            expected = classes if classes >= 0 else f"1 to {MAX_LABELS}"
            raise PackageError(
                f"{path} has {len(lines)} labels, expected {expected}",
                hint="One class name a line, as many as the output has classes.",
                file=path,
                field="task.labels",
                expected=expected,
                actual=len(lines),
            )
        return lines

    def picture_size(self) -> tuple[int, int]:
        """Height and width of the model's picture input.

        Raises:
            PackageError: Its first input is no picture, or of open size.
        """
        spec = self.manifest.inputs[0]
        planar = any(isinstance(operation, Layout) and operation.to == "NCHW" for operation in spec.preprocess)
        height, width = (spec.shape[-2:] if planar else spec.shape[-3:-1]) if len(spec.shape) >= 3 else (-1, -1)
        if spec.kind != "image" or height < 1 or width < 1:
            raise _fault("inputs[0]", "must be a picture of fixed size for this task")
        return height, width

    def columns(self, name: str) -> int:
        """Size of the last axis of an output; -1 when the manifest leaves it open."""
        shape = self.output(name, field="task").shape
        return shape[-1] if shape else 1

    def rows(self, name: str, *, rows: int, columns: int) -> None:
        """Makes sure that an output has ``rows`` times ``columns`` values per item.

        Raises:
            PackageError: There is no such output, or the manifest states another size.
        """
        output = self.output(name, field="task")
        if classes_of(output) not in (-1, rows * columns):
            raise _fault("outputs", f"{name!r} is {list(output.shape)}, the task expects [-1, {rows}, {columns}]")


class Decoder(Protocol):
    """Turns a batch of output tensors into one result per item.

    Attributes:
        Options: The options struct.
        TUNABLE: Options that the caller of ``predict`` may change for one call.
    """

    Options: ClassVar[type[TaskOptions]]
    TUNABLE: ClassVar[tuple[str, ...]]

    def __init__(self, options: Any, head: Head) -> None:
        """Checks the options against the model.

        Args:
            options: An instance of ``Options``.
            head: The model's outputs, labels and so on.

        Raises:
            PackageError: The model's outputs do not fit this task.
        """
        ...

    def decode(self, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        """Decodes a batch; the result of an item does not depend on the others.

        Args:
            outputs: Arrays by the manifest's names, the batch on the first axis, all floats finite.
            context: One entry per item.

        Returns:
            One result per item, in order.
        """
        ...


def float_rows(output: Array, items: int) -> Array:
    """An output as float32 ``[items, n]``; outputs without a batch axis are those of one item.

    Raises:
        EngineError: It cannot be shared out among so many items.
    """
    import numpy as np

    if output.size % items:
        raise EngineError(f"The model gave {list(output.shape)} values for {items} items")
    return np.asarray(output, np.float32).reshape(items, -1)


def class_name(labels: Sequence[str], number: int) -> str:
    """The name of a class; its number when the model has no labels.

    Raises:
        EngineError: It lies past the labels, as can be when the manifest leaves the number of classes open.
    """
    if labels and number >= len(labels):
        raise EngineError(f"The model gave class {number}, but has {len(labels)} labels", actual=number)
    return labels[number] if labels else str(number)


def classes_of(output: Output) -> int:
    """How many values an output has per item; -1 when the manifest leaves it open."""
    count = 1
    for size in output.shape[1:] if len(output.shape) > 1 else output.shape:
        if size < 0:
            return -1
        count *= size
    return count


def fault(field: str, message: str, hint: str = "") -> PackageError:
    """A PackageError about a field of the manifest."""
    return _fault(field, message, hint)


def _fault(field: str, message: str, hint: str = "") -> PackageError:
    return PackageError(f"model.yaml, {field}: {message}", hint=hint, file="model.yaml", field=field)
