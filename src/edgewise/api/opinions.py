"""``POST /link/v1/infer/MODEL``: what a model of this node, or of one above it, says of a child's picture."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edgewise.errors import NotFoundError, UnavailableError
from edgewise.link.consult import Opinion, Question

if TYPE_CHECKING:
    from edgewise.api.jobs import Jobs
    from edgewise.node.node import Node


class Opinions:
    """Answers children that are unsure.

    Args:
        node: Whose models are asked.
        jobs: Where they are computed.
    """

    def __init__(self, node: Node, jobs: Jobs) -> None:
        self._node = node
        self._jobs = jobs

    async def give(self, model: str, question: Question) -> Opinion:
        """What a model says.

        Raises:
            NotFoundError: Neither this node nor one above it that answers has the model.
            UnavailableError: It was not said in time.
            BusyError: Too much is to be computed.
        """
        try:
            async with asyncio.timeout(question.within_s):
                if model in self._node.repository.names():
                    return await self._jobs.run(self._own, model, question.picture)
                return await asyncio.to_thread(self._above, model, question)
        except TimeoutError as error:
            raise UnavailableError(f"{model} did not answer in time", retry_after_s=1) from error

    def _own(self, model: str, picture: bytes) -> Opinion:
        loaded = self._node.repository.get(model)
        found = loaded.model.predict(picture)
        node = self._node.settings.node.name
        return Opinion(found.result, node, found.model, found.version, found.variant, found.timing.total_ms)

    def _above(self, model: str, question: Question) -> Opinion:
        consulting = self._node.second.consulting
        opinion = consulting.ask(model, question.picture, within_s=question.within_s) if consulting else None
        if opinion is None:
            raise NotFoundError(f"No model is named {model!r} here, and nobody above answers", kind="model", name=model)
        return opinion
