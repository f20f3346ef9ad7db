"""Messages that are made to cost more than their bytes, of every kind that a request type allows; and generated calls.

A kind is one element, as short as the wire allows, again and again at one place of a request: an empty submessage, a
number of a list one by one or packed, an empty text, a field that is set over and over, and, at the top and in every
submessage, unknown groups, texts and numbers.
"""

import random
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from logitd.v1 import decoding_service_pb2, generation_service_pb2, model_service_pb2, plackett_luce_pb2
from logitd.v1 import scoring_service_pb2, server_service_pb2

# Every method of a client, and its request.
METHODS: dict[str, type[Message]] = {
    "/logitd.v1.DecodingService/Decode": decoding_service_pb2.DecodeRequest,
    "/logitd.v1.DecodingService/ComputeDistribution": decoding_service_pb2.ComputeDistributionRequest,
    "/logitd.v1.GenerationService/Generate": generation_service_pb2.GenerateRequest,
    "/logitd.v1.ScoringService/Score": scoring_service_pb2.ScoreRequest,
    "/logitd.v1.ScoringService/Rank": scoring_service_pb2.RankRequest,
    "/logitd.v1.ScoringService/ScoreLogits": scoring_service_pb2.ScoreLogitsRequest,
    "/logitd.v1.FittingService/FitStrengths": plackett_luce_pb2.FitStrengthsRequest,
    "/logitd.v1.ModelService/Tokenize": model_service_pb2.TokenizeRequest,
    "/logitd.v1.ModelService/Detokenize": model_service_pb2.DetokenizeRequest,
    "/logitd.v1.ModelService/RenderChat": model_service_pb2.RenderChatRequest,
    "/logitd.v1.ModelService/ListModels": model_service_pb2.ListModelsRequest,
    "/logitd.v1.ModelService/GetVocabulary": model_service_pb2.GetVocabularyRequest,
    "/logitd.v1.ServerService/GetServerInfo": server_service_pb2.GetServerInfoRequest,
}

# Of generated calls: those that a model works on, or that return a whole vocabulary, take a hundred times as long.
_WEIGHTS = [1 if name.endswith(("/Generate", "/Score", "/Rank", "/GetVocabulary")) else 10 for name in METHODS]
_VARINT, _FIXED64, _LENGTH, _GROUP, _END, _FIXED32 = 0, 1, 2, 3, 4, 5
_UNKNOWN = 999
_WIRE_TYPES = {FieldDescriptor.TYPE_DOUBLE: _FIXED64, FieldDescriptor.TYPE_FIXED64: _FIXED64,
               FieldDescriptor.TYPE_FLOAT: _FIXED32, FieldDescriptor.TYPE_STRING: _LENGTH,
               FieldDescriptor.TYPE_BYTES: _LENGTH, FieldDescriptor.TYPE_MESSAGE: _LENGTH}


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def _kinds_of(field: FieldDescriptor) -> Iterator[tuple[str, bytes, bytes]]:
    """(name, what comes once, what is repeated behind it)."""
    wire_type = _WIRE_TYPES.get(field.type, _VARINT)
    value = {_VARINT: b"\1", _FIXED64: bytes(8), _FIXED32: bytes(4), _LENGTH: b"\0"}[wire_type]
    yield field.name, b"", tag(field.number, wire_type) + value
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        yield f"{field.name} (one byte)", b"", tag(field.number, _LENGTH) + b"\1x"
        yield f"{field.name} (one text)", tag(field.number, _LENGTH), b"x"
    elif field.label == FieldDescriptor.LABEL_REPEATED and field.type != FieldDescriptor.TYPE_MESSAGE:
        yield f"{field.name} (packed)", tag(field.number, _LENGTH), value


def kinds(request: type[Message]) -> dict[str, "Kind"]:
    """By name."""
    found: dict[str, Kind] = {}

    def walk(message: Descriptor, path: tuple[int, ...], name: str) -> None:
        unknown = [("unknown group", b"", tag(_UNKNOWN, _GROUP) + tag(_UNKNOWN, _END)),
                   ("unknown text", b"", tag(_UNKNOWN, _LENGTH) + b"\0"),
                   ("unknown number", b"", tag(_UNKNOWN, _VARINT) + b"\1")]
        for kind, once, again in unknown:
            found[name + kind] = Kind(path, once, again, may_be_good=False)
        for field in message.fields:
            for kind, once, again in _kinds_of(field):
                found[name + kind] = Kind(path, once, again, may_be_good=field.message_type is None)
            if field.message_type is not None:
                walk(field.message_type, (*path, field.number), f"{name}{field.name}.")

    walk(request.DESCRIPTOR, (), "")
    return found


class Kind:
    """Makes messages of one kind, of any size.

    `may_be_good`: not if it is of submessages or of what is unknown. A number that is set again and again, a list of
    numbers or a text costs little; the request may be a good one, or its reply say what is wrong with an item.
    """

    def __init__(self, path: tuple[int, ...], once: bytes, again: bytes, may_be_good: bool):
        self.may_be_good = may_be_good
        self._path = path
        self._once = once
        self._again = again

    def message(self, size: int) -> bytes:
        """Of at most `size` bytes, and hardly less."""
        room = size - 16 * (1 + len(self._path))
        body = self._again * (room // len(self._again))
        if self._once:
            body = self._once + varint(len(body)) + body
        for number in reversed(self._path):
            body = tag(number, _LENGTH) + varint(len(body)) + body
        return body


class Calls:
    """Generated calls: requests of every method, about half of them good, half of all mutated on the wire."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def next(self) -> tuple[str, bytes]:
        """A method, and the bytes of its request."""
        method = self._random.choices(list(METHODS), _WEIGHTS)[0]
        request = METHODS[method]()
        if self._random.random() < 0.5:
            self._make_good(request)
        else:
            self._fill(request, 0)
        data = request.SerializeToString()
        return method, self._mutate(data) if self._random.random() < 0.5 else data

    def _make_good(self, request: Message) -> None:
        pick = self._random
        name = request.DESCRIPTOR.name
        width = pick.choice((2, 10, 1000, 32000, 128256) if pick.random() < 0.1 else (2, 10, 100))
        row = pick.randbytes(2 * width).replace(b"\x7f", b"\x3f").replace(b"\xff", b"\xbf")
        if name == "ComputeDistributionRequest":
            request.logits.block.dtype = 3
            request.logits.block.row_count = 1
            request.logits.block.width = width
            request.logits.values = row
            request.sampling.temperature = 0.7
        elif name == "DecodeRequest":
            request.config.vocab_size = width
            request.config.sampling.top_k = 5
        elif name == "ScoreLogitsRequest":
            request.config.vocab_size = width
        elif name == "GenerateRequest":
            request.prompt.text = "word " * pick.randrange(1, 20)
            request.stop.max_tokens = pick.randrange(1, 4)
        elif name == "ScoreRequest":
            for _ in range(pick.randrange(1, 4)):
                item = request.items.add()
                item.context.text = "a context"
                item.continuations.add().text = " and more"
        elif name == "RankRequest":
            item = request.items.add()
            item.context.text = "a context"
            item.candidates.add().text = " one"
            item.candidates.add().sums.sum_model_log_prob = -1
        elif name == "TokenizeRequest":
            request.texts.extend(["some text " * pick.randrange(100)] * pick.randrange(1, 4))
        elif name == "RenderChatRequest":
            request.chat.messages.add(role="user", content="some text " * pick.randrange(100))
        elif name == "DetokenizeRequest":
            request.tokens.add().token_ids.extend(pick.randrange(1000) for _ in range(pick.randrange(50)))

    def _fill(self, message: Message, depth: int) -> None:
        pick = self._random
        for field in message.DESCRIPTOR.fields:
            if pick.random() < 0.6:
                continue
            is_list = field.label == FieldDescriptor.LABEL_REPEATED
            for _ in range(pick.randrange(1, 5) if is_list else 1):
                if field.type == FieldDescriptor.TYPE_MESSAGE:
                    part = getattr(message, field.name)
                    if is_list:
                        part = part.add()
                    part.SetInParent()
                    self._fill(part, depth + 1)
                    continue
                value = self._value(field)
                if is_list:
                    getattr(message, field.name).append(value)
                else:
                    setattr(message, field.name, value)

    def _value(self, field: FieldDescriptor):
        pick = self._random
        if field.type == FieldDescriptor.TYPE_STRING:
            return "x" * pick.randrange(40)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return pick.randbytes(pick.choice((0, 4, 40, 4000)))
        if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            return pick.choice((0.0, 0.5, 1.0, -1.0, 1e30))
        if field.type == FieldDescriptor.TYPE_BOOL:
            return pick.random() < 0.5
        return pick.choice((0, 1, 2, 3, 100))

    def _mutate(self, data: bytes) -> bytes:
        pick = self._random
        out = bytearray(data)
        for _ in range(pick.randrange(1, 4)):
            at = pick.randrange(len(out) + 1)
            kind = pick.randrange(4)
            if kind == 0 and at < len(out):
                out[at] ^= 1 << pick.randrange(8)
            elif kind == 1:
                out[at:at] = pick.randbytes(pick.randrange(1, 8))
            elif kind == 2:
                del out[at:at + pick.randrange(1, 8)]
            else:
                out[at:at] = out[at:at + pick.randrange(1, 100)]
        return bytes(out)
