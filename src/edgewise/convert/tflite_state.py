"""LiteRT models that keep variables inside: the variables become inputs and outputs, so that the model is a pure
function and whoever runs it keeps what it remembers.

Streaming models remember what they saw in resource variables (``VAR_HANDLE``, ``READ_VARIABLE``, ``ASSIGN_VARIABLE``),
set at the start by a second subgraph (``CALL_ONCE``). One interpreter can then serve one stream only and never begin
anew. Here each variable that is read becomes an input ``state_N``, each value that is assigned an output
``next_state_N``; all other operators, weights and numbers stay as they are.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgewise._lib.files import write_atomic
from edgewise.errors import MissingExtraError, PackageError

if TYPE_CHECKING:
    from edgewise.types import Array

_MARK = b"TFL3"


class Variable(NamedTuple):
    """One variable that became tensors.

    Attributes:
        input: Name of the input.
        output: Name of the output.
        datatype: By numpy's name.
        shape: Of both.
        start: What every value of it is at the beginning.
    """

    input: str
    output: str
    datatype: str
    shape: tuple[int, ...]
    start: float


def convert(source: Path, target: Path) -> tuple[Variable, ...]:
    """Writes the model without variables.

    Args:
        source: A LiteRT model with resource variables.
        target: The file to write.

    Returns:
        The variables, in the order of their names.

    Raises:
        MissingExtraError: LiteRT is not installed.
        PackageError: It is no such model, or a variable begins with different values.
    """
    schema, flatbuffers = _libraries()
    data = source.read_bytes()
    if data[4:8] != _MARK:
        raise PackageError(f"{source.name} is no LiteRT model", file=source.name)
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
    except (struct.error, IndexError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise PackageError(f"{source.name} is a damaged LiteRT model: {error}", file=source.name) from error
    codes = {index: _code(code) for index, code in enumerate(model.operatorCodes)}
    operator = schema.BuiltinOperator
    graph = model.subgraphs[0]
    starts = _starts(model, codes, operator)
    handles: dict[int, str] = {}
    taken: dict[str, int] = {}
    given: dict[str, int] = {}
    kept = []
    for step in graph.operators:
        code = codes[step.opcodeIndex]
        if code == operator.CALL_ONCE:
            continue
        if code == operator.VAR_HANDLE:
            handles[step.outputs[0]] = step.builtinOptions.sharedName.decode()
        elif code == operator.READ_VARIABLE:
            taken[handles[step.inputs[0]]] = step.outputs[0]
        elif code == operator.ASSIGN_VARIABLE:
            given[handles[step.inputs[0]]] = step.inputs[1]
        else:
            kept.append(step)
    if not taken or taken.keys() != given.keys():
        raise PackageError(f"{source.name} keeps no variables that are both read and set", file=source.name)
    graph.operators = kept
    found = [_expose(graph, number, name, taken, given, starts) for number, name in enumerate(sorted(taken))]
    model.subgraphs = [graph]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), _MARK)
    write_atomic(target, bytes(builder.Output()))
    return tuple(found)


def _expose(
    graph: Any, number: int, name: str, taken: dict[str, int], given: dict[str, int], starts: dict[str, Array]
) -> Variable:
    import numpy as np

    tensor, after, start = graph.tensors[taken[name]], graph.tensors[given[name]], starts[name]
    if start.size and np.ptp(start):
        raise PackageError(f"The variable {name!r} begins with different values")
    tensor.name, after.name = f"state_{number}", f"next_state_{number}"
    after.shape = tensor.shape
    graph.inputs = [*graph.inputs, taken[name]]
    graph.outputs = [*graph.outputs, given[name]]
    shape = tuple(int(size) for size in tensor.shape)
    return Variable(tensor.name, after.name, start.dtype.name, shape, float(start.flat[0]) if start.size else 0.0)


def _starts(model: Any, codes: dict[int, int], operator: Any) -> dict[str, Array]:
    """What each variable is set to by the subgraphs that run once."""
    import numpy as np

    found: dict[str, Array] = {}
    numpy_types = {0: "float32", 2: "int32", 3: "uint8", 9: "int8", 7: "int16"}
    for graph in model.subgraphs[1:]:
        handles: dict[int, str] = {}
        for step in graph.operators:
            code = codes[step.opcodeIndex]
            if code == operator.VAR_HANDLE:
                handles[step.outputs[0]] = step.builtinOptions.sharedName.decode()
            elif code == operator.ASSIGN_VARIABLE:
                tensor = graph.tensors[step.inputs[1]]
                if tensor.type not in numpy_types:
                    raise PackageError(f"A variable is of type {tensor.type}, which is not known")
                data = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
                found[handles[step.inputs[0]]] = np.frombuffer(data, numpy_types[tensor.type])
    return found


def _code(code: Any) -> int:
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _libraries() -> tuple[Any, Any]:
    try:
        import flatbuffers  # type: ignore[import-untyped, unused-ignore]
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingExtraError(
            "Converting this model needs LiteRT", hint="pip install 'edgewise[litert]'", extra="litert"
        ) from error
    return schema_py_generated, flatbuffers
