"""Calls with many items against servers that fail: who is asked again, for which items, and for how long."""

import asyncio
import gc
import itertools
import os
import pickle
import signal
import tempfile
import threading
import time
import unittest
import unittest.mock

import logitd
from both_clients import Plain, both
from fake_server import FakeServer, answer, error, fail, score_all, sums_of
from logitd.v1 import scoring_service_pb2

WAIT_S = 30


def items(count: int) -> list:
    return [(f"context {i}", [f" -{i}", f" -{i + 1}"]) for i in range(count)]


class CallsCase(unittest.TestCase):
    make = Plain

    def server(self, *arguments, **options) -> FakeServer:
        server = FakeServer(*arguments, **options)
        self.addCleanup(server.stop)
        return server

    def client(self, address, **options):
        client = self.make(getattr(address, "address", address), **options)
        self.addCleanup(client.close)
        return client

    def check(self, scores, count: int) -> None:
        """Complete, in order, once each."""
        self.assertEqual([score.item_index for score in scores], list(range(count)))
        for i, score in enumerate(scores):
            self.assertEqual([c.cumulative_model_log_prob for c in score.continuations], [-i, -i - 1])


@both
class SplittingTest(CallsCase):
    def test_items_are_split_and_answers_come_in_order(self):
        server = self.server(Score=score_all)
        scores = self.client(server).score(items(1000))
        self.check(scores, 1000)
        self.assertEqual([score.best for score in scores], [0] * 1000)
        self.assertEqual(sum(len(r.items) for r in server.requests["Score"]), 1000)
        self.assertLessEqual(max(len(r.items) for r in server.requests["Score"]), 32)
        self.assertEqual(len(server.requests["GetServerInfo"]), 1)
        self.assertEqual(scores.usage.scored_token_count, 2000)
        self.assertEqual(scores.provenance.model_fingerprint, b"f")

    def test_requests_keep_the_servers_limits(self):
        server = self.server(Score=score_all, limits={"max_items": 5, "max_request_bytes": 100})
        self.check(self.client(server).score(items(50)), 50)
        self.assertLessEqual(max(len(r.items) for r in server.requests["Score"]), 5)
        self.assertLessEqual(max(r.ByteSize() for r in server.requests["Score"]), 100)

    def test_that_many_requests_are_in_flight(self):
        together, lock, most, now = threading.Barrier(3), threading.Lock(), [0], [0]

        def score(request, context):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            together.wait(WAIT_S)
            with lock:
                now[0] -= 1
            return score_all(request, context)

        server = self.server(Score=score, limits={"max_items": 1})
        self.check(self.client(server, in_flight=3).score(items(12)), 12)
        self.assertEqual(most, [3])

    def test_a_generator_is_read_only_as_far_as_there_is_room(self):
        server = self.server(Score=score_all)
        read = itertools.count()
        endless = ((f"{i}", [f"-{i}"]) for i in read)
        first = self.client(server, in_flight=2).each("score_each", endless, most=5)
        self.assertEqual([score.item_index for score in first], list(range(5)))
        # 2 * in_flight requests, and the one whose answers are handed on.
        self.assertLessEqual(next(read), 5 * 32 + 1)

    def test_no_items(self):
        server = self.server(Score=score_all)
        client = self.client(server)
        self.assertEqual((len(client.score([])), list(client.score(iter([])))), (0, []))
        self.assertNotIn("Score", server.requests)
        self.assertIsNone(client.score([]).provenance)
        self.assertEqual(client.tokenize([]), [])

    def test_an_error_in_the_callers_generator_reaches_the_caller(self):
        server = self.server(Score=score_all)

        def broken():
            yield from items(40)
            raise KeyError("mine")

        with self.assertRaisesRegex(KeyError, "mine"):
            self.client(server).score(broken())
        with self.assertRaisesRegex(TypeError, r"items\[40\]\.continuations\[0\]"):
            self.client(server).score(items(40) + [("a", [1.5])])

    def test_many_calls_of_one_client_at_once(self):
        server = self.server(Score=score_all)
        client = self.client(server)
        if client.is_async:
            return
        threads = [threading.Thread(target=lambda: results.append(client.score(items(100)))) for _ in range(8)]
        results: list = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(results), 8)
        for scores in results:
            self.check(scores, 100)


@both
class RetryTest(CallsCase):
    def test_a_stream_that_breaks_in_the_middle_is_asked_again_for_the_rest(self):
        def score(request, context):
            for index in range(min(3, len(request.items))):
                yield answer(index, *sums_of(request.items[index]))
            if len(request.items) > 3:
                fail(context, 14, message="the connection is lost")

        server = self.server(Score=score)
        self.check(self.client(server, in_flight=2).score(items(40)), 40)
        asked = [item.context.text for request in server.requests["Score"] for item in request.items]
        # The first requests had 32 and 8 items; each one after an error has 3 fewer.
        self.assertEqual(len(asked), sum(range(32, 0, -3)) + sum(range(8, 0, -3)))

    def test_a_full_server_is_asked_again_after_its_delay(self):
        times: list[float] = []

        def score(request, context):
            times.append(time.monotonic())
            if len(times) == 1:
                fail(context, 8, "OVERLOADED", message="full", limit="max_calls", retry_after_ms=300)
            return score_all(request, context)

        self.check(self.client(self.server(Score=score)).score(items(3)), 3)
        self.assertEqual(len(times), 2)
        self.assertGreaterEqual(times[1] - times[0], 0.29)

    def test_an_item_whose_runner_was_lost_is_asked_again(self):
        def score(request, context):
            lost = len(server.requests["Score"]) == 1
            for index, item in enumerate(request.items):
                if lost and index == 1:
                    yield answer(1, item_error=error(14, "RUNNER_LOST", message="gone"))
                else:
                    yield answer(index, *sums_of(item))

        server = self.server(Score=score)
        self.check(self.client(server).score(items(3)), 3)
        self.assertEqual([len(r.items) for r in server.requests["Score"]], [3, 1])

    def test_the_end_of_patience(self):
        client = self.client("127.0.0.1:1", retry_for=0.3)
        begin = time.monotonic()
        with self.assertRaisesRegex(logitd.UnavailableError, "no answer for 0.3 s; the last error"):
            client.score(items(3))
        self.assertLess(time.monotonic() - begin, 10)
        with self.assertRaises(logitd.UnavailableError):
            self.client("127.0.0.1:1", retry_for=0).models()
        self.assertFalse(client.is_serving())

    def test_a_server_that_comes_back_elsewhere_in_the_call(self):
        with tempfile.TemporaryDirectory() as folder:
            address = f"unix:{folder}/socket"
            seen = threading.Event()

            def score(request, context):
                seen.set()
                yield answer(0, *sums_of(request.items[0]))
                # The rest is never answered.
                gone = threading.Event()
                if context.add_callback(gone.set):
                    gone.wait(WAIT_S)

            first = FakeServer(address, Score=score)
            second: list[FakeServer] = []

            def replace():
                seen.wait(WAIT_S)
                first.stop()
                second.append(FakeServer(address, Score=score_all))

            thread = threading.Thread(target=replace)
            thread.start()
            scores = self.client(address).score(items(10))
            thread.join()
            self.addCleanup(second[0].stop)
            self.check(scores, 10)

    def test_a_server_that_forgets_items_is_an_error(self):
        server = self.server(Score=lambda request, context: iter([answer(0, -0.0, -1.0)]))
        with self.assertRaisesRegex(logitd.ServerError, "answered 1 of 3 items"):
            self.client(server).score(items(3))

    def test_answers_of_another_model_do_not_belong_together(self):
        def score(request, context):
            for index, item in enumerate(request.items):
                yield answer(index, *sums_of(item), fingerprint=b"f" if item.context.text != "context 3" else b"g")

        server = self.server(Score=score, limits={"max_items": 1})
        with self.assertRaisesRegex(logitd.PreconditionError, "another model"):
            self.client(server).score(items(5))


@both
class RefusalTest(CallsCase):
    def test_an_item_that_a_request_is_refused_for_has_its_error(self):
        def score(request, context):
            for index, item in enumerate(request.items):
                if item.context.text == "context 37":
                    fail(context, 3, "FIELD_REQUIRED", message=f"items[{index}].context is wrong",
                         field=f"items[{index}].context")
            return score_all(request, context)

        scores = self.client(self.server(Score=score)).score(items(100))
        [(index, found)] = scores.errors
        self.assertEqual((index, found.field, found.message), (37, "items[37].context", "items[37].context is wrong"))
        self.assertIsInstance(found, logitd.InvalidRequestError)
        self.assertEqual([s.best for i, s in enumerate(scores) if i != 37], [0] * 99)
        with self.assertRaises(logitd.InvalidRequestError):
            scores[37].best
        with self.assertRaises(logitd.InvalidRequestError):
            scores.raise_for_errors()
        self.assertEqual([row["error"] for row in scores.rows() if row["item_index"] == 37],
                         ["FIELD_REQUIRED: items[37].context is wrong"])

    def test_requests_over_a_limit_are_halved(self):
        def score(request, context):
            if len(request.items) > 3:
                fail(context, 8, "LIMIT_EXCEEDED", message="too many tokens", limit="max_score_tokens")
            return score_all(request, context)

        self.check(self.client(self.server(Score=score)).score(items(100)), 100)

    def test_an_option_over_a_limit_fails_the_call(self):
        asked = []

        def score(request, context):
            asked.append(len(request.items))
            fail(context, 8, "LIMIT_EXCEEDED", field="evaluation.cache_salt", limit="max_cache_salt_bytes")

        with self.assertRaises(logitd.LimitError):
            self.client(self.server(Score=score), in_flight=1).score(items(100), cache_salt="x" * 1000)
        self.assertLessEqual(len(asked), 2)

    def test_an_item_that_no_request_can_hold_has_an_error(self):
        server = self.server(Score=score_all, limits={"max_request_bytes": 1000})
        scores = self.client(server).score([*items(2), ("x" * 2000, ["-1"]), ("context 3", [" -3", " -4"])])
        [(index, found)] = scores.errors
        self.assertEqual((index, found.reason, found.limit), (2, "LIMIT_EXCEEDED", "max_request_bytes"))
        self.assertEqual(scores[3].best, 0)

    def test_an_error_of_the_request_raises_after_the_answers_before_it(self):
        def score(request, context):
            if request.items[0].context.text == "context 2":
                fail(context, 9, "NUMERICS_VERSION_MISMATCH", message="no", field="numerics_version")
            return score_all(request, context)

        client = self.client(self.server(Score=score, limits={"max_items": 1}), in_flight=1)
        found = []
        with self.assertRaises(logitd.PreconditionError) as raised:
            if client.is_async:
                client.score(items(5))
            for result in client.score_each(items(5)):
                found.append(result)
        self.assertEqual((raised.exception.reason, raised.exception.field),
                         ("NUMERICS_VERSION_MISMATCH", "numerics_version"))
        self.assertEqual(len(found), 0 if client.is_async else 2)

    def test_a_deadline(self):
        def score(request, context):
            stopped = threading.Event()
            context.add_callback(stopped.set)
            stopped.wait(WAIT_S)
            return iter(())

        server = self.server(Score=score)
        with self.assertRaises(logitd.DeadlineError):
            self.client(server, timeout=0.2).score(items(1))
        with self.assertRaises(TimeoutError):
            self.client(server).score(items(1), timeout=0.2)

    def test_an_item_error_names_its_place_in_the_call(self):
        def score(request, context):
            for index in range(len(request.items)):
                yield answer(index, item_error=error(3, "EMPTY_CONTINUATION", field=f"items[{index}].continuations[0]",
                                                     message=f"items[{index}].continuations[0] is empty"))

        scores = self.client(self.server(Score=score)).score(items(40))
        self.assertEqual([found.field for _, found in scores.errors],
                         [f"items[{i}].continuations[0]" for i in range(40)])
        again = pickle.loads(pickle.dumps(scores))
        self.assertEqual(again.errors[39][1].message, "items[39].continuations[0] is empty")


class InterruptTest(CallsCase):
    """A caller who stops."""

    def hanging(self) -> tuple[FakeServer, threading.Event, threading.Event]:
        began, ended = threading.Event(), threading.Event()

        def score(request, context):
            context.add_callback(ended.set)
            began.set()
            ended.wait(WAIT_S)
            return iter(())

        return self.server(Score=score), began, ended

    def check_threads_end(self) -> None:
        for thread in threading.enumerate():
            # One whose start was interrupted ends by itself.
            if thread.name == "logitd-call" and thread.ident is not None:
                thread.join(WAIT_S)
                self.assertFalse(thread.is_alive())

    def test_ctrl_c_cancels_at_once(self):
        for _ in range(20):
            self.interrupt_once()

    def interrupt_once(self):
        # Whoever starts this in the background ignores SIGINT.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        server, began, ended = self.hanging()
        client = self.client(server)
        # Python ignores an exception in a callback of its garbage collection, a KeyboardInterrupt too.
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

        def interrupt():
            began.wait(WAIT_S)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        begin = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            client.score(items(1000))
        self.assertLess(time.monotonic() - begin, 5)
        self.assertTrue(ended.wait(WAIT_S))
        thread.join()
        self.check_threads_end()

    def test_an_iterator_that_is_left_cancels(self):
        ended = threading.Event()

        def score(request, context):
            context.add_callback(ended.set)
            yield answer(0, -0.0, -1.0)
            ended.wait(WAIT_S)

        client = self.client(self.server(Score=score))
        for result in client.score_each(items(1000)):
            break
        del result
        self.assertTrue(ended.wait(WAIT_S))
        self.check_threads_end()

    def test_a_task_that_is_cancelled_cancels(self):
        server, began, ended = self.hanging()

        async def main():
            async with logitd.AsyncClient(server.address) as client:
                task = asyncio.create_task(client.score(items(1000)))
                await asyncio.to_thread(began.wait, WAIT_S)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertTrue(await asyncio.to_thread(ended.wait, WAIT_S))

        asyncio.run(main())

    def test_a_client_that_is_closed_ends_its_calls(self):
        server, began, ended = self.hanging()

        async def main():
            client = logitd.AsyncClient(server.address)
            task = asyncio.create_task(client.score(items(1000)))
            await asyncio.to_thread(began.wait, WAIT_S)
            await client.close()
            with self.assertRaises(logitd.CancelledError):
                await task

        asyncio.run(main())
        self.assertTrue(ended.wait(WAIT_S))
        server, began, ended = self.hanging()
        client = logitd.Client(server.address)

        def close():
            began.wait(WAIT_S)
            client.close()

        thread = threading.Thread(target=close)
        thread.start()
        with self.assertRaises((logitd.CancelledError, ValueError)):
            client.score(items(1000))
        thread.join()

    def test_an_async_client_belongs_to_one_loop(self):
        client = logitd.AsyncClient(self.server(Score=score_all).address)
        self.assertEqual(len(asyncio.run(client.score(items(2)))), 2)
        with self.assertRaisesRegex(RuntimeError, "another event loop"):
            asyncio.run(client.score(items(2)))

    def test_a_fork_needs_its_own_client(self):
        client = self.client(self.server(Score=score_all))
        with unittest.mock.patch("os.getpid", return_value=1):
            for call in (lambda: client.score(items(1)), client.models, lambda: client.stream("a")):
                with self.assertRaisesRegex(RuntimeError, "fork"):
                    call()
        with self.assertRaisesRegex(TypeError, "pickled"):
            pickle.dumps(client.client)


class ArgumentsTest(unittest.TestCase):
    def test_wrong_arguments_of_a_client(self):
        for make in (logitd.Client, logitd.AsyncClient):
            for error_type, words, options in (
                    (ValueError, "in_flight must be in", {"in_flight": 0}), (TypeError, "in_flight", {"in_flight": "8"}),
                    (ValueError, "retry_for", {"retry_for": -1}), (ValueError, "timeout", {"timeout": 0}),
                    (TypeError, "model", {"model": None}), (ValueError, "HOST:PORT", {"address": "localhost"})):
                with self.assertRaisesRegex(error_type, words):
                    make(**options)

    def test_options_of_a_call_replace_those_of_the_client(self):
        asked = []

        def score(request: scoring_service_pb2.ScoreRequest, context):
            asked.append((request.model, context.time_remaining()))
            return score_all(request, context)

        with FakeServer(Score=score) as server, logitd.Client(server.address, model="a", timeout=1000) as client:
            client.score(items(1))
            client.score(items(1), model="b", timeout=10)
        self.assertEqual([model for model, _ in asked], ["a", "b"])
        self.assertLess(asked[1][1], 11)
        self.assertGreater(asked[0][1], 900)


if __name__ == "__main__":
    unittest.main()
