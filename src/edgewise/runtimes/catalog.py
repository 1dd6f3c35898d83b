"""Which engines there are: name -> where its class lives and which extra installs it. Plain data, loaded on demand.

A package outside Edgewise adds an engine through the entry point group ``edgewise.runtimes``.
"""

import msgspec


class RuntimeRow(msgspec.Struct, frozen=True):
    """One engine.

    Attributes:
        location: ``module:Class``.
        extra: The extra of Edgewise that installs it; empty for the base install.
        suffixes: File endings of its artifacts.
    """

    location: str
    extra: str
    suffixes: tuple[str, ...]


CATALOG: dict[str, RuntimeRow] = {
    "onnxruntime": RuntimeRow("edgewise.runtimes.onnxruntime:OnnxRuntime", "", (".onnx", ".ort")),
    "litert": RuntimeRow("edgewise.runtimes.litert:LiteRT", "litert", (".tflite",)),
    "openvino": RuntimeRow("edgewise.runtimes.openvino:OpenVINO", "openvino", (".xml",)),
    "torchscript": RuntimeRow("edgewise.runtimes.torchscript:TorchScript", "torch", (".pt", ".torchscript")),
    "executorch": RuntimeRow("edgewise.runtimes.executorch:ExecuTorch", "executorch", (".pte",)),
    "fake": RuntimeRow("edgewise.runtimes.fake:FakeRuntime", "", (".json",)),
}
