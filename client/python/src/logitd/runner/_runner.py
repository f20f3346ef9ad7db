"""A runner: it attaches a model to a server, and attaches it again when the connection is lost."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

import grpc

import logitd
from logitd import _channel, _failures, _retry, errors
from logitd.runner._attachment import API_VERSION, Attachment, Setup
from logitd.runner._batch_run import Counts
from logitd.runner._engine import engine_of
from logitd.runner._evaluator import Evaluator
from logitd.runner._model import Facts, Model
from logitd.runner._rows import WIRE_TYPES
from logitd.runner._text_calls import TextCalls
from logitd.runner._tokenizer import SpecialTokens
from logitd.v1 import completion_pb2, model_runner_service_pb2

_log = logging.getLogger("logitd.runner")
# How long `stop` waits for a runner that leaves; a stream without an answer is cut before.
_LEAVE_S = 10.0
# The time in which a server that has accepted a runner refuses its model, if it does.
_REFUSAL_S = 0.2


class Runner:
    """Serves a model in threads of its own.

        with Runner(MyModel(), "unix:/run/logitd/runner.sock", name="mine"):     # returns once the server has accepted
            ...

    It connects to a server's --runner-listen address. It calls the model in one thread, and its tokenizer in another
    one. Thread-safe.
    """

    def __init__(self, model: Model, address: str, *, name: str, version: str = "", runner_name: str | None = None,
                 reconnect: bool = True, abandon_after: float = 10.0):
        """No I/O.

        model: see logitd.runner.RowsModel and CachedModel, and Facts for what else it may say.
        name: the name that clients use, [A-Za-z0-9._:/-]{1,128}.
        version: the program and its version, for people. Default: that of this package.
        runner_name: the runner's own name, for logs. Default: host and process id.
        reconnect: whether to attach again when the server ends, restarts or cannot be reached.
        abandon_after: seconds after which a call of the model is left behind if nobody waits for it, > 0.
        Raises TypeError or ValueError for a model that is none, or an address that is none.
        """
        if not abandon_after > 0:
            raise ValueError(f"abandon_after is {abandon_after}; it must be > 0")
        _channel.target_of(address)
        facts = Facts.of(model)
        engine = engine_of(model)
        texts = None if facts.tokenizer is None else SpecialTokens(facts.tokenizer, facts.vocab_size,
                                                                   facts.bos_token_id, facts.adds_bos)
        self.facts = facts
        self._address = address
        self._reconnect = reconnect
        self._counts = Counts()
        self._evaluator = Evaluator(abandon_after)
        self._texts = TextCalls(texts)
        hello = model_runner_service_pb2.RunnerHello(
            api_major_version=API_VERSION[0], api_minor_version=API_VERSION[1],
            model=_model_info(facts, name, texts),
            capabilities=model_runner_service_pb2.RunnerCapabilities(
                fork=engine.fork is not None, trim=engine.trim is not None, dtypes=[WIRE_TYPES[facts.dtype].proto],
                tokenizer=texts is not None, vocabulary=texts is not None,
                tokens_spell_text=texts is not None and texts.spells_text, isolation=facts.platform is not None),
            capacity=model_runner_service_pb2.RunnerCapacity(
                max_sequences=facts.max_sequences, max_cached_tokens=facts.max_cached_tokens,
                max_batch_tokens=facts.max_batch_tokens, max_batches_in_flight=1),
            runner_version=version or f"logitd-python {logitd.__version__}",
            runner_name=f"{socket.gethostname()}:{os.getpid()}" if runner_name is None else runner_name)
        if facts.head is not None:
            hello.hidden.CopyFrom(model_runner_service_pb2.HiddenOutput(
                head=facts.head, hidden_size=facts.hidden_size, before_output_norm=facts.before_output_norm))
        if facts.platform is not None:
            hello.platform.CopyFrom(completion_pb2.RunnerPlatform(threads=facts.platform.threads,
                                                                  cpu_target=facts.platform.cpu_target))
        self._description = _description(hello)
        self._setup = Setup(hello, texts.vocabulary if texts else lambda: None, facts, engine, self._evaluator,
                            self._texts, self._counts, self._on_accepted)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._attachment: Attachment | None = None
        self._is_stopping = threading.Event()
        self._is_attached = False
        self._has_ended = False
        self._error: errors.LogitdError | None = None

    def start(self, timeout: float | None = 60.0) -> Runner:
        """Begins, and waits until the server has accepted the runner, and has not refused its model. (The model serves
        when the server has its vocabulary, too: then health service "model/NAME" is SERVING.)

        Raises LogitdError if the server refuses it, UnavailableError if it does not answer within `timeout` seconds;
        the runner has then stopped."""
        self._begin()
        with self._lock:
            answered = self._changed.wait_for(lambda: self._is_attached or self._has_ended, timeout)
            # A server that knows another model of this name says so only after `accepted`.
            self._changed.wait_for(lambda: self._has_ended, _REFUSAL_S if answered else 0)
            ended, error = self._has_ended, self._error
        if answered and not ended:
            return self
        self.stop()
        if error is None:
            silent = f"no server answers at {self._address} within {timeout} s"
            text = "the server ended the connection" if ended else silent
            error = errors.UnavailableError(text, code=grpc.StatusCode.UNAVAILABLE)
        raise error

    def stop(self) -> None:
        """Ends in order: the server moves the model's requests to another runner, if there is one. Idempotent."""
        self._is_stopping.set()
        with self._lock:
            attachment, thread = self._attachment, self._thread
        if attachment is not None:
            attachment.leave()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LEAVE_S)
        self._evaluator.close()
        self._texts.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end: of `stop`, or of the connection if `reconnect` is False. True: it has ended; False: the
        time has passed. Raises LogitdError if it has failed."""
        with self._lock:
            ended = self._changed.wait_for(lambda: self._has_ended, timeout)
            if ended and self._error is not None:
                raise self._error
            return ended

    @property
    def is_attached(self) -> bool:
        """Whether a server has accepted it, and the connection has not ended."""
        with self._lock:
            return self._is_attached

    @property
    def counts(self) -> Counts:
        """Everything that it has evaluated so far; a copy."""
        return dataclasses.replace(self._counts)

    def __enter__(self) -> Runner:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.stop()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None:
                raise RuntimeError("the runner was started before: make another one")
            self._thread = threading.Thread(target=self._run, name="logitd-runner", daemon=True)
            self._thread.start()

    def _on_accepted(self) -> None:
        _log.info("%s attached to %s", self._description, self._address)
        with self._lock:
            self._is_attached = True
            self._changed.notify_all()

    def _run(self) -> None:
        error: errors.LogitdError | None = None
        try:
            self._attach_until_stopped()
        except errors.LogitdError as failure:
            error = failure
        except BaseException as failure:
            _log.exception("the runner failed")
            error = _failures.failure("INTERNAL", f"the runner failed: {failure!r}")
        with self._lock:
            self._has_ended = True
            self._error = error
            self._changed.notify_all()

    def _attach_until_stopped(self) -> None:
        patience = _retry.Patience(float("inf"))
        while True:
            error = self._attach_once()
            with self._lock:
                was_attached, self._is_attached = self._is_attached, False
            if self._is_stopping.is_set():
                return
            if not self._reconnect:
                if error is not None:
                    raise error
                return
            if was_attached:
                patience.reset()
            lost = error or errors.UnavailableError("the server ended the connection", code=grpc.StatusCode.UNAVAILABLE)
            if was_attached and not lost.reason and lost.code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN):
                # The words of a connection that broke.
                lost = errors.UnavailableError(lost.message, code=grpc.StatusCode.UNAVAILABLE)
            delay = patience.wait_after(lost)
            if was_attached or delay <= 0.05:
                _log.warning("not attached to %s: %s; trying again", self._address, lost)
            if self._is_stopping.wait(delay):
                return

    def _attach_once(self) -> errors.LogitdError | None:
        """None: the stream ended in order."""
        with _channel.connect(self._address) as channel:
            attachment = Attachment(self._setup, channel)
            with self._lock:
                self._attachment = attachment
            if self._is_stopping.is_set():
                attachment.leave()
            try:
                attachment.run()
                return None
            except errors.LogitdError as error:
                return error
            finally:
                with self._lock:
                    self._attachment = None


def _model_info(facts: Facts, name: str, texts: SpecialTokens | None) -> model_runner_service_pb2.ModelInfo:
    return model_runner_service_pb2.ModelInfo(
        name=name, model_fingerprint=facts.model_fingerprint,
        vocab_fingerprint=texts.fingerprint() if texts else bytes(32), vocab_size=facts.vocab_size,
        end_token_ids=facts.end_token_ids, eos_token_id=facts.eos_token_id, bos_token_id=facts.bos_token_id,
        adds_bos=facts.adds_bos, context_length=facts.context_length, precision=facts.precision,
        parameter_count=facts.parameter_count, chat_template=facts.chat_template,
        batch_tolerance_nats=facts.batch_tolerance_nats, hidden_width=facts.hidden_width, warnings=facts.warnings)


def _description(hello: model_runner_service_pb2.RunnerHello) -> str:
    """The model as the server sees it, so that a fact that is missing or misspelt shows."""
    model, can = hello.model, hello.capabilities
    facts = [f"{model.vocab_size} tokens", f"context_length {model.context_length}",
             f"eos {list(model.end_token_ids)}" if model.end_token_ids else "no eos",
             f"bos {model.bos_token_id}" if model.HasField("bos_token_id") else "no bos",
             "a tokenizer" if can.tokenizer else "no tokenizer", "forks" if can.fork else "no forks",
             "trims" if can.trim else "no trims"]
    if hello.HasField("hidden"):
        facts.append(f"hidden states of {hello.hidden.hidden_size} for head {hello.hidden.head or '(the only one)'}")
    return f"model {model.name} ({', '.join(facts)})"


def serve(model: Model, address: str, *, name: str, reconnect: bool = True, **options: Any) -> None:
    """Serves a model until SIGTERM or SIGINT, which end it in order.

        logitd.runner.serve(MyModel(), "unix:/run/logitd/runner.sock", name="mine")

    Arguments as Runner has them. Signals are taken in the main thread only. Raises LogitdError if the server refuses
    the model, and, with reconnect=False, if the connection fails.
    """
    runner = Runner(model, address, name=name, reconnect=reconnect, **options)
    stopped = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stopped.set()

    in_main = threading.current_thread() is threading.main_thread()
    signals = [signal.SIGTERM, signal.SIGINT] if in_main else []
    before = {number: signal.signal(number, end) for number in signals}
    try:
        runner._begin()
        while not stopped.wait(0.2):
            if runner.wait(0):
                return
    finally:
        runner.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
