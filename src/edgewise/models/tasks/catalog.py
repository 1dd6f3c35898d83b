"""Which decoders there are: kind -> ``module:Class``. Plain data, loaded on demand.

A package outside Edgewise adds a kind through the entry point group ``edgewise.tasks``.
"""

CATALOG: dict[str, str] = {
    "classification": "edgewise.models.tasks.classification:ClassificationDecoder",
    "yunet": "edgewise.models.tasks.yunet:YunetDecoder",
    "nanodet": "edgewise.models.tasks.nanodet:NanodetDecoder",
    "ssd": "edgewise.models.tasks.ssd:SsdDecoder",
    "yolo": "edgewise.models.tasks.yolo:YoloDecoder",
    "embedding": "edgewise.models.tasks.embedding:EmbeddingDecoder",
    "words": "edgewise.models.tasks.words:WordsDecoder",
    "score": "edgewise.models.tasks.score:ScoreDecoder",
    "regression": "edgewise.models.tasks.regression:RegressionDecoder",
}
