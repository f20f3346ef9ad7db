"""LogitdLM, the model type `logitd` of lm-evaluation-harness."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from lm_eval.api.model import LM

import logitd
from logitd import errors, server as server_lib
from logitd._progress import Progress
from logitd.lm_eval import chat, encoding, generation, grouping

if TYPE_CHECKING:
    from logitd.lm_eval import template

_log = logging.getLogger(__name__)

# Of one item: the server evaluates what items of a request share once, so that several are no dearer than one.
_MOST_CONTINUATIONS = 256
_MOST_CONTINUATION_SIZE = 1 << 16
_TEXTS_AT_ONCE = 256
_SUMS = logitd.Record(layout="none")


class LogitdLM(LM):  # type: ignore[misc]
    """A model of a logitd server, for lm-evaluation-harness: log-probs, perplexities and completions.

        simple_evaluate(model=LogitdLM("127.0.0.1:50051", in_flight=16), tasks=["hellaswag"])

    The tokens of contexts and continuations are those of the harness's rule (Boundary.LM_EVAL), made by the server.
    Scores do not depend on batch_size and in_flight, up to the model's batch tolerance; with `reproducible` not at all.
    """

    def __init__(self, server: str = "127.0.0.1:50051", model: str = "", *, in_flight: int = 16,
                 timeout: float | None = None, retry_for: float = 300.0, max_length: int | None = None,
                 max_gen_toks: int = 256, seed: int = 1234, add_bos_token: bool | None = None,
                 parse_special_tokens: bool = False, chat_template_args: Mapping[str, Any] | None = None,
                 enable_thinking: bool | None = None, think_end_token: str | None = None,
                 reproducible: bool | None = None, no_cache: bool = False, cache_salt: str = "",
                 credentials: grpc.ChannelCredentials | None = None, batch_size: int | str = 1,
                 max_batch_size: int | None = None, device: str | None = None):
        """Connects, and asks for the model.

        server: HOST:PORT or unix:PATH. model: its name; empty: the only one there is. in_flight: requests at once.
        timeout: of one request, seconds. retry_for: how long to wait for a server that does not answer, seconds.
        max_length: the longest sequence, tokens, in [2, the model's context length], which is the default. Longer
          contexts lose their beginning, and longer texts are scored in windows.
        max_gen_toks: most tokens of a completion, if the task does not say.
        seed: of samples, if the task does not say. The k-th of equal requests draws as sequence key k.
        add_bos_token: BOS begins every text. Default: as the model's file says.
        parse_special_tokens: names of control tokens in the texts of tasks are control tokens, as in transformers'
          tokenizers. False: they are text. Those that the chat template writes are control tokens always.
        chat_template_args: variables of the chat template. enable_thinking: one of them.
        think_end_token: a completion's text up to the last one of these is left out.
        reproducible, no_cache, cache_salt: see EvaluationOptions.
        batch_size, max_batch_size, device: the harness's own flags. They change nothing: the server makes the batches.
        """
        super().__init__()
        self._client = logitd.Client(server, model=str(model), timeout=timeout, retry_for=retry_for,
                                     in_flight=in_flight, credentials=credentials)
        self._check_batch_size(batch_size)
        self._facts = self._model_facts(str(model))
        context_length = self._facts.context_length
        self.max_length = context_length if max_length is None else max_length
        if not 2 <= self.max_length <= context_length:
            raise ValueError(f"max_length must be in [2, {context_length}], up to the model's context length, got "
                             f"{max_length}")
        self.max_gen_toks = max_gen_toks
        self._seed = seed
        self._add_bos = add_bos_token
        if not isinstance(think_end_token, (str, type(None))):
            raise TypeError(f"think_end_token must be text, got {think_end_token!r}: completions have no token ids")
        self._think_end = think_end_token
        self._cache: dict[str, Any] = {"no_cache": no_cache, "cache_salt": str(cache_salt)}
        self._reproducible = reproducible
        self._template_variables = dict(chat_template_args or {})
        if enable_thinking is not None:
            self._template_variables["enable_thinking"] = enable_thinking
        self._rules = self._make_rules(parse_special_tokens)
        self._encoder = encoding.Encoder(self._rules, self._tokenize)
        self._warned: set[str] = set()

    @staticmethod
    def _check_batch_size(batch_size: int | str) -> None:
        text = str(batch_size)
        if text.split(":")[0] != "auto" and not (text.isdecimal() and int(text) >= 1):
            raise ValueError(f"batch_size must be a number >= 1, auto or auto:N, got {batch_size!r}")
        if text != "1":
            _log.info("batch_size %s changes nothing: the server makes the batches, from in_flight requests.", text)

    def _model_facts(self, name: str) -> server_lib.Model:
        models = self._client.models()
        found = [model for model in models if model.name == name] if name else models
        if len(found) != 1:
            raise ValueError(f"model={name!r}: the server has {', '.join(model.name for model in models) or 'no model'}"
                             + ("; name one of them" if models and not name else ""))
        # Waits for a runner that is on its way, and raises if the model has no tokenizer.
        self._client.tokenize("a")
        (facts,) = (model for model in self._client.models() if model.name == found[0].name)
        return facts

    def _make_rules(self, parse_special_tokens: bool) -> encoding.Rules:
        facts = self._facts
        self._names: dict[int, str] = {}
        if facts.capabilities is not None and facts.capabilities.vocabulary:
            self._names = {token.token_id: token.name for token in self._client.vocabulary() if token.name}
        adds_bos = facts.adds_bos if self._add_bos is None else self._add_bos
        return encoding.Rules(
            names=chat.ControlNames(self._names.values()), prefix_token_id=self._prefix(),
            bos_token_id=facts.bos_token_id if adds_bos else None, bos_name=self._name(facts.bos_token_id),
            parse_special_tokens=parse_special_tokens)

    def _name(self, token_id: int | None) -> str:
        return "" if token_id is None else self._names.get(token_id, "")

    @property
    def eot_token_id(self) -> int | None:
        """The token that the model's tokenizer calls EOS."""
        return self._facts.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that stands for an empty context: BOS, or else EOS. Raises ValueError if the model has neither."""
        (token,) = self._rules.prefix()
        return token

    def _prefix(self) -> int | None:
        facts = self._facts
        if (token := facts.bos_token_id if facts.bos_token_id is not None else facts.eos_token_id) is not None:
            return token
        return facts.end_token_ids[0] if len(facts.end_token_ids) == 1 else None

    def get_model_info(self) -> dict[str, Any]:
        """What the results are to say about the model."""
        facts, info = self._facts, self._client.info()
        return {"model_name": facts.name, "model_sha": facts.model_fingerprint.hex(), "model_dtype": facts.precision,
                "model_num_parameters": facts.parameter_count if facts.parameter_count is not None else -1,
                "max_length": self.max_length, "batch_tolerance_nats": facts.batch_tolerance_nats,
                "logitd_server_version": info.server_version, "logitd_numerics_version": info.numerics_version}

    # Chat templates.

    @functools.cached_property
    def _template(self) -> template.ChatTemplate:
        if not self._facts.chat_template:
            raise ValueError(f"model {self._facts.name!r} has no chat template, which --apply_chat_template needs")
        from logitd.lm_eval import template

        return template.ChatTemplate(
            self._facts.chat_template, bos_token=self._name(self._facts.bos_token_id),
            eos_token=self._name(self._facts.eos_token_id), names=self._rules.names, variables=self._template_variables)

    @property
    def tokenizer_name(self) -> str:
        """Identifies vocabulary and template, for the harness's caches of requests."""
        facts = self._facts
        template = json.dumps([facts.chat_template, self._template_variables], sort_keys=True, default=str)
        return "-".join(("logitd", facts.name.replace("/", "__"), facts.vocab_fingerprint.hex()[:16],
                         hashlib.sha256(template.encode()).hexdigest()[:16]))

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The model's template. A model file has one; any other name than "default" is a ValueError."""
        if chat_template is False or chat_template is None:
            return None
        if isinstance(chat_template, str) and chat_template != "default":
            raise ValueError(f"model {self._facts.name!r} has one chat template without a name; got {chat_template!r}")
        return self._facts.chat_template

    def apply_chat_template(self, chat_history: template.Messages, add_generation_prompt: bool = True) -> chat.Prompt:
        """The conversation as a prompt. If the template refuses it, renders it without system messages, as the harness
        does."""
        own = self._template
        from logitd.lm_eval.template import TemplateError

        try:
            return own.render(chat_history, add_generation_prompt)
        except TemplateError as error:
            others = [message for message in chat_history if message["role"] != "system"]
            if len(others) == len(chat_history):
                raise
            self._warn_once("The chat template refuses the conversation (%s); its system messages are left out.", error)
            return own.render(others, add_generation_prompt)

    # Scores.

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-prob of each continuation after its context, nats, and whether greedy decoding would give it."""
        pairs: list[tuple[str, str]] = [request.args[:2] for request in requests]
        self._warn_of_names(text for pair in pairs for text in pair)
        answers: list[tuple[float, bool]] = [(math.nan, False)] * len(pairs)
        is_short = self.max_length < self._facts.context_length
        by_ids = [i for i, pair in enumerate(pairs) if is_short or not self._rules.is_plain(*pair)]
        by_text = sorted(set(range(len(pairs))).difference(by_ids))

        with Progress(not disable_tqdm, len(pairs), "pair") as bar:
            def take(places: Sequence[int], item: grouping.Item[Any], scored: Any) -> None:
                for asked, continuation in zip(item.places, scored.continuations):
                    for place in asked:
                        context, text = pairs[places[place]]
                        answers[places[place]] = self._answer(continuation, context, text)
                        self.cache_hook.add_partial("loglikelihood", (context, text), answers[places[place]])
                    bar.add(len(asked))

            for (parse, add), places in _by(by_text, lambda i: self._options(pairs[i][0])).items():
                self._score([(str(pairs[i][0]), pairs[i][1]) for i in places], places, take,
                            parse_special_tokens=parse, add_special_tokens=add)
            if by_ids:
                encoded = [self._cut(*pair) for pair in self._encoder.pairs([pairs[i] for i in by_ids])]
                self._score(encoded, by_ids, take)
        return answers

    def _score(self, pairs: Sequence[tuple[Any, Any]], places: Sequence[int], take: Callable[..., None],
               **options: Any) -> None:
        most = min(_MOST_CONTINUATIONS, self._client.info().limits.max_continuations)
        items = grouping.group(pairs, most=most, most_size=_MOST_CONTINUATION_SIZE)
        scores = self._client.score_each([(item.context, item.continuations) for item in items], boundary="lm-eval",
                                         truncation="context-left", record=_SUMS, reproducible=self._reproducible,
                                         **options, **self._cache)
        for item, scored in zip(items, scores):
            if scored.error is not None:
                raise _with_text(scored.error, str(item.context))
            take(places, item, scored)

    def _answer(self, scored: Any, context: str, continuation: str) -> tuple[float, bool]:
        if scored.error is not None:
            raise _with_text(scored.error, context, continuation)
        if scored.truncated_token_count:
            self._warn_once("Contexts are too long for max_length %d, and lose their beginning.", self.max_length)
        total = scored.cumulative_model_log_prob
        # No sum: the model gives probability zero to a token.
        return (-math.inf if total is None else total), bool(scored.is_greedy)

    def _options(self, context: str) -> tuple[bool, bool | None]:
        """parse_special_tokens and add_special_tokens."""
        pieces = self._rules.pieces(context)
        parse = pieces[0][1] if pieces else self._rules.parse_special_tokens
        return parse, False if self._rules.begins_with_bos(context) else self._add_bos

    def _cut(self, context: list[int], continuation: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As the harness cuts: max_length tokens are fed, of which the continuation's last one is none."""
        room = self.max_length + 1 - len(continuation)
        if room < 1:
            raise ValueError(f"a continuation has {len(continuation)} tokens, more than max_length {self.max_length}")
        if len(context) > room:
            self._warn_once("Contexts are too long for max_length %d, and lose their beginning.", self.max_length)
        return tuple(context[-room:]), tuple(continuation)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-prob of each text, nats, in windows of max_length tokens; that of an empty text is 0."""
        texts: list[str] = [request.args[0] for request in requests]
        self._warn_of_names(texts)
        wanted = [text for text in dict.fromkeys(texts) if text]
        sums = {"": 0.0}
        with Progress(not disable_tqdm, len(wanted), "text") as bar:
            # The harness's cache gets the results after each block.
            for begin in range(0, len(wanted), _TEXTS_AT_ONCE):
                block = wanted[begin:begin + _TEXTS_AT_ONCE]
                scores = self._client.rolling(
                    block, window=self.max_length, rule="lm-eval", reproducible=self._reproducible,
                    parse_special_tokens=self._rules.parse_special_tokens, **self._cache)
                for text, scored in zip(block, scores):
                    if scored.error is not None:
                        raise _with_text(scored.error, text)
                    total = scored.cumulative_model_log_prob
                    sums[text] = -math.inf if total is None else total
                    self.cache_hook.add_partial("loglikelihood_rolling", (text,), sums[text])
                bar.add(len(block))
        return [sums[text] for text in texts]

    # Completions.

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """The text that follows each context, up to a stop string of its generation_kwargs."""
        asked: list[tuple[str, Mapping[str, Any]]] = [request.args[:2] for request in requests]
        self._warn_of_names(context for context, _ in asked)
        answers = [""] * len(asked)
        eos = self._name(self.eot_token_id)
        keys = [json.dumps(kwargs, sort_keys=True, default=str) for _, kwargs in asked]
        # A wrong argument ends the run before anything is sent.
        groups = [(places, self._settings_of(asked[places[0]][1], eos))
                  for places in _by(range(len(asked)), lambda i: keys[i]).values()]
        with Progress(not disable_tqdm, len(asked), "request") as bar:
            for places, settings in groups:
                by_context = _by(places, lambda i: asked[i][0])
                # Equal requests are several samples of one prompt, or one completion if nothing is drawn.
                counts = {c: len(same) if settings.is_sampled else 1 for c, same in by_context.items()}
                for count, contexts in _by(by_context, counts.__getitem__).items():
                    for context, texts in zip(contexts, self._generate(contexts, settings, count)):
                        for place, text in zip(by_context[context], itertools.cycle(texts)):
                            answers[place] = text
                            self.cache_hook.add_partial("generate_until", asked[place], text)
                        bar.add(len(by_context[context]))
        return answers

    def _settings_of(self, kwargs: Mapping[str, Any], eos: str) -> generation.Settings:
        settings = generation.settings_of(kwargs, max_gen_toks=self.max_gen_toks, eos=eos, seed=self._seed)
        if settings.max_tokens >= self.max_length:
            raise ValueError(f"max_gen_toks {settings.max_tokens} must be less than max_length {self.max_length}")
        return settings

    def _generate(self, contexts: Sequence[str], settings: generation.Settings, count: int) -> Iterator[list[str]]:
        room = self.max_length - settings.max_tokens
        prompts = self._encoder.prompts(contexts)
        if any(len(prompt) > room for prompt in prompts):
            self._warn_once("Contexts are too long for max_length %d with max_gen_toks %d, and lose their beginning.",
                            self.max_length, settings.max_tokens)
        made = self._client.generate_each([prompt[-room:] for prompt in prompts], max_tokens=settings.max_tokens,
                                          stop=settings.stop, n=count, record=_SUMS, **settings.options, **self._cache)
        for context, each in zip(contexts, made):
            if each.error is not None:
                raise _with_text(each.error, context)
            yield [self._text(completion, context) for completion in each.completions]

    def _text(self, completion: Any, context: str) -> str:
        if completion.error is not None:
            raise _with_text(completion.error, context)
        text: str = completion.text
        if self._think_end and self._think_end in text:
            text = text.rpartition(self._think_end)[2].lstrip()
        return text

    # Tokens.

    def _tokenize(self, texts: Sequence[str], parse_special_tokens: bool) -> list[list[int]]:
        return [list(text.token_ids) for text in self._client.tokenize(
            texts, add_special_tokens=False, parse_special_tokens=parse_special_tokens)]

    def _warn_of_names(self, texts: Any) -> None:
        """Texts of tasks that hold names of control tokens."""
        if self._rules.parse_special_tokens:
            return
        name = next(filter(None, (self._rules.names.first(text) for text in texts
                                  if not isinstance(text, chat.Prompt))), None)
        if name:
            self._warn_once("Texts hold names of control tokens, such as %s. They are read as plain text; with "
                            "parse_special_tokens=true they are control tokens, as for transformers' tokenizers.", name)

    def _warn_once(self, message: str, *values: object) -> None:
        if message not in self._warned:
            self._warned.add(message)
            _log.warning(message, *values)


def _by(places: Any, key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """The places by their keys, in order."""
    groups: dict[Any, list[Any]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return groups


def _with_text(error: errors.LogitdError, *texts: str) -> errors.LogitdError:
    """The error with the end of the texts that it is about."""
    ends = " + ".join(repr(text if len(text) <= 60 else "..." + text[-57:]) for text in texts)
    return dataclasses.replace(error, message=f"{error.message} (of {ends})")
