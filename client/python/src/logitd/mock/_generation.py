"""Generate of the mock server."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Iterator

from logitd import _failures
from logitd.mock._choosing import Chooser, log_prob_of
from logitd.mock._records import Recorder, cumulative
from logitd.mock._scoring import Setting
from logitd.mock._texts import Texts
from logitd.v1 import completion_pb2, generation_service_pb2

_DEFAULT_MAX_TOKENS = 256
_MOST_N = 128


@dataclasses.dataclass(slots=True)
class _Growing:
    """A completion so far."""

    index: int
    key: int
    tokens: list[int]
    records: list[completion_pb2.TokenRecord]
    model_log_probs: list[float]
    sampling_log_probs: list[float]
    finish: completion_pb2.Finish | None = None


def _totals(growing: _Growing, recorder: Recorder) -> completion_pb2.SequenceTotals:
    totals = completion_pb2.SequenceTotals(token_count=len(growing.tokens))
    model = cumulative(growing.model_log_probs)
    if model is not None:
        totals.cumulative_model_log_prob = model
    sampling = cumulative(growing.sampling_log_probs)
    if sampling is not None and recorder.sampling:
        totals.cumulative_sampling_log_prob = sampling
    return totals


def generate(setting: Setting, end_token_ids: frozenset[int], request: generation_service_pb2.GenerateRequest
             ) -> Iterator[generation_service_pb2.GenerateResponse]:
    """The Generate call. A seed that the request does not give is 0."""
    model = setting.model
    chooser = Chooser(request.sampling)
    recorder = Recorder(request.record, model, model.vocab_size, samples=True)
    count = request.n if request.HasField("n") else 1
    if not 1 <= count <= _MOST_N:
        raise _failures.out_of_range("n", count, f"in [1, {_MOST_N}]")
    most = request.stop.max_tokens if request.stop.HasField("max_tokens") else _DEFAULT_MAX_TOKENS
    if most < 0:
        raise _failures.out_of_range("stop.max_tokens", most, ">= 0")
    _failures.check_token_ids("stop.stop_token_ids", request.stop.stop_token_ids, model.vocab_size)
    ends = set(request.stop.stop_token_ids) | (set() if request.stop.ignore_eos else end_token_ids)
    if request.prompt.WhichOneof("input") is None and not request.prompt.segments:
        raise _failures.required("prompt")
    texts = Texts(model, request.tokenization)
    prompt = texts.input(request.prompt, "prompt")
    if not prompt or not (request.prompt.text or request.prompt.tokens.token_ids or request.prompt.segments):
        field = "prompt.text" if request.prompt.WhichOneof("input") == "text" else "prompt"
        raise _failures.failure("EMPTY_PROMPT", f"{field} has no token", field=field)
    if len(prompt) > setting.context_length:
        raise _failures.failure("CONTEXT_LENGTH_EXCEEDED", f"prompt has {len(prompt)} tokens; the model takes "
                                f"{setting.context_length}", field="prompt")
    seed = chooser.seed or 0
    report = None
    if request.prompt.text and texts.doubles_bos(prompt):
        report = completion_pb2.TokenizationReport(doubled_bos=True)
    started = generation_service_pb2.GenerateStarted(seed=seed, prompt_token_count=len(prompt),
                                                     provenance=setting.provenance(), tokenization=report)
    yield generation_service_pb2.GenerateResponse(started=started)
    streams = not request.HasField("stream") or request.stream
    completions = []
    for index in range(count):
        growing = _Growing(index, request.first_sequence_key + index, [], [], [], [])
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while growing.finish is None:
            written = len(growing.records)
            text = _step(setting, growing, prompt, chooser, recorder, seed, most, ends)
            more = decoder.decode(text, final=growing.finish is not None)
            if streams and (more or growing.records[written:] or growing.finish is not None):
                yield generation_service_pb2.GenerateResponse(delta=generation_service_pb2.CompletionDelta(
                    index=index, tokens=growing.records[written:], text=more, totals=_totals(growing, recorder),
                    finish=growing.finish))
        completions.append(_completion(setting, growing, recorder, ends))
    generated = sum(completion.totals.token_count for completion in completions)
    evaluated = len(prompt) + sum(max(0, completion.totals.token_count - 1) for completion in completions)
    usage = completion_pb2.Usage(prompt_token_count=len(prompt), generated_token_count=generated,
                                 evaluated_token_count=evaluated if most else 0)
    yield generation_service_pb2.GenerateResponse(final=generation_service_pb2.GenerateFinal(
        completions=completions, usage=usage, seed=seed, provenance=setting.provenance(), tokenization=report))


def _step(setting: Setting, growing: _Growing, prompt: list[int], chooser: Chooser, recorder: Recorder, seed: int,
          most: int, ends: set[int]) -> bytes:
    """Chooses one token, or ends. Returns the bytes that it adds to the text."""
    position = len(growing.tokens)
    if position == most:
        growing.finish = completion_pb2.Finish(reason=completion_pb2.FINISH_REASON_MAX_TOKENS)
        return b""
    row = setting.model.row([*prompt, *growing.tokens])
    kept = chooser.kept(row)
    token_id = chooser.choose(kept, seed, growing.key, position)
    sampling_log_prob = log_prob_of(kept, token_id)
    growing.tokens.append(token_id)
    growing.model_log_probs.append(row[token_id])
    growing.sampling_log_probs.append(sampling_log_prob)
    if recorder.writes_tokens:
        growing.records.append(recorder.record(row, token_id, position, completion_pb2.TOKEN_ORIGIN_CHOSEN,
                                               sampling_log_prob, kept))
    if token_id in ends:
        growing.finish = completion_pb2.Finish(reason=completion_pb2.FINISH_REASON_STOP_TOKEN, stop_token_id=token_id)
        return b""
    if position + 1 == most:
        growing.finish = completion_pb2.Finish(reason=completion_pb2.FINISH_REASON_MAX_TOKENS)
    elif len(prompt) + len(growing.tokens) > setting.context_length:
        growing.finish = completion_pb2.Finish(reason=completion_pb2.FINISH_REASON_CONTEXT_FULL)
    return setting.model.token_bytes(token_id)


def _completion(setting: Setting, growing: _Growing, recorder: Recorder, ends: set[int]) -> completion_pb2.Completion:
    is_stopped = growing.tokens and growing.tokens[-1] in ends
    spelled = b"".join(map(setting.model.token_bytes, growing.tokens[:-1] if is_stopped else growing.tokens))
    completion = completion_pb2.Completion(
        index=growing.index, sequence_key=growing.key, tokens=growing.records, text=spelled.decode("utf-8", "replace"),
        totals=_totals(growing, recorder), finish=growing.finish)
    if setting.model.texts is None:
        return completion
    completion.byte_count = len(spelled)
    try:
        completion.character_count = len(spelled.decode())
    except UnicodeDecodeError:
        completion.raw_bytes = spelled
    return completion
