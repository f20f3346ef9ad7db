"""What the mock server does: a request with any other field is refused, with the field's name."""

from __future__ import annotations

from typing import Any

import grpc

from logitd import errors

# The fields that it takes of each message. Messages that are not here have only fields that it takes.
_FIELDS: dict[str, tuple[str, ...]] = {
    "ScoreRequest": ("model", "items", "record", "tokenization", "evaluation"),
    "ScoreItem": ("id", "context", "continuations"),
    "Continuation": ("text", "tokens", "uncounted_prefix_bytes", "byte_count", "character_count"),
    "RankRequest": ("model", "items", "order_by", "inverse_temperature", "record", "tokenization", "evaluation"),
    "RankItem": ("id", "context", "candidates"),
    "Candidate": ("text", "tokens", "uncounted_prefix_bytes", "byte_count", "character_count"),
    "DecideRequest": ("model", "items", "temperature", "record", "tokenization", "evaluation"),
    "GenerateRequest": ("model", "prompt", "tokenization", "n", "first_sequence_key", "sampling", "stop", "record",
                        "stream", "evaluation"),
    "SamplingParams": ("temperature", "top_k", "top_p", "min_p", "seed"),
    "StopCriteria": ("stop_token_ids", "ignore_eos", "max_tokens"),
    "RecordOptions": ("model_log_prob", "sampling_log_prob", "rank", "entropy", "top_n", "named_token_ids",
                      "token_bytes", "layout"),
    "DecodeConfig": ("vocab_size", "end_token_ids", "sampling", "stop", "record"),
    "StepBatch": ("batch_id", "opens", "close_sequence_ids", "blocks", "steps"),
    "OpenSequence": ("sequence_id", "sequence_key", "sampling", "stop", "record", "fresh"),
    "SequenceStart": ("prompt_token_ids", "state"),
    "SequenceStep": ("sequence_id", "position", "row", "given_token_id"),
    "LogitsBlock": ("dtype", "row_count", "width"),
}


def refuse_others(message: Any, path: str = "") -> None:
    """Raises PreconditionError with code UNIMPLEMENTED for the first field that the mock server does not know."""
    name = message.DESCRIPTOR.name
    known = _FIELDS.get(name)
    for field, value in message.ListFields():
        at = f"{path}{field.name}"
        if known is not None and field.name not in known:
            raise unimplemented(f"{name}.{field.name}", at)
        if field.type != field.TYPE_MESSAGE:
            continue
        # A field with many values is a container, and each value has fields of its own.
        if hasattr(value, "ListFields"):
            refuse_others(value, f"{at}.")
        else:
            for index, part in enumerate(value):
                refuse_others(part, f"{at}[{index}].")


def unimplemented(what: str, field: str = "") -> errors.LogitdError:
    """The error for something that only a real server does."""
    return errors.PreconditionError(f"the mock server does not do {what}: use a real server", field=field,
                                    code=grpc.StatusCode.UNIMPLEMENTED)
