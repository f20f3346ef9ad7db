"""The few things of lm-evaluation-harness on which logitd.lm_eval depends, for tests without it.

    lm_eval_standin.install()          # before `import logitd.lm_eval`
"""

from __future__ import annotations

import dataclasses
import sys
import types


class CacheHook:
    """Keeps what it is told."""

    def __init__(self):
        self.told: list[tuple] = []

    def add_partial(self, attr, req, res):
        self.told.append((attr, req, res))


class LM:
    def __init__(self):
        self.cache_hook = CacheHook()

    @classmethod
    def create_from_arg_obj(cls, arg_dict, additional_config=None):
        config = {key: value for key, value in (additional_config or {}).items() if value is not None}
        return cls(**arg_dict, **config)


@dataclasses.dataclass
class Request:
    """An Instance."""

    args: tuple
    # Of the recorded transcript.
    answer: object = None


def install() -> None:
    names = ("lm_eval", "lm_eval.api", "lm_eval.api.model")
    modules = [types.ModuleType(name) for name in names]
    modules[0].api, modules[1].model, modules[2].LM = modules[1], modules[2], LM
    sys.modules.update(zip(names, modules))
