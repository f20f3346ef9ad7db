"""Two sequences from a bigram model of one's own: the model stays here, logitd chooses the tokens and keeps the sums."""
import queue
import sys

import grpc
import numpy as np
from logitd.v1 import decoding_service_pb2 as pb
from logitd.v1 import decoding_service_pb2_grpc, logits_pb2, sampling_pb2

corpus = "a cat sat on the mat . the dog sat on a rug . the cat saw the dog . a dog ran .".split()
words = sorted(set(corpus))
ids, counts = np.array([words.index(word) for word in corpus]), np.full((len(words), len(words)), 0.05)
np.add.at(counts, (ids[:-1], ids[1:]), 1)
logits = np.log(counts).astype("<f4")  # Row i: what follows word i.

requests = queue.SimpleQueue()
channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
replies = decoding_service_pb2_grpc.DecodingServiceStub(channel).Decode(iter(requests.get, None))
requests.put(pb.DecodeRequest(config=pb.DecodeConfig(
    vocab_size=len(words), end_token_ids=[words.index(".")], stop=sampling_pb2.StopCriteria(max_tokens=12),
    sampling=sampling_pb2.SamplingParams(temperature=0.7, seed=3))))
next(replies)  # The stream is accepted.
texts = {1: [words.index("the")], 2: [words.index("a")]}  # Sequence id: its words, from the first one on.
opens, going, batch_id = [pb.OpenSequence(sequence_id=sequence) for sequence in texts], list(texts), 0
while going:
    batch_id += 1
    block = logits_pb2.LogitsBlock(dtype=logits_pb2.LOGITS_DTYPE_F32, row_count=len(going), width=len(words))
    steps = [pb.SequenceStep(sequence_id=s, position=len(texts[s]) - 1, row=i) for i, s in enumerate(going)]
    requests.put(pb.DecodeRequest(batch=pb.StepBatch(batch_id=batch_id, opens=opens, blocks=[block], steps=steps),
                                  payload=logits[[texts[s][-1] for s in going]].tobytes()))
    result, opens = next(replies).result, []
    if failed := [reply for reply in [*result.opens, *result.steps] if reply.HasField("error")]:
        sys.exit(f"sequence {failed[0].sequence_id}: {failed[0].error.message}")
    for step in result.steps:
        texts[step.sequence_id] += [token.token_id for token in step.chosen.tokens]
        if step.chosen.HasField("finish"):
            going.remove(step.sequence_id)
            print(*(words[i] for i in texts[step.sequence_id]), f" {step.chosen.totals.cumulative_model_log_prob:.6f}")
requests.put(None)  # Half-close: the stream ends in order, and its status is waited for.
assert replies.code() is grpc.StatusCode.OK, replies.details()
