"""Client and AsyncClient behind one face, so that one test is a test of both."""

from __future__ import annotations

import asyncio
import atexit
import sys

import logitd


class Waiting:
    """An AsyncClient whose methods wait. `each(method, items)` collects what an asynchronous iterator gives."""

    is_async = True

    # One for all: a gRPC whose loops come and go complains of the events that come for a closed one.
    _loop = asyncio.new_event_loop()
    atexit.register(_loop.close)

    def __init__(self, *arguments, **options):
        self.client = logitd.AsyncClient(*arguments, **options)

    def __getattr__(self, name):
        method = getattr(self.client, name)

        async def call(*arguments, **options):
            return await method(*arguments, **options)

        return lambda *arguments, **options: self._loop.run_until_complete(call(*arguments, **options))

    def each(self, name: str, *arguments, most: int | None = None, **options) -> list:
        async def collect() -> list:
            found: list = []
            iterator = getattr(self.client, name)(*arguments, **options)
            async for result in iterator:
                found.append(result)
                if len(found) == most:
                    break
            await (iterator.close() if hasattr(iterator, "close") else iterator.aclose())
            return found

        return self._loop.run_until_complete(collect())

    def close(self) -> None:
        self._loop.run_until_complete(self.client.close())


class Plain:
    """A Client with the same face."""

    is_async = False

    def __init__(self, *arguments, **options):
        self.client = logitd.Client(*arguments, **options)

    def __getattr__(self, name):
        return getattr(self.client, name)

    def each(self, name: str, *arguments, most: int | None = None, **options) -> list:
        found: list = []
        iterator = getattr(self.client, name)(*arguments, **options)
        for result in iterator:
            found.append(result)
            if len(found) == most:
                break
        iterator.close()
        return found

    def close(self) -> None:
        self.client.close()


def both(case: type) -> type:
    """Makes the test case, whose `make` is Plain, also run with Waiting."""
    module = sys.modules[case.__module__]
    name = f"Async{case.__name__}"
    setattr(module, name, type(name, (case,), {"make": Waiting, "__module__": case.__module__}))
    return case
