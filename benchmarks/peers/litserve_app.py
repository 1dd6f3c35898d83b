"""LitServe with raw bytes in a multipart form, its leanest way in, and its faster queue."""

import os
import sys

import litserve
import net
import numpy as np
from fastapi import Request


class Tensors(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = net.open_session(os.environ["BENCH_ONNX"])

    def decode_request(self, request: Request) -> np.ndarray:
        return np.frombuffer(request["file"].file.read(), np.float32).reshape(1, 3, net.SIDE, net.SIDE)

    def predict(self, tensor: np.ndarray) -> np.ndarray:
        return net.infer(self.session, tensor)

    def encode_response(self, output: np.ndarray) -> dict:
        return {"best": int(output[0].argmax())}


class Pictures(Tensors):
    def decode_request(self, request: Request) -> bytes:
        return request["file"].file.read()

    def predict(self, jpeg: bytes) -> tuple[int, float]:
        return net.classify(self.session, jpeg)

    def encode_response(self, output: tuple[int, float]) -> dict:
        return {"label": output[0], "score": output[1]}


class Echo(litserve.LitAPI):
    def setup(self, device: str) -> None:
        """Nothing to load."""

    def decode_request(self, request: Request) -> np.ndarray:
        return np.frombuffer(request["file"].file.read(), np.float32)

    def predict(self, tensor: np.ndarray) -> np.ndarray:
        return tensor

    def encode_response(self, output: np.ndarray) -> dict:
        return {"data": output.tolist()}


if __name__ == "__main__":
    api = {"tensors": Tensors, "pictures": Pictures, "echo": Echo}[sys.argv[1]]()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False)
