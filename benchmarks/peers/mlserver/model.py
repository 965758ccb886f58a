"""`add` as a custom runtime of MLServer, which speaks the Open Inference Protocol."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


def add(args):
    return args["a"] + args["b"]


class Add(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        result = add({tensor.name: tensor.data.root[0] for tensor in payload.inputs})
        output = ResponseOutput(name="result", shape=[1], datatype="INT64", data=[result])
        return InferenceResponse(model_name=self.name, outputs=[output])
