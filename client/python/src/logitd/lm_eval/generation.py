"""The generation_kwargs of a task as logitd's options, by the harness's rules. Nothing is dropped without a word."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger(__name__)

# In the order in which they count.
_MAX_TOKENS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_MIN_TOKENS = ("min_tokens", "min_new_tokens")
_STAGES = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_n_sigma", "repetition_penalty",
           "frequency_penalty", "presence_penalty", "no_repeat_ngram_size", "seed")
# Options that logitd does not have, with the values under which they change nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,), "num_beam_groups": (1,), "num_return_sequences": (1,), "n": (1,), "best_of": (1,),
    "length_penalty": (1, 1.0), "early_stopping": (False,), "use_cache": (True, False),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How completions are generated.

    stop: texts that end a completion, which they are not part of; the name of EOS, too, if it has one.
    is_sampled: tokens are drawn. False: the argmax is taken.
    options: more arguments of Client.generate.
    """

    max_tokens: int
    stop: tuple[str, ...]
    is_sampled: bool
    options: dict[str, Any]


def _first(kwargs: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first name that has one; the others are taken out, too."""
    values = {name: value for name in names if (value := kwargs.pop(name, None)) is not None}
    if len(values) > 1:
        _log.warning("generation_kwargs has %s; the first one counts.", values)
    return next(iter(values.values()), None)


def _stop(until: Any, eos: str) -> tuple[str, ...]:
    texts = [until] if isinstance(until, str) else [] if until is None else until
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"until must be a text or a list of texts, got {until!r}")
    # An empty one ends nothing.
    return tuple(dict.fromkeys(text for text in [*texts, eos] if text))


def _number(kwargs: dict[str, Any], name: str) -> float | None:
    value = kwargs.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def settings_of(generation_kwargs: Mapping[str, Any], *, max_gen_toks: int, eos: str, seed: int) -> Settings:
    """The settings of a task.

    As in the harness, a completion is sampled if do_sample is true, or if temperature is above 0 and do_sample is not
    given; else it is greedy.

    max_gen_toks: if the task does not say. eos: the name of EOS; "": none. seed: of samples, if the task does not say.
    Raises TypeError or ValueError, which name the argument: one that is not known, or that logitd cannot follow.
    """
    kwargs = dict(generation_kwargs)
    stop = _stop(kwargs.pop("until", None), eos)
    max_tokens = _first(kwargs, _MAX_TOKENS)
    do_sample = kwargs.pop("do_sample", None)
    temperature = _number(kwargs, "temperature")
    if do_sample not in (None, True, False):
        raise TypeError(f"do_sample must be true or false, got {do_sample!r}")
    if do_sample is False and temperature:
        _log.warning("do_sample is false, so that temperature %g has no effect: decoding is greedy.", temperature)
    if do_sample and not temperature:
        raise ValueError(f"do_sample is true and temperature is {temperature}: samples need a temperature above 0, "
                         "such as --gen_kwargs do_sample=true,temperature=1")
    is_sampled = bool(temperature) if do_sample is None else bool(do_sample)
    options: dict[str, Any] = {"temperature": temperature if is_sampled else 0.0}
    if (min_tokens := _first(kwargs, _MIN_TOKENS)) is not None:
        options["min_tokens"] = min_tokens
    for name in list(kwargs):
        value = kwargs.pop(name)
        if value is None:
            continue
        if name in _STAGES:
            options[name] = value
        elif name not in _NEUTRAL:
            known = sorted({"until", "do_sample", "temperature", *_MAX_TOKENS, *_MIN_TOKENS, *_STAGES, *_NEUTRAL})
            raise TypeError(f"generation_kwargs has {name}={value!r}, which logitd does not know; it knows "
                            f"{', '.join(known)}")
        elif value not in _NEUTRAL[name]:
            raise ValueError(f"generation_kwargs has {name}={value!r}; "
                             f"logitd can do {name}={_NEUTRAL[name][0]!r} alone")
    if is_sampled:
        options.setdefault("seed", seed)
    max_tokens = max_gen_toks if max_tokens is None else max_tokens
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, (int, float)) or max_tokens != int(max_tokens):
        raise TypeError(f"max_gen_toks must be a whole number, got {max_tokens!r}")
    return Settings(int(max_tokens), stop, is_sampled, options)
