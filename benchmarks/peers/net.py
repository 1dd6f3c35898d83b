"""The network under test as each peer runs it: ONNX Runtime sessions of one thread, no spinning; JPEG by simplejpeg."""

import cv2
import numpy as np
import onnxruntime as ort
import simplejpeg

SIDE = 224
MEAN, STD = 127.0, 128.0


def open_session(path: str) -> ort.InferenceSession:
    """A session as a server with its own workers wants it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def infer(session: ort.InferenceSession, tensor: np.ndarray) -> np.ndarray:
    """Runs the network once."""
    return session.run(None, {session.get_inputs()[0].name: tensor})[0]


def classify(session: ort.InferenceSession, jpeg: bytes) -> tuple[int, float]:
    """From the bytes of a JPEG to the best class and its score, with nothing around it."""
    image = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    scale = 256 / min(image.shape[:2])
    size = (max(256, round(image.shape[1] * scale)), max(256, round(image.shape[0] * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
    image = image[top : top + SIDE, left : left + SIDE]
    tensor = np.ascontiguousarray(((image.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))[None]
    logits = infer(session, tensor)[0]
    exponentials = np.exp(logits - logits.max())
    best = int(exponentials.argmax())
    return best, float(exponentials[best] / exponentials.sum())
