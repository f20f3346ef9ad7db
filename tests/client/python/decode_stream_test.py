"""The stream below DecodeSession, against a server that follows a script: what is opened and sent again after a loss,
and which ends are final."""

import gc
import os
import signal
import threading
import unittest

import grpc
import numpy
import scripted_decode
from scripted_decode import NUMERICS, TOKEN

import logitd
from logitd import errors
from logitd._decode.stream import Stream
from logitd._decode.session import connect_in_turn
from logitd.v1 import decoding_service_pb2 as decoding
from logitd.v1 import sampling_pb2

ROW = numpy.zeros(8, numpy.float32)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def gone(stream):
    stream.abort(UNAVAILABLE, "gone")


class StreamTest(unittest.TestCase):
    def serve(self, *scripts) -> scripted_decode.Server:
        server = scripted_decode.Server(*scripts)
        self.addCleanup(server.stop)
        return server

    def session(self, server, **options) -> logitd.DecodeSession:
        session = logitd.DecodeSession(server.address, vocab_size=8, **options)
        self.addCleanup(session.cancel)
        return session

    def test_opens_its_sequences_again_and_sends_what_was_not_answered(self):
        def first(stream):
            stream.start()
            stream.answer()
            stream.take()
            gone(stream)

        def second(stream):
            stream.start()
            for _ in range(3):
                stream.answer()

        server = self.serve(first, second)
        session = self.session(server, temperature=0.5)
        plain = session.open([1, 2], sequence_key=77)
        looking = session.open([3, 4], repetition_penalty=2.0, max_tokens=9, record=logitd.Record(rank=True))
        same_prompt = session.open([3, 4], frequency_penalty=1.0, seed=99)
        for _ in range(3):
            steps = session.step(numpy.stack([ROW] * 3))
        self.assertEqual([step.position for step in steps], [2, 2, 2])
        self.assertEqual(session.reconnect_count, 1)
        self.assertEqual(looking.tokens, [TOKEN] * 3)
        before, after = server.requests(0), server.requests(1)
        # The seed and the numerics that the first server had.
        self.assertFalse(before[0].config.sampling.HasField("seed"))
        self.assertEqual((after[0].config.sampling.seed, after[0].config.numerics_version), (7, NUMERICS))
        self.assertEqual(after[0].config.sampling.temperature, 0.5)
        # A prompt and tokens only where a stage looks at them; equal prompts once.
        opens = {opened.sequence_id: opened for opened in after[1].batch.opens}
        self.assertEqual([list(prompt.token_ids) for prompt in after[1].batch.shared_prompts], [[3, 4]])
        self.assertEqual([list(prompt.token_ids) for prompt in before[1].batch.shared_prompts], [[3, 4]])
        state = opens[plain.id].fresh.state
        self.assertEqual((state.token_count, state.resume_state.model_sum), (1, -1.0))
        self.assertFalse(opens[plain.id].fresh.HasField("shared_prompt"))
        self.assertFalse(opens[plain.id].HasField("sampling"))
        self.assertEqual(opens[plain.id].sequence_key, 77)
        for sequence, seed in ((looking, 7), (same_prompt, 99)):
            opened = opens[sequence.id]
            self.assertEqual(opened.fresh.shared_prompt, 0)
            self.assertEqual(list(opened.fresh.state.tokens.token_ids), [TOKEN])
            self.assertEqual((opened.sampling.seed, opened.sampling.temperature, opened.sequence_key),
                             (seed, 0.5, sequence.id))
        self.assertEqual((opens[looking.id].stop.max_tokens, opens[looking.id].record.rank), (9, True))
        # What was not answered comes again as it was.
        self.assertEqual(server.messages[1][2], server.messages[0][2])
        numbers = [request.batch.batch_id for request in after[1:]]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_tries_again_until_a_server_answers(self):
        def last(stream):
            stream.start()
            stream.answer()

        full = lambda stream: stream.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", reason=101, retry_after_ms=1)
        server = self.serve(gone, full, gone, last)
        session = self.session(server)
        session.open()
        self.assertEqual(session.step(ROW)[0].token_id, TOKEN)
        self.assertEqual(session.reconnect_count, 0)

    def test_breaks_and_ends_without_a_reason_are_no_failures(self):
        def idle(stream):
            stream.start()
            stream.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "idle", reason=100, limit="max_idle_ms")

        def ends(stream):
            stream.start()
            stream.take()

        def drains(stream):
            stream.start()
            stream.abort(UNAVAILABLE, "drains", reason=103)

        def last(stream):
            stream.start()
            stream.answer()

        session = self.session(self.serve(idle, ends, drains, last))
        session.open()
        self.assertEqual(session.step(ROW)[0].token_id, TOKEN)
        self.assertEqual(session.reconnect_count, 3)

    def test_a_refused_config_is_final(self):
        def refuses(stream):
            stream.take()
            stream.abort(grpc.StatusCode.INVALID_ARGUMENT, "top_p must be in [0, 1]", reason=2,
                         field="config.sampling.top_p", value="2", bound="[0, 1]")

        server = self.serve(refuses)
        with self.assertRaises(errors.InvalidRequestError) as caught:
            self.session(server, top_p=2)
        self.assertEqual((caught.exception.reason, caught.exception.field),
                         ("FIELD_OUT_OF_RANGE", "config.sampling.top_p"))
        self.assertEqual(len(server.messages), 1)

    def test_another_numerics_version_ends_the_session(self):
        def first(stream):
            stream.start()
            stream.take()
            gone(stream)

        def other(stream):
            stream.take()
            stream.abort(grpc.StatusCode.FAILED_PRECONDITION, "another version", reason=47)

        session = self.session(self.serve(first, other))
        session.open()
        session.send(ROW)
        for _ in range(2):
            with self.assertRaises(errors.PreconditionError) as caught:
                session.receive()
            self.assertEqual(caught.exception.reason, "NUMERICS_VERSION_MISMATCH")
        with self.assertRaises(errors.PreconditionError):
            session.send(ROW)
        with self.assertRaises(errors.PreconditionError):
            session.close()

    def test_patience_ends(self):
        def first(stream):
            stream.start()
            stream.take()
            gone(stream)

        session = self.session(self.serve(first, *[gone] * 100), retry_for=0.3)
        session.open()
        session.send(ROW)
        with self.assertRaisesRegex(errors.UnavailableError, "no answer for 0.3 s; the last error: gone"):
            session.receive()
        session = self.session(self.serve(first), retry_for=0)
        session.open()
        with self.assertRaisesRegex(errors.UnavailableError, "^gone$"):
            session.step(ROW)
        with self.assertRaisesRegex(errors.UnavailableError, "gone"):
            self.session(self.serve(gone), retry_for=0)

    def test_a_sequence_that_cannot_be_opened_again_ends_the_session(self):
        def first(stream):
            stream.start()
            stream.answer()
            gone(stream)

        def second(stream):
            stream.start()
            batch = stream.take().batch
            result = decoding.BatchResult(batch_id=batch.batch_id)
            result.opens.add(sequence_id=1).error.CopyFrom(
                errors.error_pb2.Error(code=8, reason=100, message="too much", limit="max_stream_state_bytes"))
            stream.replies.put(decoding.DecodeResponse(result=result))
            stream.wait_for_the_end()

        session = self.session(self.serve(first, second))
        session.open()
        session.step(ROW)
        with self.assertRaises(errors.LimitError) as caught:
            session.step(ROW)
        self.assertEqual(caught.exception.limit, "max_stream_state_bytes")

    def test_messages_out_of_order_end_the_session(self):
        def no_start(stream):
            stream.answer(decoding.StepBatch(batch_id=1))

        def wrong_number(stream):
            stream.start()
            batch = stream.take().batch
            batch.batch_id += 1
            stream.answer(batch)
            stream.wait_for_the_end()

        with self.assertRaisesRegex(errors.ServerError, "not `started`"):
            self.session(self.serve(no_start))
        session = self.session(self.serve(wrong_number))
        session.open()
        for _ in range(2):
            with self.assertRaisesRegex(errors.ServerError, "not the oldest batch's result"):
                session.step(ROW) if session.pending_count == 0 else session.receive()

    def test_forks_are_refused(self):
        server = self.serve(lambda stream: (stream.start(), stream.wait_for_the_end()))
        stream = Stream(connect_in_turn(server.address, None), decoding.DecodeConfig(vocab_size=8))
        self.addCleanup(stream.close)
        batch = decoding.StepBatch(opens=[decoding.OpenSequence(sequence_id=2, fork=decoding.SequenceFork(
            source_sequence_id=1))])
        with self.assertRaises(errors.InvalidRequestError) as caught:
            stream.send(batch)
        self.assertEqual(caught.exception.field, "opens.fork")
        with self.assertRaisesRegex(ValueError, "no batch waits"):
            stream.receive()

    def test_ctrl_c_while_it_waits_loses_nothing(self):
        caught = threading.Event()

        def script(stream):
            stream.start()
            batch = stream.take().batch
            os.kill(os.getpid(), signal.SIGINT)
            caught.wait()
            stream.answer(batch)
            stream.answer()

        session = self.session(self.serve(script))
        session.open()
        with self.assertRaises(KeyboardInterrupt):
            session.step(ROW)
        caught.set()
        self.assertEqual(session.pending_count, 1)
        self.assertEqual(session.receive()[0].position, 0)
        self.assertEqual(session.step(ROW)[0].position, 1)

    def test_ctrl_c_while_it_looks_for_a_server_loses_nothing(self):
        def first(stream):
            stream.start()
            stream.take()
            gone(stream)

        def interrupts(stream):
            os.kill(os.getpid(), signal.SIGINT)
            stream.wait_for_the_end()

        def last(stream):
            stream.start()
            stream.answer()

        session = self.session(self.serve(first, interrupts, last))
        session.open()
        with self.assertRaises(KeyboardInterrupt):
            session.step(ROW)
        self.assertEqual(session.receive()[0].token_id, TOKEN)

    def test_closing_waits_for_results_and_cancelling_does_not(self):
        def script(stream):
            stream.start()
            stream.answer()
            stream.wait_for_the_end()

        session = self.session(self.serve(script))
        sequence = session.open()
        session.send(ROW)
        session.close()
        self.assertEqual(session.receive()[0].token_id, TOKEN)
        self.assertTrue(sequence.is_running)
        session.close()
        for call in (lambda: session.step(ROW), session.flush, session.receive):
            with self.assertRaises(ValueError):
                call()

        ended = threading.Event()

        def hangs(stream):
            stream.start()
            try:
                stream.wait_for_the_end()
            finally:
                ended.set()

        session = self.session(self.serve(hangs))
        session.open()
        session.send(ROW)
        session.cancel()
        self.assertTrue(ended.wait(60))
        session.close()

    def test_a_session_that_is_dropped_ends_its_stream(self):
        ended = threading.Event()

        def script(stream):
            stream.start()
            try:
                stream.wait_for_the_end()
            finally:
                ended.set()

        server = self.serve(script)
        session = logitd.DecodeSession(server.address, vocab_size=8)
        session.open()
        # Its sequences know it, so that it goes with the next collection.
        del session
        gc.collect()
        self.assertTrue(ended.wait(60))

    def test_addresses(self):
        with self.assertRaisesRegex(ValueError, "HOST:PORT"):
            logitd.DecodeSession("nowhere", vocab_size=8)
        with self.assertRaisesRegex(ValueError, "at least one address"):
            logitd.DecodeSession([], vocab_size=8)
        with self.assertRaisesRegex(ValueError, "max_batches_in_flight must be >= 1"):
            logitd.DecodeSession(vocab_size=8, max_batches_in_flight=0)


if __name__ == "__main__":
    unittest.main()
