"""Which engines there are: name -> where its class lives and which extra installs it. Plain data, loaded on demand.

A package outside Edgewise adds an engine through the entry point group ``edgewise.runtimes``.
"""

import msgspec


class RuntimeRow(msgspec.Struct, frozen=True):
    """One engine.

    Attributes:
        location: ``module:Class``.
        extra: The extra of Edgewise that installs it; empty for the base install.
        suffixes: File endings of its artifacts; empty when they are not known (engines from outside).
        module: The vendor's top module; its presence means installed. Empty when the engine needs none.
        distributions: Packages that bring that module, the usual one first; the version is read from them.
    """

    location: str
    extra: str
    suffixes: tuple[str, ...]
    module: str = ""
    distributions: tuple[str, ...] = ("edgewise",)


CATALOG: dict[str, RuntimeRow] = {
    "onnxruntime": RuntimeRow(
        "edgewise.runtimes.onnxruntime:OnnxRuntime",
        "",
        (".onnx", ".ort"),
        "onnxruntime",
        (
            "onnxruntime",
            "onnxruntime-gpu",
            "onnxruntime-openvino",
            "onnxruntime-directml",
            "onnxruntime-qnn",
            "onnxruntime-migraphx",
        ),
    ),
    "litert": RuntimeRow(
        "edgewise.runtimes.litert:LiteRT", "litert", (".tflite",), "ai_edge_litert", ("ai-edge-litert",)
    ),
    "openvino": RuntimeRow("edgewise.runtimes.openvino:OpenVINO", "openvino", (".xml",), "openvino", ("openvino",)),
    "torchscript": RuntimeRow(
        "edgewise.runtimes.torchscript:TorchScript", "torch", (".pt", ".torchscript"), "torch", ("torch",)
    ),
    "executorch": RuntimeRow(
        "edgewise.runtimes.executorch:ExecuTorch", "executorch", (".pte",), "executorch", ("executorch",)
    ),
    "fake": RuntimeRow("edgewise.runtimes.fake:FakeRuntime", "", (".json",)),
}
