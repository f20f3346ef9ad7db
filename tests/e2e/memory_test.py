"""A runner's cache follows the available memory: in a control group of 2 GiB it stays below that, and says so.

Needs root and the memory controller of control groups (v1 or v2); without them the tests are skipped with a line.
"""

import json
import os
import pathlib
import re
import shutil
import tempfile
import unittest

import grpc
import harness
import wire
from logitd.v1 import error_pb2

MIB = 1 << 20


class Group:
    """A control group with a limit, for one server and its runners."""

    def __init__(self, limit_bytes: int):
        v1 = pathlib.Path("/sys/fs/cgroup/memory")
        self._is_v1 = v1.is_dir()
        root = v1 if self._is_v1 else pathlib.Path("/sys/fs/cgroup")
        self._folder = root / f"logitd-memory-test-{os.getpid()}"
        self._folder.mkdir()
        try:
            self._write("memory.limit_in_bytes" if self._is_v1 else "memory.max", limit_bytes)
        except OSError:
            self._folder.rmdir()
            raise
        # Runs the command that comes after it in the group.
        self.prefix = ("/bin/sh", "-c", f'echo $$ > {self._folder}/cgroup.procs && exec "$@"', "sh")

    def _write(self, name: str, value: int) -> None:
        (self._folder / name).write_text(str(value), encoding="ascii")

    def peak_bytes(self) -> int:
        return int((self._folder / ("memory.max_usage_in_bytes" if self._is_v1 else "memory.peak")).read_text())

    def anonymous_bytes(self) -> int:
        """Without pages of files."""
        stat = dict(line.split() for line in (self._folder / "memory.stat").read_text().splitlines())
        return int(stat["total_rss" if self._is_v1 else "anon"])

    def times_at_the_limit(self) -> int:
        """The number of times that it had to give pages of files back, and that a process was killed then."""
        if self._is_v1:
            return int((self._folder / "memory.failcnt").read_text())
        return self._event("max")

    def killed(self) -> int:
        if self._is_v1:
            stat = dict(line.split() for line in (self._folder / "memory.oom_control").read_text().splitlines())
            return int(stat.get("oom_kill", 0))
        return self._event("oom_kill")

    def _event(self, name: str) -> int:
        return int(dict(line.split() for line in (self._folder / "memory.events").read_text().splitlines())[name])

    def remove(self) -> None:
        self._folder.rmdir()


class MemoryTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-e2e-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def group(self, limit_bytes: int) -> Group:
        try:
            group = Group(limit_bytes)
        except OSError as error:
            self.skipTest(f"a control group with a limit cannot be made: {error}")
        self.addCleanup(group.remove)
        return group

    def model(self, *flags: object) -> pathlib.Path:
        return harness.random_model(harness.vocabulary_path("gpt-2"), self.folder / "model.gguf", *flags)

    def start(self, group: Group, model: pathlib.Path, *flags: str) -> harness.Server:
        server = harness.Server(model=model, flags=flags, prefix=group.prefix)
        self.addCleanup(server.stop)
        return server

    def assert_serves(self, server: harness.Server) -> None:
        completion = harness.logit("complete", "The cat", "--max-tokens", 8, server=server).json()
        self.assertTrue(completion)
        score = harness.logit("score", "The cat", " sat on the mat", server=server).json()
        self.assertTrue(score)

    def capacity(self, server: harness.Server) -> dict:
        return harness.logit("info", server=server).json()["models"][0]["capacity"]

    def test_a_long_context_starts_in_two_gib_and_stays_below(self):
        """2 layers of 1,024: 16 KiB a token in f32, so twice the context of 131,072 would take 4.3 GB of cache alone."""
        group = self.group(2048 * MIB)
        server = self.start(group, self.model("--layers", 2, "--embedding", 1024, "--context", 131072))
        self.assert_serves(server)
        model = harness.logit("info", server=server).json()["models"][0]["model"]
        # Replicas with more memory agree on it.
        self.assertEqual(model["context_length"], 131072)
        capacity = self.capacity(server)
        cells = int(capacity["max_cached_tokens"])
        self.assertGreater(cells, 16384)
        self.assertLess(cells, 131072)
        self.assertIn("as many as fit", capacity["cache_choice"])
        self.assertIn("the control group's limit of 2.0 GiB", capacity["cache_choice"])
        self.assertIn(f"cache of {cells} tokens", server.log())
        self.assertIn("warning", server.log())
        self.assertEqual(group.killed(), 0)
        self.assertLess(group.peak_bytes(), 2048 * MIB)
        self.assertEqual(group.times_at_the_limit(), 0)
        # The promised memory is there, and not much more: the server keeps an eighth.
        self.assertLess(group.anonymous_bytes(), 2048 * MIB * 7 // 8)
        self.assertGreater(group.anonymous_bytes(), 1024 * MIB)
        print(f"cache of {cells} tokens; peak {group.peak_bytes() / MIB:.0f} MiB of 2048, "
              f"{group.anonymous_bytes() / MIB:.0f} MiB without pages of files")

    def test_where_there_is_room_it_is_twice_the_context(self):
        group = self.group(2048 * MIB)
        server = self.start(group, self.model("--layers", 2, "--embedding", 64, "--context", 131072))
        self.assert_serves(server)
        capacity = self.capacity(server)
        self.assertEqual(int(capacity["max_cached_tokens"]), 262144)
        self.assertIn("twice the context length", capacity["cache_choice"])
        if os.environ.get("LOGITD_LONG"):
            # All that evaluating takes is touched only at the end of a long text: a token a letter, minutes of work.
            item = {"context": {"text": " a b" * 65000},
                    "continuations": [{"text": " c"}]}
            outcome = harness.run("logit", "score", "--timeout", 3000, "--server", server.address, "--json", timeout_s=3100,
                                  stdin=json.dumps(item) + "\n")
            self.assertEqual(outcome.status, 0, outcome.stderr)
            (scored,) = [json.loads(line) for line in outcome.stdout.splitlines()]
            self.assertEqual(scored["item"]["context_token_count"], 130000)
            (continuation,) = scored["item"]["continuations"]
            self.assertEqual(continuation["score"]["totals"]["token_count"], 1)
        self.assertLess(group.peak_bytes(), 2048 * MIB)
        self.assertEqual(group.killed(), 0)
        print(f"peak {group.peak_bytes() / MIB:.0f} MiB of 2048, {group.anonymous_bytes() / MIB:.0f} MiB without files")

    def test_two_runners_share(self):
        group = self.group(2048 * MIB)
        server = self.start(group, self.model("--layers", 2, "--embedding", 1024, "--context", 131072), "--runners",
                            "2")
        # Ready with the first; the second comes.
        for _ in range(600):
            status = harness.logit("info", server=server).json()["models"][0]
            if int(status["runner_count"]) == 2:
                break
        self.assertEqual(int(status["runner_count"]), 2)
        self.assert_serves(server)
        self.assertLess(group.peak_bytes(), 2048 * MIB)
        self.assertEqual(group.killed(), 0)
        caches = [int(cells) for cells in re.findall(r"logitd-llama: .*cache of (\d+) tokens", server.log())]
        self.assertEqual(len(caches), 2)
        self.assertLess(abs(caches[0] - caches[1]), caches[0] / 20)

    def test_a_text_that_needs_more_than_is_there_costs_its_own_process(self):
        """4 MiB of one letter take 1.4 GB of stack with this vocabulary."""
        group = self.group(600 * MIB)
        path = harness.random_model(harness.vocabulary_path("deepseek-llm"), self.folder / "model.gguf", "--layers", 1,
                                    "--embedding", 64, "--context", 4096)
        server = self.start(group, path)
        with wire.connect(server.address) as client:
            with self.assertRaises(grpc.RpcError) as failure:
                client.tokenize("a" * (4 << 20))
            self.assertEqual(wire.error_of(failure.exception).reason, error_pb2.ERROR_REASON_TOKENIZER_FAILED)
            self.assertTrue(client.tokenize("The cat sat"))
        self.assert_serves(server)
        self.assertNotIn("runner ended", server.log())
        if "sanitize" in str(harness.BIN):
            # A sanitizer's own memory lies beside the stack: there it may be the kernel that ends the text's process.
            return
        self.assertEqual(group.killed(), 0, "the text ran over its stack before the memory was used up")
        self.assertLess(group.peak_bytes(), 600 * MIB)
        self.assertRegex(server.log(), r"a text of 4194304 bytes ended the tokenizer \(SIGSEGV\) again")
        print(f"peak {group.peak_bytes() / MIB:.0f} MiB of 600")

    def test_weights_that_cannot_fit_are_refused_in_one_sentence(self):
        group = self.group(96 * MIB)
        path = self.model("--layers", 1, "--embedding", 512, "--type", "f32")
        outcome = harness.run(*group.prefix[:1], *group.prefix[1:], harness.BIN / "logitd", "--listen", "127.0.0.1:0",
                              "--model", path, "--cache-dir", self.folder, timeout_s=120)
        self.assertEqual(outcome.status, 1, outcome.stderr)
        line = harness.last_words(outcome)
        for words in (f"model file {path} ", "its weights take ", "the control group's limit of 96 MiB", "give more memory"):
            self.assertIn(words, line)
        self.assertEqual(group.killed(), 0)

    def test_the_flags_are_those_of_logitd(self):
        path = self.model("--layers", 1, "--embedding", 64, "--context", 4096)
        outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--model", path, "--context-length", 5000,
                              timeout_s=120)
        self.assertEqual(outcome.status, 2)
        self.assertIn("--context-length must be at most 4096, the length that the model was trained with, got 5000",
                      outcome.stderr)
        outcome = harness.run("logitd", "--listen", "127.0.0.1:0", "--model", path, "--max-sequences", 65)
        self.assertEqual(outcome.status, 2)
        self.assertIn("--max-sequences must be in [0, 64], got 65", outcome.stderr)

    def test_a_cache_smaller_than_the_context_refuses_what_is_longer(self):
        path = self.model("--layers", 1, "--embedding", 64, "--context", 4096)
        server = harness.Server(model=path, flags=("--cache-tokens", "600", "--max-sequences", "3"))
        self.addCleanup(server.stop)
        capacity = self.capacity(server)
        self.assertEqual(int(capacity["max_cached_tokens"]), 600)
        self.assertEqual(int(capacity["max_sequences"]), 3)
        self.assertIn("as --cache-tokens says", capacity["cache_choice"])
        table = harness.run("logit", "info", "--server", server.address)
        self.assertIn("cache of smollm2: 600 tokens, as --cache-tokens says", table.stdout)
        # Letters with a space: a token each.
        long_text = " a b" * 400
        for command in (["complete", long_text], ["score", long_text, " c"]):
            with self.subTest(command=command[0]):
                outcome = harness.logit(*command, server=server)
                text = (outcome.stderr + outcome.stdout)[:2000]
                self.assertIn("LIMIT_EXCEEDED", text)
                self.assertIn("capacity.max_cached_tokens", text)
                self.assertIn("[1, 600] tokens", text)
        # Generation ends where the cache does: 600 tokens are fed, and the last one is not.
        final = harness.logit("complete", "a", "--max-tokens", 2000, "--ignore-eos", server=server).json()
        completion = final["completions"][0]
        self.assertEqual(completion["finish"]["reason"], "FINISH_REASON_CONTEXT_FULL")
        self.assertEqual(len(completion["tokens"]), 600)


if __name__ == "__main__":
    unittest.main()
