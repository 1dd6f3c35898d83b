"""Writes a serialised ModelInfer request: ``grpc_request.py MODEL DATATYPE SHAPE DATA_FILE OUT_FILE``."""

import sys

from mlserver.grpc import dataplane_pb2 as pb

model, datatype, shape, data_file, out_file = sys.argv[1:]
with open(data_file, "rb") as file:
    data = file.read()
request = pb.ModelInferRequest(model_name=model)
tensor = request.inputs.add(name="x", datatype=datatype, shape=[int(size) for size in shape.split(",")])
if datatype == "BYTES":
    tensor.contents.bytes_contents.append(data)
else:
    request.raw_input_contents.append(data)
with open(out_file, "wb") as file:
    file.write(request.SerializeToString())
