"""BOUNDARY_LM_EVAL against lm-evaluation-harness 0.4.13: the same tokens before and after the cut, for 200 pairs of texts
and two vocabularies.

The harness runs in its own Python: LOGITD_LM_EVAL_PYTHON, or the one of tests/peers/install_lm_eval. Where that cannot
import it, a line says so and the test counts as skipped; e2e.boundary_test checks the rule as boundary_pairs has it, and
this test that boundary_pairs has it right. The tokens of each text are libllama's.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import boundary_pairs
import boundary_test
import harness
from logitd.v1 import completion_pb2

PEER = pathlib.Path(__file__).with_name("lm_eval_peer.py")
SKIPPED_STATUS = 77
VERSION = "lm-evaluation-harness 0.4.13"
PEER_TIMEOUT_S = 300
PAIR_COUNT = 200


def run_peer(request: str) -> subprocess.CompletedProcess:
    """REQUIRES: the interpreter is there. Its own packages alone: not this test's stubs."""
    python = os.environ.get("LOGITD_LM_EVAL_PYTHON") or str(harness.cache_dir() / "lm-eval-venv/bin/python3")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, str(PEER)], env=environment, input=request, stdout=subprocess.PIPE, text=True,
                          timeout=PEER_TIMEOUT_S, check=False)


def why_absent() -> str | None:
    """One line if the harness cannot be asked."""
    try:
        asked = run_peer("")
    except OSError as error:
        return f"{error}: tests/peers/install_lm_eval installs it"
    if asked.returncode == SKIPPED_STATUS:
        return asked.stdout.strip()
    if asked.returncode != 0:
        raise RuntimeError(f"{PEER} ended with status {asked.returncode}")
    print(asked.stdout.strip(), file=sys.stderr)
    return None if asked.stdout.strip() == VERSION else f"not the version compared with, {VERSION}"


class LmEvalBoundaryTest(unittest.TestCase):
    def compare(self, vocabulary: str) -> None:
        with tempfile.TemporaryDirectory(prefix="logitd-lm-eval-") as folder:
            path = harness.random_model(harness.vocabulary_path(vocabulary), pathlib.Path(folder) / "model.gguf",
                                        "--embedding", 32)
            model = boundary_test.Model.start(path, path, flags=("--precision", "f32"))
            try:
                self.compare_with(model)
            finally:
                model.server.stop()

    def compare_with(self, model: boundary_test.Model) -> None:
        pairs = boundary_pairs.random_pairs(PAIR_COUNT, seed=4)
        pairs += [("", "x y"), (" ", "x"), ("   ", "x"), ("Question:\n\n", "x"), ("a\u3000", "b"), ("Answer", "r: C"),
                  ("Ans", "wer"), ("hello wor", "ld"), ("See http:", "//example.com"), ("if a =", "= b:")]
        texts = sorted({t for context, continuation in pairs
                        for t in (context + continuation, context.rstrip(), continuation)})
        ids = {text: tokens.ids for text, tokens in zip(texts, model.reference.tokens(texts))}
        request = {"tokens": ids, "bos": model.bos, "prefix": model.implicit, "pairs": pairs}
        asked = run_peer(json.dumps(request))
        self.assertEqual(asked.returncode, 0)
        wanted = json.loads(asked.stdout)
        self.assertEqual(len(wanted), len(pairs))

        items = model.score(pairs, completion_pb2.BOUNDARY_LM_EVAL)
        vanished = 0
        for pair, (context, continuation), item in zip(pairs, wanted, items):
            with self.subTest(pair=pair):
                (scored,) = item.continuations
                mine = boundary_pairs.join_as_lm_eval(
                    *pair, lambda text, add_special_tokens=True: (model.bos if add_special_tokens else []) + ids[text],
                    model.implicit)
                self.assertEqual(mine.continuation, continuation)
                self.assertEqual([] if mine.is_implicit else mine.context, context)
                if not continuation:
                    # The harness ends with an assertion here, later on.
                    vanished += 1
                    self.assertEqual(scored.error.reason, boundary_test.wire.error_pb2.ERROR_REASON_BOUNDARY_TOKEN)
                    continue
                self.assertEqual(boundary_test.ids_of(scored), continuation)
                # An empty context is where the harness ends with an assertion, too; here the prefix token stands for it.
                self.assertEqual(scored.boundary.context_token_count, max(1, len(context)))
        self.assertLess(vanished, len(pairs) // 3)

    def test_sentence_piece(self):
        self.compare("llama-spm")

    def test_bpe(self):
        self.compare("gpt-2")


if __name__ == "__main__":
    if (reason := why_absent()) is not None:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED_STATUS)
    unittest.main()
