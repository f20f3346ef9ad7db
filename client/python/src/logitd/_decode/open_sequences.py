"""The open sequences of a Decode stream with everything that it takes to open them again on another one: the caller's
words, and the state after the results so far (SequenceState).

    sequences = OpenSequences(config)
    sequences.take(batch, result)                    # of each result, in order
    for batch in sequences.reopen(): ...             # on a new stream

Memory: the prompt and the tokens of a sequence are kept only if a stage looks at them. One thread.
"""

from __future__ import annotations

import dataclasses

from logitd.v1 import completion_pb2, sampling_pb2
from logitd.v1 import decoding_service_pb2 as decoding

# Bounds of one batch that opens sequences: far below a message's.
OPENS_PER_BATCH = 1024
BYTES_PER_BATCH = 8 << 20


def copied(state: completion_pb2.ResumeState) -> completion_pb2.ResumeState:
    """A copy, because a part of a reply keeps the whole reply in memory."""
    copy = completion_pb2.ResumeState()
    copy.CopyFrom(state)
    return copy


def looks_at_tokens(sampling: sampling_pb2.SamplingParams) -> bool:
    """Whether a stage of these parameters looks at the tokens of a sequence, so that their number does not resume
    it."""
    return (sampling.HasField("repetition_penalty") or sampling.HasField("frequency_penalty") or
            sampling.HasField("presence_penalty") or sampling.no_repeat_ngram_size != 0 or sampling.HasField("dry") or
            len(sampling.sequence_biases) > 0)


@dataclasses.dataclass(slots=True)
class _Sequence:
    # Without its prompt and its state.
    open: decoding.OpenSequence
    keeps_tokens: bool
    token_count: int
    # Empty: it has none, or no stage looks at it. Sequences that share a prompt share it here.
    prompt: tuple[int, ...] = ()
    # Kept tokens.
    tokens: list[int] = dataclasses.field(default_factory=list)
    resume_state: completion_pb2.ResumeState | None = None


class OpenSequences:
    def __init__(self, config: decoding.DecodeConfig):
        self._config_looks_at_tokens = looks_at_tokens(config.sampling)
        self._sequences: dict[int, _Sequence] = {}

    def __len__(self) -> int:
        return len(self._sequences)

    def take(self, batch: decoding.StepBatch, result: decoding.BatchResult) -> None:
        """Follows a batch and its result. A sequence that failed or ended is open no longer."""
        if batch.opens:
            prompts = [tuple(prompt.token_ids) for prompt in batch.shared_prompts]
            for opened, answer in zip(batch.opens, result.opens):
                if not answer.HasField("error"):
                    self._open(opened, prompts, answer)
        for close in result.closes:
            self._sequences.pop(close.sequence_id, None)
        for step in result.steps:
            self._step(step)

    def _open(self, opened: decoding.OpenSequence, prompts: list[tuple[int, ...]],
              answer: decoding.OpenResult) -> None:
        keeps_tokens = looks_at_tokens(opened.sampling) if opened.HasField("sampling") else self._config_looks_at_tokens
        sequence = _Sequence(decoding.OpenSequence(sequence_id=opened.sequence_id, sequence_key=answer.sequence_key),
                             keeps_tokens, answer.next_position)
        start = opened.fresh
        if keeps_tokens:
            has_shared = start.HasField("shared_prompt")
            sequence.prompt = prompts[start.shared_prompt] if has_shared else tuple(start.prompt_token_ids)
            sequence.tokens = list(start.state.tokens.token_ids)
        if start.state.HasField("resume_state"):
            sequence.resume_state = copied(start.state.resume_state)
        if opened.HasField("sampling"):
            sequence.open.sampling.CopyFrom(opened.sampling)
            # Another stream would draw another seed.
            sequence.open.sampling.seed = answer.seed
        if opened.HasField("stop"):
            sequence.open.stop.CopyFrom(opened.stop)
        if opened.HasField("record"):
            sequence.open.record.CopyFrom(opened.record)
        self._sequences[opened.sequence_id] = sequence

    def _step(self, step: decoding.StepResult) -> None:
        sequence = self._sequences.get(step.sequence_id)
        if sequence is None:
            return
        chosen = step.chosen
        outcome = step.WhichOneof("outcome")
        if outcome == "error" or chosen.HasField("finish"):
            del self._sequences[step.sequence_id]
            return
        # A rest changes nothing, and a step that was sent twice is answered twice.
        if outcome != "chosen" or step.position != sequence.token_count:
            return
        sequence.token_count += len(chosen.tokens)
        sequence.resume_state = copied(chosen.resume_state)
        if sequence.keeps_tokens:
            sequence.tokens.extend(token.token_id for token in chosen.tokens)

    def reopen(self) -> list[decoding.StepBatch]:
        """Batches, without their ids, that open all sequences in their present state. Each fits a message."""
        batches: list[decoding.StepBatch] = []
        places: dict[tuple[int, ...], int] = {}
        size = 0
        for sequence in self._sequences.values():
            if not batches or len(batches[-1].opens) >= OPENS_PER_BATCH or size >= BYTES_PER_BATCH:
                batches.append(decoding.StepBatch())
                places = {}
                size = 0
            batch = batches[-1]
            opened = batch.opens.add()
            opened.CopyFrom(sequence.open)
            if sequence.prompt:
                opened.fresh.shared_prompt, prompt_size = share_prompt(batch, places, sequence.prompt)
                size += prompt_size
            if sequence.token_count > 0:
                state = opened.fresh.state
                if sequence.keeps_tokens:
                    state.tokens.token_ids.extend(sequence.tokens)
                else:
                    state.token_count = sequence.token_count
                if sequence.resume_state is not None:
                    state.resume_state.CopyFrom(sequence.resume_state)
            size += opened.ByteSize()
        return batches


def share_prompt(batch: decoding.StepBatch, places: dict[tuple[int, ...], int],
                 prompt: tuple[int, ...]) -> tuple[int, int]:
    """The place of a prompt among the batch's shared_prompts, where it is put if it is new, and the bytes that it adds.

    places: those of the batch's prompts so far.
    """
    place = places.setdefault(prompt, len(places))
    if place < len(batch.shared_prompts):
        return place, 0
    shared = batch.shared_prompts.add()
    shared.token_ids.extend(prompt)
    return place, shared.ByteSize()
