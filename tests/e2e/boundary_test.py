"""Where texts meet: the scored tokens spell the requested text, and libllama gives the same log-probs for them.

Right values come from boundary_pairs (the rules, written down again) over tokens and log-probs of llama_reference, which
shares no line with logitd. The vocabularies: BPE with the real model, and random weights with SentencePiece (Llama 2;
phi-3, which has tokens of the user's) and another BPE (falcon).
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import boundary_pairs
import harness
import wire
from logitd.v1 import completion_pb2, generation_service_pb2, model_service_pb2, scoring_service_pb2

TOLERANCE = 1e-4
PAIR_COUNT = 200
IS_LONG = bool(os.environ.get("LOGITD_LONG"))
# The real model takes a second for three pairs.
REAL_PAIR_COUNT = PAIR_COUNT if IS_LONG else 24
# Under the rules that are not the default: libllama's log-probs of that many, the tokens of all.
NUMBER_COUNT = PAIR_COUNT if IS_LONG else 12
JOINT, SEPARATE, LM_EVAL = (completion_pb2.BOUNDARY_JOINT, completion_pb2.BOUNDARY_SEPARATE,
                            completion_pb2.BOUNDARY_LM_EVAL)
MIB = 1 << 20


class Reference:
    """llama_reference on one file."""

    def __init__(self, path):
        self._path = path

    def _ask(self, lines: list[str]) -> list[dict]:
        done = subprocess.run([harness.BIN / "llama_reference", self._path, "--lines"], input="\n".join(lines) + "\n",
                              stdout=subprocess.PIPE, text=True, check=True, timeout=harness.CALL_TIMEOUT_S)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def tokens(self, texts: list[str]) -> list[boundary_pairs.Tokens]:
        replies = self._ask([f"text {text.encode().hex()}" for text in texts])
        return [boundary_pairs.Tokens(r["tokens"], [bytes.fromhex(b) for b in r["bytes"]]) for r in replies]

    def log_probs(self, joined: list[boundary_pairs.Joined]) -> list[list[float]]:
        """Of each continuation's tokens."""
        lines = ["tokens " + ",".join(map(str, j.context + j.continuation)) for j in joined]
        return [r["log_probs"][len(j.context) - 1:] for r, j in zip(self._ask(lines), joined)]


@dataclasses.dataclass
class Model:
    """A server with a model, and libllama's numbers for it."""

    server: harness.Server
    reference: Reference
    bos: list[int]
    # Stands for an empty context.
    implicit: int

    @classmethod
    def start(cls, path, reference_path=None, flags=()):
        server = harness.Server(model=path, flags=flags)
        with wire.connect(server.address) as client:
            info = client.models.ListModels(model_service_pb2.ListModelsRequest()).models[0].model
        implicit = info.bos_token_id if info.HasField("bos_token_id") else info.eos_token_id
        return cls(server, Reference(reference_path or converted_model()), [implicit] if info.adds_bos else [], implicit)

    def score(self, pairs, rule, **options) -> list[scoring_service_pb2.ScoredItem]:
        items = [scoring_service_pb2.ScoreItem(context=text_or_ids(context),
                                               continuations=[continuation_of(continuation)])
                 for context, continuation in pairs]
        request = scoring_service_pb2.ScoreRequest(
            items=items, tokenization=completion_pb2.TokenizationOptions(boundary=rule, **options))
        with wire.connect(self.server.address) as client:
            replies = list(client.scoring.Score(request, timeout=harness.CALL_TIMEOUT_S))
        return [reply.item for reply in sorted(replies, key=lambda reply: reply.item_index)]


def text_or_ids(value) -> completion_pb2.Input:
    if isinstance(value, str):
        return completion_pb2.Input(text=value)
    ids = completion_pb2.Input()
    ids.tokens.token_ids.extend(value)
    return ids


def continuation_of(value) -> scoring_service_pb2.Continuation:
    given = text_or_ids(value)
    if given.HasField("text"):
        return scoring_service_pb2.Continuation(text=given.text)
    return scoring_service_pb2.Continuation(tokens=given.tokens)


def converted_model() -> str:
    """The f32 file that the server's runner has made of the real model."""
    sha256 = hashlib.sha256(harness.model_path().read_bytes()).hexdigest()
    (path,) = harness.cache_dir().glob(f"{sha256}-llama.cpp-*-f32.gguf")
    return str(path)


def ids_of(continuation: scoring_service_pb2.ScoredContinuation) -> list[int]:
    return [token.token_id for token in continuation.score.tokens]


class Proofs:
    """The tests that hold for every vocabulary; the subclass has a `model` and a `pair_count`."""

    def pairs(self):
        return boundary_pairs.random_pairs(self.pair_count, seed=11)

    def check(self, pairs, wanted: list[boundary_pairs.Joined], items, has_spans: bool, number_count: int) -> None:
        log_probs = self.model.reference.log_probs(wanted[:number_count])
        for (context, continuation), want, item, numbers in itertools.zip_longest(pairs, wanted, items, log_probs):
            with self.subTest(context=context, continuation=continuation):
                (scored,) = item.continuations
                self.assertFalse(scored.HasField("error"), scored.error.message)
                self.assertEqual(ids_of(scored), want.continuation)
                self.assertEqual(scored.boundary.context_token_count, len(want.context))
                self.assertEqual(scored.boundary.HasField("implicit_context_token_id"), want.is_implicit)
                if has_spans:
                    self.assertEqual(scored.boundary.spanning_bytes, want.spanning_bytes)
                    self.assertEqual(scored.boundary.token_spans_boundary, want.spanning_bytes > 0)
                    self.assertFalse(scored.boundary.text_changed)
                for token, number in zip(scored.score.tokens, numbers, strict=True) if numbers is not None else ():
                    self.assertAlmostEqual(token.model_log_prob, number, delta=TOLERANCE)
                self.assertEqual(scored.score.byte_count, len(continuation.encode()))

    def test_joint_tokens_spell_the_text_and_have_libllamas_log_probs(self):
        pairs, model = self.pairs(), self.model
        joint = model.reference.tokens([context + continuation for context, continuation in pairs])
        wanted = [boundary_pairs.join(*pair, tokens, model.bos, model.implicit) for pair, tokens in zip(pairs, joint)]
        self.assertGreater(sum(want.spanning_bytes > 0 for want in wanted), self.pair_count // 8)
        items = model.score(pairs, JOINT)
        self.check(pairs, wanted, items, has_spans=True, number_count=len(pairs))

    def test_lm_evals_rule_is_the_harnesss(self):
        pairs, model = self.pairs() + [("", " a b"), (" ", "x"), ("   ", "x"), ("a\u3000\u00a0", "x")], self.model
        # Every text that the harness would tokenise, in one call.
        texts = sorted({t for c, d in pairs for t in (c + d, c.rstrip(), c, d)})
        ids = {text: tokens.ids for text, tokens in zip(texts, model.reference.tokens(texts))}

        def encode(text: str, add_special_tokens: bool = True) -> list[int]:
            return (model.bos if add_special_tokens else []) + ids[text]

        wanted = [boundary_pairs.join_as_lm_eval(*pair, encode, model.implicit) for pair in pairs]
        items = model.score(pairs, LM_EVAL)
        for pair, want, item in zip(pairs, wanted, items):
            if not want.continuation:
                self.assertEqual(wire.reason(item.continuations[0].error), "BOUNDARY_TOKEN", pair)
        left = [(p, w, i) for p, w, i in zip(pairs, wanted, items) if w.continuation]
        self.assertGreater(len(left), len(pairs) * 2 // 3)
        pairs, wanted, items = zip(*left)
        self.check(pairs, wanted, items, has_spans=False, number_count=NUMBER_COUNT)
        # Some of them spell another text, and say so; none says so that spells it.
        pieces = {}
        for text, tokens in zip(texts, model.reference.tokens(texts)):
            pieces |= dict(zip(tokens.ids, tokens.pieces))
        changed = 0
        for (context, continuation), want, item in zip(pairs, wanted, items):
            spelled = b"".join(pieces.get(i, b"") for i in want.context + want.continuation)
            text = (context + continuation).encode()
            is_changed = spelled not in (text, b" " + text)
            boundary = item.continuations[0].boundary
            self.assertEqual(boundary.text_changed, is_changed, (context, continuation))
            self.assertEqual(boundary.moved_space_count, len(context) - len(context.rstrip()))
            changed += is_changed
        self.assertGreater(changed, 0)

    def test_separate_tokens_go_on(self):
        pairs, model = self.pairs(), self.model
        alone = model.reference.tokens([context for context, _ in pairs])
        after = self.continuing.tokens([continuation for _, continuation in pairs])
        wanted = [boundary_pairs.Joined(model.bos + a.ids, b.ids) for a, b in zip(alone, after)]
        self.check(pairs, wanted, model.score(pairs, SEPARATE), has_spans=True, number_count=NUMBER_COUNT)
        # The same after ids, whatever the rule.
        given = [(want.context, continuation) for want, (_, continuation) in zip(wanted, pairs)]
        for rule in (JOINT, LM_EVAL):
            for want, item in zip(wanted, model.score(given, rule), strict=True):
                (scored,) = item.continuations
                self.assertEqual(ids_of(scored), want.continuation)
                self.assertEqual(scored.boundary.rule, SEPARATE)


class RealModelTest(Proofs, unittest.TestCase):
    """SmolLM2, a BPE vocabulary."""

    pair_count = REAL_PAIR_COUNT

    @classmethod
    def setUpClass(cls):
        cls.model = Model.start(harness.model_path())
        cls.continuing = cls.model.reference

    @classmethod
    def tearDownClass(cls):
        cls.model.server.stop()

    def logit(self, *arguments) -> str:
        outcome = harness.run("logit", *arguments, "--server", self.model.server.address)
        self.assertEqual(outcome.status, 0, outcome.stderr)
        return outcome.stdout

    def test_candidates_that_differ_are_no_tie(self):
        ranked = harness.logit("rank", "if a =", "= b:", " b:", server=self.model.server).json()["item"]
        joint = self.model.reference.tokens(["if a == b:", "if a = b:"])
        wanted = [boundary_pairs.join("if a =", end, tokens, [], self.model.implicit)
                  for end, tokens in zip(("= b:", " b:"), joint)]
        for candidate, numbers in zip(ranked["candidates"], self.model.reference.log_probs(wanted)):
            self.assertAlmostEqual(candidate["sum"], sum(numbers), delta=TOLERANCE * len(numbers))
        self.assertEqual([c["place"] for c in ranked["candidates"]], [2, 1])
        self.assertTrue(ranked["candidates"][0]["boundary"]["token_spans_boundary"])
        self.assertEqual(ranked["candidates"][0]["boundary"]["rule"], "BOUNDARY_JOINT")

    def test_tables_say_where_a_token_spans_and_where_the_text_is_another(self):
        self.assertIn('candidate "= b:": the first token begins with 2 bytes of the context, and counts whole',
                      self.logit("rank", "if a =", "= b:", " b:"))
        self.assertIn("continuation 0: the first token begins with 1 byte of the context",
                      self.logit("score", "See http:", "//example.com"))
        table = self.logit("score", "Answer", "r: C", "--boundary", "lm-eval")
        self.assertIn("the tokens scored do not spell context + continuation (--boundary joint does)", table)
        self.assertIn("no token is left for the context: token 1 stands for it", self.logit("score", " ", "x"))
        self.assertNotIn("continuation 0:", self.logit("score", "The cat sat on the", " mat"))
        doubled = self.logit("complete", "<|im_start|>user", "--parse-special-tokens", "--add-special-tokens", "true",
                             "--max-tokens", "1")
        self.assertIn("the prompt begins with BOS, and another BOS was put before it", doubled)

    def test_control_tokens_count_with_their_names(self):
        # "<|im_start|>" is a token without bytes; the merge behind it is a real one, and there is none in the second.
        merged, apart = self.model.score([("<|im_start|>http:", "//a"), ("<|im_start|>us", "<|im_end|>")], JOINT,
                                         parse_special_tokens=True)
        self.assertEqual(merged.continuations[0].boundary.spanning_bytes, 1)
        boundary = apart.continuations[0].boundary
        self.assertFalse(boundary.token_spans_boundary or boundary.text_changed)

    def test_text_is_counted_before_it_is_copied(self):
        # 1 MiB of context and 1,000 continuations of a byte: joined, a thousand MiB.
        before = peak_kib(self.model.server.pid)
        request = scoring_service_pb2.ScoreRequest()
        item = request.items.add()
        item.context.text = "a" * MIB
        for _ in range(1000):
            item.continuations.add().text = "a"
        with wire.connect(self.model.server.address) as client:
            with self.assertRaises(wire.grpc.RpcError) as raised:
                list(client.scoring.Score(request, timeout=harness.CALL_TIMEOUT_S))
        self.assertEqual(raised.exception.code(), wire.grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertLess(peak_kib(self.model.server.pid) - before, 64 * 1024)


def peak_kib(pid: int) -> int:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class RandomModel(Proofs):
    """Random weights with the vocabulary of that name."""

    pair_count = PAIR_COUNT

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="logitd-boundary-")
        folder = pathlib.Path(cls.folder.name)
        vocabulary = harness.vocabulary_path(cls.vocabulary)
        path = harness.random_model(vocabulary, folder / "model.gguf", "--embedding", 32)
        # The same vocabulary, but it puts nothing before a text: this makes the tokens of a text that goes on.
        continuing = harness.random_model(vocabulary, folder / "continuing.gguf", "--embedding", 32, "--set-false",
                                          "tokenizer.ggml.add_space_prefix")
        cls.model = Model.start(path, path, flags=("--precision", "f32"))
        cls.continuing = Reference(continuing)

    @classmethod
    def tearDownClass(cls):
        cls.model.server.stop()
        cls.folder.cleanup()


class SentencePieceTest(RandomModel, unittest.TestCase):
    """Llama 2's vocabulary, which puts a space before a text."""

    vocabulary = "llama-spm"

    def test_text_after_ids_has_no_space_before_it(self):
        # Llama 2's ids: "." is 29889, "▁." 869, "▁Paris" 3681.
        context = [1, 450, 7483, 310, 3444, 338]
        for text, ids in ((".", [29889]), (" Paris", [3681]), (" .", [869])):
            (item,) = self.model.score([(context, text)], JOINT)
            self.assertEqual(ids_of(item.continuations[0]), ids)

    def test_what_the_vocabulary_changes_is_reported(self):
        # U+2581 is its own mark for a space.
        changed, after, kept = self.model.score([("a\u2581b", " c"), ("a b", "\u2581c"), ("a b", " c")], JOINT)
        self.assertTrue(changed.tokenization.text_changed)
        for item, is_changed in ((changed, True), (after, True), (kept, False)):
            boundary = item.continuations[0].boundary
            self.assertEqual(boundary.text_changed, is_changed)
            self.assertEqual(boundary.context_token_count, 3)
        self.assertFalse(kept.HasField("tokenization"))

    def test_doubled_bos_is_reported(self):
        with wire.connect(self.model.server.address) as client:
            options = completion_pb2.TokenizationOptions(parse_special_tokens=True)
            reply = client.models.Tokenize(
                model_service_pb2.TokenizeRequest(texts=["<s>a", "a<s>", "<s> a"], tokenization=options))
            started = next(iter(client.generation.Generate(generation_service_pb2.GenerateRequest(
                prompt=completion_pb2.Input(text="<s>a"), tokenization=options)))).started
        self.assertEqual([t.tokenization.doubled_bos for t in reply.texts], [True, False, True])
        self.assertEqual(list(reply.texts[0].token_ids)[:2], [1, 1])
        self.assertTrue(started.tokenization.doubled_bos)
        # After a control token a text begins, with its space; in the midst of a text that space is a change.
        self.assertEqual([t.tokenization.text_changed for t in reply.texts], [False, False, False])


class UserTokensTest(RandomModel, unittest.TestCase):
    """phi-3's vocabulary: SentencePiece, with tokens that are found by their names."""

    vocabulary = "phi-3"
    pair_count = PAIR_COUNT if IS_LONG else 60


class OtherBpeTest(RandomModel, unittest.TestCase):
    """falcon's vocabulary: BPE with another pre-tokenizer, without BOS."""

    vocabulary = "falcon"


if __name__ == "__main__":
    unittest.main()
