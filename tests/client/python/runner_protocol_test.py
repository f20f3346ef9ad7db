"""A runner in Python against a server that does as a test says: order, sizes, forks, cancels, and what is illegal."""

import queue
import struct
import threading
import unittest

import grpc
from logitd import errors, runner
from logitd.v1 import completion_pb2, logits_pb2, sampling_pb2
from logitd.v1 import model_runner_service_pb2 as runner_pb2
from runner_support import (Bigram, Cached, CachedBatch, ScriptedServer, batch, errors_of, play, rows_of, work)

SMALL = 8


def small() -> Bigram:
    return Bigram(vocab_size=SMALL, tokenizer=False)


class Hello(unittest.TestCase):
    def test_a_plain_model_announces_copies_and_cuts(self):
        def script(stream):
            hello = stream.accept()
            self.assertEqual((hello.api_major_version, hello.model.name, hello.model.vocab_size), (1, "scripted", SMALL))
            can = hello.capabilities
            self.assertTrue(can.fork and can.trim)
            self.assertFalse(can.tokenizer or can.vocabulary or can.isolation or can.HasField("records_numerics_version")
                             or can.HasField("choice_numerics_version"))
            self.assertEqual(list(can.dtypes), [logits_pb2.LOGITS_DTYPE_F32])

        play(script, small())

    def test_a_model_with_states_announces_what_it_has(self):
        class NoCopies:
            vocab_size = SMALL
            start = append = lambda self: None

        def script(stream):
            hello = stream.accept()
            self.assertEqual((hello.capabilities.fork, hello.capabilities.trim), (False, False))

        play(script, NoCopies())

    def test_everything_that_a_model_says_of_itself(self):
        class Full(Bigram):
            bos_token_id = 3
            adds_bos = True
            end_token_ids = [256, 5]
            precision = "f16"
            chat_template = "{{ x }}"
            parameter_count = 7
            hidden_width = 4
            batch_tolerance_nats = 0.5
            warnings = ["It is a toy."]
            dtype = "f16"
            max_sequences = 3
            max_cached_tokens = 99
            max_batch_tokens = 77
            platform = runner.Platform(threads=2, cpu_target="x86-64-v3")

        def script(stream):
            hello = stream.accept(need_vocabulary=True)
            model = hello.model
            self.assertEqual((model.bos_token_id, model.adds_bos, list(model.end_token_ids), model.eos_token_id),
                             (3, True, [256, 5], 256))
            self.assertEqual((model.precision, model.chat_template, model.parameter_count, model.hidden_width,
                              model.batch_tolerance_nats, list(model.warnings), model.model_fingerprint),
                             ("f16", "{{ x }}", 7, 4, 0.5, ["It is a toy."], b"bigram"))
            capacity = hello.capacity
            self.assertEqual((capacity.max_sequences, capacity.max_cached_tokens, capacity.max_batch_tokens), (3, 99, 77))
            self.assertEqual((hello.platform.threads, hello.platform.cpu_target), (2, "x86-64-v3"))
            can = hello.capabilities
            self.assertTrue(can.isolation and can.tokenizer and can.vocabulary and can.tokens_spell_text)
            self.assertEqual(list(can.dtypes), [logits_pb2.LOGITS_DTYPE_F16])
            self.assertEqual((hello.runner_version, hello.runner_name), ("mine 1", "here"))
            vocabulary = stream.read().vocabulary
            self.assertEqual((len(vocabulary.token_lengths), list(vocabulary.control_token_ids)), (257, [256]))

        play(script, Full(), version="mine 1", runner_name="here")


class Batches(unittest.TestCase):
    def test_rows_come_in_the_order_of_the_work(self):
        model = small()

        def script(stream):
            stream.accept()
            messages = stream.run(batch(1, work(5, [1, 2, 3], "all"), work(6, [4], "last"), work(7, [1, 2], "none"),
                                        work(8, [0, 1, 2, 3], ((1, 2), (0, None), (3, 1)))))
            rows = rows_of(messages, SMALL)
            self.assertEqual(rows[5, 0], [model.table[t] for t in (1, 2, 3)])
            self.assertEqual(rows[6, 0], [model.table[4]])
            self.assertEqual([rows[8, i] for i in range(3)],
                             [[model.table[1], model.table[2]], [model.table[t] for t in range(4)], [model.table[3]]])
            self.assertEqual(set(rows), {(5, 0), (6, 0), (8, 0), (8, 1), (8, 2)})
            # The next batch goes on with the same sequences; nothing is wanted of an empty one.
            self.assertEqual(rows_of(stream.run(batch(2, work(5, [7], "last"))), SMALL)[5, 0], [model.table[7]])
            self.assertEqual(len(stream.run(batch(3))), 1)

        play(script, model)

    def test_messages_are_split_between_rows(self):
        model = small()
        row_bytes = 4 * SMALL
        limit = 64 + 64 + 3 * row_bytes

        def script(stream):
            stream.accept(max_message_bytes=limit)
            messages = stream.run(batch(1, work(1, [1] * 7, "all"), work(2, [2, 3], "all")))
            self.assertTrue(all(message.ByteSize() <= limit for message in messages))
            self.assertGreaterEqual(len(messages), 4)
            rows = rows_of(messages, SMALL)
            self.assertEqual((rows[1, 0], rows[2, 0]), ([model.table[1]] * 7, [model.table[2], model.table[3]]))
            stream_of = rows_of(stream.run(batch(2, work(3, [1] * 300, "all"))), SMALL)
            self.assertEqual(len(stream_of[3, 0]), 300)

        play(script, model)

    def test_a_message_holds_at_most_1024_rows(self):
        def script(stream):
            stream.accept(max_message_bytes=1 << 30)
            counts = [message.output.blocks[0].row_count for message in stream.run(batch(1, work(1, [1] * 2500, "all")))]
            self.assertEqual(counts, [1024, 1024, 452])

        play(script, small())

    def test_a_row_that_no_message_can_hold_fails_its_entry(self):
        def script(stream):
            stream.accept(max_message_bytes=100)
            messages = stream.run(batch(1, work(1, [1]), work(2, [1], "none")))
            self.assertEqual(errors_of(messages)[1].reason, "LIMIT_EXCEEDED")
            self.assertNotIn(2, errors_of(messages))

        play(script, small())

    def test_a_long_row(self):
        class Wide:
            vocab_size = 100_000

            def rows(self, tokens, wanted):
                return [[float(i % 7) for i in range(100_000)] for _ in wanted]

        def script(stream):
            stream.accept(max_message_bytes=64 << 20)
            self.assertEqual(rows_of(stream.run(batch(1, work(1, [99_999, 5], "all"))), 100_000)[1, 0],
                             [[float(i % 7) for i in range(100_000)]] * 2)

        play(script, Wide())


class Sequences(unittest.TestCase):
    """Forks, cuts and releases, of models with and without states."""

    def check(self, model):
        row = Cached.row

        def script(stream):
            stream.accept()
            first = batch(
                1, work(1, [1, 2, 3], "last"),
                work(2, [5], "last", fork_from_sequence_id=1),                         # before 1's own tokens: empty
                work(3, [6], "last", fork_from_sequence_id=1, keep_prefix_length=2),   # after two of them
                work(4, [7], "last", fork_from_sequence_id=3),                         # as 3 is before its own token
                work(5, [], "none", fork_from_sequence_id=1, keep_prefix_length=3))
            rows = rows_of(stream.run(first), 8)
            self.assertEqual(rows, {(1, 0): [row([1, 2, 3])], (2, 0): [row([5])], (3, 0): [row([1, 2, 6])],
                                    (4, 0): [row([1, 2, 7])]})
            second = batch(2, work(5, [4], "last"), work(1, [0], "last", keep_prefix_length=1),
                           work(6, [2], "last", fork_from_sequence_id=2), release_sequence_ids=[3, 77])
            self.assertEqual(rows_of(stream.run(second), 8),
                             {(5, 0): [row([1, 2, 3, 4])], (1, 0): [row([1, 0])], (6, 0): [row([5, 2])]})
            third = batch(3, work(7, [1], "last", fork_from_sequence_id=3), work(1, [1], "last", fork_from_sequence_id=5),
                          work(2, [1], "last", keep_prefix_length=9), work(5, [1], "last"))
            failed = errors_of(stream.run(third))
            self.assertEqual({i: e.reason for i, e in failed.items()},
                             {7: "SEQUENCE_NOT_OPEN", 1: "SEQUENCE_ALREADY_OPEN", 2: "FIELD_OUT_OF_RANGE"})
            # An entry that failed has lost its sequence: the number begins anew.
            self.assertEqual(rows_of(stream.run(batch(4, work(2, [3], "last"))), 8), {(2, 0): [row([3])]})

        play(script, model)

    def test_states(self):
        model = Cached()
        self.check(model)
        self.assertIn(("append", (1, 2), (6,), (0,)), model.log)
        self.assertIn(("release", (1, 2, 6)), model.log)

    def test_states_in_batches(self):
        model = CachedBatch()
        self.check(model)
        self.assertIn(("batch", 2), model.log)

    def test_whole_sequences_each_time(self):
        class Plain:
            vocab_size = 8

            def rows(self, tokens, wanted):
                return [Cached.row(list(tokens[:i + 1])) for i in wanted]

        self.check(Plain())

        class PlainBatch:
            vocab_size = 8

            def rows_batch(self, tokens, wanted):
                return [Plain().rows(*one) for one in zip(tokens, wanted)]

        self.check(PlainBatch())

    def test_all_states_are_released_with_the_stream(self):
        model = Cached()
        released = threading.Event()
        model.release = lambda state: released.set() if state == [1] else None

        def script(stream):
            stream.accept()
            stream.run(batch(1, work(1, [1])))

        play(script, model)
        self.assertTrue(released.wait(10))

    def test_a_model_that_cannot_copy_or_cut_says_so(self):
        class Simple(Cached):
            fork = trim = None

        def script(stream):
            stream.accept()
            stream.run(batch(1, work(1, [1, 2])))
            failed = errors_of(stream.run(batch(2, work(2, [1], fork_from_sequence_id=1), work(1, [1], keep_prefix_length=1))))
            self.assertIn("no fork()", failed[2].message)
            self.assertIn("no trim()", failed[1].message)

        play(script, Simple())

    def test_capacity_and_context_are_bounds(self):
        class Few(Cached):
            max_sequences = 2
            context_length = 3

        def script(stream):
            stream.accept()
            failed = errors_of(stream.run(batch(1, work(1, [1]), work(2, [1]), work(3, [1]))))
            self.assertEqual({i: (e.reason, e.limit) for i, e in failed.items()}, {3: ("OVERLOADED", "capacity.max_sequences")})
            failed = errors_of(stream.run(batch(2, work(1, [1, 2, 3]), work(2, [1, 2]))))
            self.assertEqual({i: e.reason for i, e in failed.items()}, {1: "CONTEXT_LENGTH_EXCEEDED"})

        play(script, Few())

    def test_an_isolated_sequence_is_alone_and_counts_for_nothing(self):
        class Alone(Cached):
            max_sequences = 1
            platform = runner.Platform(threads=1, cpu_target="x")

        model = Alone()

        def script(stream):
            stream.accept()
            stream.run(batch(1, work(1, [1])))
            self.assertEqual(rows_of(stream.run(batch(2, work(2, [3], isolated=True))), 8), {(2, 0): [Cached.row([3])]})
            self.assertEqual(rows_of(stream.run(batch(3, work(2, [4], isolated=True))), 8), {(2, 0): [Cached.row([3, 4])]})
            # The next one begins: the one before is given up.
            stream.run(batch(4, work(9, [5], isolated=True)))
            self.assertIn(("release", (3, 4)), model.log)
            failed = errors_of(stream.run(batch(5, work(9, [1]), work(8, [1], isolated=True, fork_from_sequence_id=1))))
            self.assertEqual({i: e.reason for i, e in failed.items()}, {9: "FIELD_OUT_OF_RANGE", 8: "FIELDS_EXCLUSIVE"})

        play(script, model)


class Failures(unittest.TestCase):
    """Whatever is wrong ends its entry alone, and the runner lives on."""

    def check(self, model, reason: str, words: str, expect_alone: bool = True):
        """Token 3 is the one that the model cannot take."""
        def script(stream):
            stream.accept()
            messages = stream.run(batch(1, work(1, [1]), work(2, [3]), work(3, [2]),
                                        work(4, [1], fork_from_sequence_id=2, keep_prefix_length=1)))
            failed = errors_of(messages)
            self.assertEqual(set(failed), {2, 4} if expect_alone else {1, 2, 3, 4})
            self.assertEqual(failed[2].reason, reason)
            self.assertRegex(failed[2].message, words)
            self.assertEqual(rows_of(stream.run(batch(2, work(9, [2]))), 8)[9, 0], [Cached.row([2])])

        with self.assertLogs("logitd.runner"):
            play(script, model)

    def model(self, wrong, base=Cached):
        class Wrong(base):
            def append(self, state, tokens, wanted):
                state, rows = Cached.append(self, state, tokens, wanted)
                return (state, rows) if 3 not in tokens else (state, wrong(rows))

        class WrongBatch(CachedBatch):
            def append_batch(self, states, tokens, wanted):
                return [Wrong.append(self, *one) for one in zip(states, tokens, wanted)]

        return Wrong() if base is Cached else WrongBatch()

    def test_an_exception(self):
        def fail(rows):
            raise ValueError("no such\nthing \ud800")

        self.check(self.model(fail), "INTERNAL", r"Wrong.append raised ValueError: no such thing \?$")
        # One call evaluates all entries of a round.
        self.check(self.model(fail, CachedBatch), "INTERNAL", "WrongBatch.append_batch raised ValueError", expect_alone=False)

    def test_an_exception_of_one_sequence_of_a_batch(self):
        class Some(CachedBatch):
            def append_batch(self, states, tokens, wanted):
                return [ValueError("this one") if some == [3] else Cached.append(self, state, some, rows)
                        for state, some, rows in zip(states, tokens, wanted)]

        self.check(Some(), "INTERNAL", "this one")

    def test_a_typed_error_keeps_its_reason(self):
        def fail(rows):
            raise errors.LimitError("full", reason="KV_CACHE_FULL", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2)

        self.check(self.model(fail), "KV_CACHE_FULL", "full")

    def test_a_thread_that_ends_itself(self):
        def fail(rows):
            raise SystemExit(1)

        self.check(self.model(fail), "INTERNAL", "SystemExit")

    def test_rows_that_are_wrong(self):
        for wrong, words in ((lambda rows: [row[:5] for row in rows], r"Wrong.append returned an array of shape \[1, 5\]; the "
                              r"shape must be \[1, 8\]"),
                             (lambda rows: rows * 2, r"shape \[2, 8\]; the shape must be \[1, 8\]"),
                             (lambda rows: [[float("nan")] * 8], "NaN in row 0, token 0"),
                             (lambda rows: [[0.0, float("inf")] * 4], r"\+inf in row 0, token 1"),
                             (lambda rows: [[float("-inf")] * 8], "without a finite logit"),
                             (lambda rows: None, "NoneType"), (lambda rows: 3, "int")):
            self.check(self.model(wrong), "MODEL_OUTPUT_INVALID", words)

    def test_a_result_that_is_no_pair(self):
        class NoPair(Cached):
            def append(self, state, tokens, wanted):
                state, rows = Cached.append(self, state, tokens, wanted)
                return rows if 3 in tokens else (state, rows)

        self.check(NoPair(), "INTERNAL", r"must return a pair \(state, rows\)")

    def test_a_fork_that_raises(self):
        class NoFork(Cached):
            def fork(self, state):
                raise RuntimeError("no memory")

        def script(stream):
            stream.accept()
            stream.run(batch(1, work(1, [1])))
            failed = errors_of(stream.run(batch(2, work(2, [1], fork_from_sequence_id=1), work(1, [2]))))
            self.assertRegex(failed[2].message, "NoFork raised RuntimeError: no memory")
            self.assertNotIn(1, failed)

        with self.assertLogs("logitd.runner"):
            play(script, NoFork())

    def test_illegal_entries(self):
        logits = runner_pb2.LogitsOutput()
        request = runner_pb2.RowRequest
        entries = {
            "TOKEN_ID_OUT_OF_RANGE": work(1, [0, 8]),
            "FIELD_OUT_OF_RANGE": runner_pb2.SequenceWork(sequence_id=2, append_token_ids=[1],
                                                          rows=[request(first_row=1, logits=logits)]),
            "FIELD_REQUIRED": runner_pb2.SequenceWork(sequence_id=3, rows=[request(logits=logits)]),
            "UNKNOWN_ENUM_VALUE": runner_pb2.SequenceWork(
                sequence_id=4, append_token_ids=[1], rows=[request(logits=runner_pb2.LogitsOutput(dtype=2))])}
        more = [
            ("row_count", work(5, [1], ((0, 2),))), ("row_count", work(5, [1], ((0, -1),))), ("first_row", work(5, [1], ((-1, 1),))),
            ("keep_prefix_length", work(5, [1], keep_prefix_length=-1)), ("append_chosen", work(5, [1], append_chosen_decoder_id=3)),
            ("records", runner_pb2.SequenceWork(sequence_id=5, append_token_ids=[1],
                                                rows=[request(records=runner_pb2.RecordsOutput(top_n=1 << 30))])),
            ("choice", runner_pb2.SequenceWork(sequence_id=5, append_token_ids=[1],
                                               rows=[request(choice=runner_pb2.ChoiceOutput(decoder_id=1))])),
            ("form", runner_pb2.SequenceWork(sequence_id=5, append_token_ids=[1], rows=[request()])),
            ("sequence_id", work(0, [1])), ("sequence_id", work(-5, [1]))]

        def script(stream):
            stream.accept()
            failed = errors_of(stream.run(batch(1, *entries.values())))
            self.assertEqual([error.reason for error in failed.values()], list(entries))
            for number, (field, entry) in enumerate(more, 2):
                (error,) = errors_of(stream.run(batch(number, entry))).values()
                self.assertIn(field, error.field, error)
            self.assertTrue(rows_of(stream.run(batch(99, work(1, [1]))), 8))

        play(script, Cached())


class Cancels(unittest.TestCase):
    def test_a_cancelled_entry_is_not_evaluated(self):
        class Slow(Cached):
            def __init__(self):
                super().__init__()
                self.began, self.go_on = threading.Event(), threading.Event()
                self.wanted = []

            def append(self, state, tokens, wanted):
                if tokens == [1]:
                    self.began.set()
                    self.go_on.wait(60)
                    self.wanted.append(runner.is_wanted())
                return super().append(state, tokens, wanted)

        model = Slow()

        def script(stream):
            stream.accept()
            stream.write(batch=batch(1, work(1, [1]), work(2, [2]), work(3, [3])))
            model.began.wait(60)
            stream.write(cancel=runner_pb2.CancelBatch(batch_id=1, sequence_ids=[2, 99]))
            stream.write(cancel=runner_pb2.CancelBatch(batch_id=7, call_ids=[1, 2]))
            # The answer to this shows that the cancels have been read.
            stream.write(detokenize=runner_pb2.DetokenizeCall(call_id=5))
            self.assertEqual(stream.read().detokenized.call_id, 5)
            model.go_on.set()
            messages = stream.outputs(1)
            self.assertEqual({i: e.reason for i, e in errors_of(messages).items()}, {2: "CANCELLED"})
            model.began.clear()
            model.go_on.clear()
            stream.write(batch=batch(2, work(4, [1]), work(5, [2])))
            model.began.wait(60)
            stream.write(cancel=runner_pb2.CancelBatch(batch_id=2))
            stream.write(detokenize=runner_pb2.DetokenizeCall(call_id=6))
            self.assertEqual(stream.read().detokenized.call_id, 6)
            model.go_on.set()
            self.assertEqual(errors_of(stream.outputs(2))[5].reason, "CANCELLED")

        play(script, model)
        self.assertEqual(model.wanted, [True, False])
        self.assertNotIn(("append", (), (2,), (0,)), model.log)
        self.assertTrue(runner.is_wanted())

    def test_a_deadline(self):
        class Slow(Cached):
            def append(self, state, tokens, wanted):
                if tokens == [1]:
                    while runner.is_wanted():
                        pass
                    raise TimeoutError("nobody waits")
                return super().append(state, tokens, wanted)

        def script(stream):
            stream.accept()
            failed = errors_of(stream.run(batch(1, work(1, [1]), work(2, [2]), deadline_ms=50)))
            self.assertEqual({i: e.reason for i, e in failed.items()}, {1: "INTERNAL", 2: "DEADLINE_EXCEEDED"})
            self.assertTrue(rows_of(stream.run(batch(2, work(3, [2]))), 8))

        with self.assertLogs("logitd.runner"):
            play(script, Slow())

    def test_a_model_that_hangs_ends_the_entry_that_it_hangs_on(self):
        class Hangs(Cached):
            def __init__(self):
                super().__init__()
                self.began, self.free = threading.Event(), threading.Event()

            def append(self, state, tokens, wanted):
                if tokens == [1]:
                    self.began.set()
                    self.free.wait(60)
                return super().append(state, tokens, wanted)

        model = Hangs()

        def script(stream):
            stream.accept()
            stream.write(batch=batch(1, work(1, [1]), work(2, [2])))
            model.began.wait(60)
            stream.write(cancel=runner_pb2.CancelBatch(batch_id=1, sequence_ids=[1]))
            messages = stream.outputs(1)
            self.assertEqual({i: e.reason for i, e in errors_of(messages).items()}, {1: "CANCELLED"})
            self.assertTrue(rows_of(stream.run(batch(2, work(1, [2]))), 8))
            # What it returns too late is nobody's.
            model.free.set()
            self.assertEqual(rows_of(stream.run(batch(3, work(1, [3]))), 8), {(1, 0): [Cached.row([2, 3])]})

        with self.assertLogs("logitd.runner", "ERROR") as logs:
            play(script, model, abandon_after=0.2)
        self.assertTrue(any("left behind" in line for line in logs.output), logs.output)

    def test_a_model_that_always_hangs_ends_the_runner(self):
        free = threading.Event()
        began: queue.SimpleQueue = queue.SimpleQueue()

        class Hangs(Cached):
            def append(self, state, tokens, wanted):
                began.put(tokens)
                free.wait(60)
                return state, [Cached.row(tokens)]

        def script(stream):
            stream.accept()
            for number in range(1, 10):
                stream.write(batch=batch(number, work(number, [1])))
                began.get(timeout=60)
                stream.write(cancel=runner_pb2.CancelBatch(batch_id=number))
            with self.assertRaises(StopIteration):
                while True:
                    stream.read()

        server = ScriptedServer(script)
        one = runner.Runner(Hangs(), server.address, name="m", abandon_after=0.01)
        with self.assertLogs("logitd.runner", "ERROR"):
            one.start()
            with self.assertRaisesRegex(errors.ServerError, "the model hangs: 8 calls"):
                one.wait(60)
        free.set()
        one.stop()
        server.stop()


class Texts(unittest.TestCase):
    def test_tokenize_and_detokenize(self):
        class Text(Bigram):
            bos_token_id = 256
            adds_bos = True

        def call(stream, texts, continues_text=False, **options):
            stream.write(tokenize=runner_pb2.TokenizeCall(
                call_id=3, texts=texts, continues_text=continues_text,
                options=completion_pb2.TokenizationOptions(**options)))
            result = stream.read().tokenized
            self.assertEqual(result.call_id, 3)
            return [list(tokens.token_ids) for tokens in result.tokens] or result.error

        def script(stream):
            stream.accept()
            self.assertEqual(call(stream, ["ab", ""]), [[256, 97, 98], [256]])
            self.assertEqual(call(stream, ["é"], add_special_tokens=False), [[0xC3, 0xA9]])
            self.assertEqual(call(stream, ["a"], continues_text=True), [[97]])
            self.assertEqual(call(stream, ["<eos>a<eos><eos>"], parse_special_tokens=True, add_special_tokens=False),
                             [[256, 97, 256, 256]])
            self.assertEqual(call(stream, ["<eos>"], add_special_tokens=False), [list(b"<eos>")])
            ask = runner_pb2.DetokenizeCall(call_id=9, tokens=[sampling_pb2.TokenIds(token_ids=[256, 0xC3, 98])])
            stream.write(detokenize=ask)
            self.assertEqual(list(stream.read().detokenized.texts), [b"\xc3b"])
            ask.render_special_tokens = True
            stream.write(detokenize=ask)
            self.assertEqual(list(stream.read().detokenized.texts), [b"<eos>\xc3b"])
            ask.tokens.add(token_ids=[1, 257])
            stream.write(detokenize=ask)
            error = stream.read().detokenized.error
            self.assertEqual((error.reason, error.field), (24, "tokens[1].token_ids[1]"))

        play(script, Text())

    def test_a_model_without_a_tokenizer(self):
        def script(stream):
            stream.accept()
            stream.write(tokenize=runner_pb2.TokenizeCall(call_id=1, texts=["a"]))
            self.assertEqual(errors.from_proto(stream.read().tokenized.error).reason, "TOKENIZER_UNAVAILABLE")

        play(script, small())

    def test_a_tokenizer_that_refuses_a_text_or_fails(self):
        class Strict(runner.ByteTokenizer):
            def tokenize(self, text):
                if text == "bad":
                    raise ValueError("bad text")
                if text == "bug":
                    raise KeyError(3)
                return [300] if text == "far" else super().tokenize(text)

        class Text(Bigram):
            def __init__(self):
                super().__init__()
                self.tokenizer = Strict("<eos>")

        def script(stream):
            stream.accept()
            for texts, reason, field, words in ((["a", "bad"], "MALFORMED_MESSAGE", "texts[1]", "bad text"),
                                                (["bug"], "INTERNAL", "", "Strict raised KeyError"),
                                                (["far"], "INTERNAL", "", "not in [0, 257)")):
                stream.write(tokenize=runner_pb2.TokenizeCall(call_id=1, texts=texts))
                result = stream.read().tokenized
                self.assertFalse(result.tokens)
                error = errors.from_proto(result.error)
                self.assertEqual((error.reason, error.field), (reason, field))
                self.assertIn(words, error.message)

        play(script, Text())


class Streams(unittest.TestCase):
    """The connection: how it begins, beats and ends."""

    def refuse(self, script, words: str):
        server = ScriptedServer(script)
        one = runner.Runner(small(), server.address, name="m")
        try:
            with self.assertRaisesRegex(errors.LogitdError, words):
                one.start()
                one.wait(60)
        finally:
            one.stop()
            server.stop()

    def test_servers_that_break_the_protocol(self):
        def other_major(stream):
            stream.accept(api_major_version=2, api_minor_version=7)

        def no_accepted(stream):
            stream.read()
            stream.write(heartbeat=runner_pb2.Heartbeat())

        def twice(stream):
            stream.accept()
            stream.write(accepted=runner_pb2.RunnerAccepted(api_major_version=1))

        def unknown(stream):
            stream.accept()
            stream.write_raw(b"\xfa\x01\x00")

        def same_sequence(stream):
            stream.accept()
            stream.write(batch=batch(1, work(1, [1]), work(1, [2])))

        def refused(stream):
            stream.read()
            stream.context.abort(grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH: no")

        for script, words in ((other_major, r"API version 2\.7 and this runner 1\.0"), (no_accepted, "first message is heartbeat"),
                              (twice, "second accepted"), (unknown, "does not know"), (same_sequence, "names a sequence twice")):
            def held(stream, script=script):
                script(stream)
                with self.assertRaises(StopIteration):
                    while True:
                        stream.read()
            self.refuse(held, words)

    def test_a_server_that_refuses_the_runner(self):
        class Refuses(ScriptedServer):
            def _attach(self, requests, context):
                self.streams += 1
                next(requests)
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another model of this name")

        server = Refuses(None)
        with self.assertRaisesRegex(errors.PreconditionError, "another model of this name"):
            runner.Runner(small(), server.address, name="m").start()
        self.assertEqual(server.streams, 1)
        server.stop()

    def test_heartbeats(self):
        beats = []

        def script(stream):
            stream.accept(heartbeat_interval_ms=100)
            stream.write(heartbeat=runner_pb2.Heartbeat())
            while len(beats) < 3:
                beats.append(stream.read_any().WhichOneof("kind"))

        play(script, small())
        self.assertEqual(beats, ["heartbeat"] * 3)

    def test_heartbeats_while_the_model_evaluates(self):
        class Slow(Cached):
            go_on = threading.Event()

            def append(self, state, tokens, wanted):
                self.go_on.wait(60)
                return super().append(state, tokens, wanted)

        model = Slow()

        def script(stream):
            stream.accept(heartbeat_interval_ms=100)
            stream.write(batch=batch(1, work(1, [1])))
            for _ in range(3):
                self.assertEqual(stream.read_any().WhichOneof("kind"), "heartbeat")
            model.go_on.set()
            stream.outputs(1)

        play(script, model)

    def test_a_silent_server_is_taken_for_dead(self):
        def script(stream):
            stream.accept(heartbeat_interval_ms=50, silence_limit_ms=300)
            with self.assertRaises(StopIteration):
                while True:
                    stream.read()

        server = ScriptedServer(script)
        one = runner.Runner(small(), server.address, name="m", reconnect=False)
        with self.assertRaisesRegex(errors.UnavailableError, "silent for 0.3 s"):
            one.start().wait(60)
        one.stop()
        server.stop()

    def test_it_attaches_again(self):
        def script(stream):
            stream.accept()
            stream.run(batch(1, work(1, [1])))

        server = ScriptedServer(script)
        with self.assertLogs("logitd.runner", "INFO") as logs:
            one = runner.Runner(Cached(), server.address, name="m").start()
            for _ in range(3):
                server.wait()
            one.stop()
        self.assertGreaterEqual(server.streams, 3)
        self.assertTrue(any("trying again" in line for line in logs.output))
        server.stop()
        self.assertTrue(one.wait(0))

    def test_stop_ends_the_stream_in_order(self):
        ended = threading.Event()

        def script(stream):
            stream.accept()
            with self.assertRaises(StopIteration):
                stream.read()
            ended.set()

        server = ScriptedServer(script)
        with runner.Runner(small(), server.address, name="m") as one:
            self.assertTrue(one.is_attached)
        server.wait()
        self.assertTrue(ended.is_set())
        self.assertTrue(one.wait(0))
        server.stop()

    def test_a_server_that_does_not_answer_the_end(self):
        free = threading.Event()

        def script(stream):
            stream.accept()
            free.wait(60)

        server = ScriptedServer(script)
        one = runner.Runner(small(), server.address, name="m").start()
        one.stop()
        self.assertTrue(one.wait(0))
        free.set()
        server.stop()

    def test_nobody_answers(self):
        with self.assertRaisesRegex(errors.UnavailableError, "no server answers at 127.0.0.1:1 within 0.3 s"):
            runner.Runner(small(), "127.0.0.1:1", name="m").start(timeout=0.3)
        one = runner.Runner(small(), "127.0.0.1:1", name="m", reconnect=False)
        with self.assertRaises(errors.UnavailableError):
            one.start()


class HalfWidths(unittest.TestCase):
    def test_rows_of_two_bytes_go_as_they_are(self):
        try:
            import numpy as np
        except ImportError:
            self.skipTest("numpy is not installed")

        class Half:
            vocab_size = 8
            dtype = "f16"

            def rows(self, tokens, wanted):
                if tokens[-1] == 3:
                    return np.zeros((len(wanted), 8), np.float32)
                return np.arange(8, dtype=np.float16)[None].repeat(len(wanted), 0) / 3

        def script(stream):
            stream.accept()
            (message,) = stream.run(batch(1, work(1, [1, 2], "all")))
            self.assertEqual(message.output.blocks[0], logits_pb2.LogitsBlock(dtype=2, row_count=2, width=8))
            self.assertEqual(message.payload, 2 * struct.pack("<8e", *(np.arange(8, dtype=np.float16) / 3)))
            error = errors_of(stream.run(batch(2, work(2, [3]))))[2]
            self.assertRegex(error.message, "array of float32; a model of dtype 'f16' returns float16")

        with self.assertLogs("logitd.runner"):
            play(script, Half())


if __name__ == "__main__":
    unittest.main()
