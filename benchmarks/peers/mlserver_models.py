"""MLServer's models: the network on tensors, the network on JPEGs, and an echo."""

import os

import net
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Tensors(MLModel):
    async def load(self) -> bool:
        self.session = net.open_session(os.environ["BENCH_ONNX"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("y", net.infer(self.session, tensor))
        return InferenceResponse(model_name=self.name, outputs=[output])


class Pictures(Tensors):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        label, score = net.classify(self.session, payload.inputs[0].data[0])
        outputs = [
            ResponseOutput(name="label", shape=[1], datatype="INT64", data=[label]),
            ResponseOutput(name="score", shape=[1], datatype="FP32", data=[score]),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Echo(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", np.asarray(tensor))])
