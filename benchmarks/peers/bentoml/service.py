"""`add` as a BentoML service: one worker, no access log, nothing measured or traced."""

import bentoml


@bentoml.service(
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"sample_rate": 0.0},
)
class Add:
    @bentoml.api
    async def add(self, a: int, b: int) -> int:
        return a + b
