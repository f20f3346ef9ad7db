"""The calls of a client with one request, which Client and AsyncClient share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from google.protobuf import message as message_lib, wrappers_pb2

from logitd import _replies, _values, errors, sampling, server
from logitd.v1 import decoding_service_pb2, logits_pb2, model_service_pb2, server_service_pb2

_R = TypeVar("_R")


@dataclasses.dataclass(frozen=True)
class Unary(Generic[_R]):
    """A call with one request and one response."""

    path: str
    request: message_lib.Message
    response: type[message_lib.Message]
    # Of the response; of the list of them if there is a stream.
    result: Callable[[Any], _R]
    # Seconds; None: the client's.
    timeout: float | None = None


def info() -> Unary[server.ServerInfo]:
    return Unary("/logitd.v1.ServerService/GetServerInfo", server_service_pb2.GetServerInfoRequest(),
                 server_service_pb2.GetServerInfoResponse,
                 lambda response: _replies.convert(server.ServerInfo, response))


def models() -> Unary[list[server.Model]]:
    return Unary("/logitd.v1.ModelService/ListModels", model_service_pb2.ListModelsRequest(),
                 model_service_pb2.ListModelsResponse,
                 lambda response: [_replies.convert(server.Model, model) for model in response.models])


def health(model: str) -> Unary[bool]:
    # HealthCheckRequest and -Response have the same bytes as these: one text, and one number (1: SERVING).
    service = f"model/{_values.text(model, 'model')}" if model else ""
    return Unary("/grpc.health.v1.Health/Check", wrappers_pb2.StringValue(value=service), wrappers_pb2.Int32Value,
                 lambda response: bool(response.value == 1))


def not_serving(error: errors.LogitdError) -> bool:
    """The answer of is_serving to a failed call: False, or the error itself."""
    if isinstance(error, (errors.UnavailableError, errors.NotFoundError)):
        return False
    raise error


def vocabulary(model: str) -> Unary[server.Vocabulary]:
    """A call with a stream of responses."""
    def result(responses: list[Any]) -> server.Vocabulary:
        tokens = tuple(_replies.convert(server.VocabularyToken, token)
                       for response in responses for token in response.tokens)
        return server.Vocabulary(responses[0].model, responses[0].vocab_fingerprint, tokens)

    return Unary("/logitd.v1.ModelService/GetVocabulary", model_service_pb2.GetVocabularyRequest(model=model),
                 model_service_pb2.GetVocabularyResponse, result)


def _template_argument(argument: Any, value: Any, where: str) -> None:
    if isinstance(value, str):
        argument.string_value = _values.text(value, where)
    elif isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        argument.bool_value = bool(value)
    elif hasattr(value, "__index__"):
        argument.int_value = _values.int64(value, where)
    elif value is not None:
        argument.double_value = _values.number(value, where)


def render_chat(messages: Any, options: dict[str, Any], model: str) -> Unary[server.RenderedChat]:
    known = {"add_generation_prompt", "template_arguments", "model", "timeout"}
    for name in options:
        if name not in known:
            raise sampling.unknown_option(name, known, "render_chat")
    given = options.get("model")
    request = model_service_pb2.RenderChatRequest(model=model if given is None else _values.text(given, "model"))
    for i, message in enumerate(_values.items(messages, "messages", "messages")):
        where = f"messages[{i}]"
        if not isinstance(message, Mapping):
            raise TypeError(f"{where} must be a dict of role and content, got {type(message).__name__}")
        for name in message:
            if name not in ("role", "content", "name"):
                raise ValueError(f"{where} must have role, content and name alone, got {_values.quote(name)}")
        request.chat.messages.add(**{name: _values.text(value, f"{where}.{name}") for name, value in message.items()})
    if options.get("add_generation_prompt") is not None:
        request.chat.add_generation_prompt = _values.boolean(options["add_generation_prompt"], "add_generation_prompt")
    for name, value in (options.get("template_arguments") or {}).items():
        argument = request.chat.template_arguments.add(name=_values.text(name, "template_arguments"))
        _template_argument(argument, value, f"template_arguments[{name!r}]")
    return Unary("/logitd.v1.ModelService/RenderChat", request, model_service_pb2.RenderChatResponse,
                 lambda response: _replies.convert(server.RenderedChat, response), options.get("timeout"))


def _row(logits: Any) -> logits_pb2.Logits:
    """One dense row."""
    if not _values.is_array(logits):
        row = logits_pb2.Logits()
        row.float_values.extend([_values.number(value, f"logits[{i}]")
                                 for i, value in enumerate(_values.items(logits, "logits", "numbers"))])
        return row
    import numpy

    array = numpy.asarray(logits)
    if array.ndim != 1:
        raise ValueError(f"logits must be one row, got an array of shape {array.shape}")
    kinds = {"f4": ("<f4", logits_pb2.LOGITS_DTYPE_F32), "f2": ("<f2", logits_pb2.LOGITS_DTYPE_F16)}
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    if kind not in kinds:
        raise TypeError(f"logits must be float32 or float16, got {array.dtype}: give logits.astype('float32'), which "
                        "rounds each value")
    code, number = kinds[kind]
    block = logits_pb2.LogitsBlock(dtype=number, row_count=1, width=len(array))
    return logits_pb2.Logits(block=block, values=numpy.ascontiguousarray(array, code).tobytes())


_LISTS = ("prompt_token_ids", "output_token_ids", "excluded_token_ids")


def distribution(logits: Any, options: dict[str, Any]) -> Unary[server.Distribution]:
    known = sampling.STAGE_NAMES | {*_LISTS, "explain", "verify", "numerics_version", "timeout"}
    for name in options:
        if name not in known:
            raise sampling.unknown_option(name, known, "distribution")
    request = decoding_service_pb2.ComputeDistributionRequest(
        logits=_row(logits), explain=_values.boolean(options.get("explain", False), "explain"),
        sampling=sampling.sampling_params({name: value for name, value in options.items()
                                           if name in sampling.STAGE_NAMES}))
    for name in _LISTS:
        if options.get(name) is not None:
            getattr(request, name).extend(_values.token_ids(options[name], name))
    if options.get("numerics_version") is not None:
        request.numerics_version = _values.int32(options["numerics_version"], "numerics_version")
    if options.get("verify") is not None:
        sampling.put_verify(request, options["verify"])
    return Unary("/logitd.v1.DecodingService/ComputeDistribution", request,
                 decoding_service_pb2.ComputeDistributionResponse,
                 lambda response: _replies.convert(server.Distribution, response), options.get("timeout"))
