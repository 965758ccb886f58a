"""`add` as FastAPI's tutorial writes it: a typed body, a typed answer."""

from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    a: int
    b: int


app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> int:
    return request.a + request.b
