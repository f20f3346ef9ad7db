"""The Python program of docs/decode-wire.md: it runs as it stands, and its sums are those of its own model."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import textwrap
import unittest

import harness
import numpy as np

EXAMPLE = harness.ROOT / "docs/examples/decode_bigram.py"
server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def edited_copy(folder: str, old: str, new: str) -> pathlib.Path:
    """A copy of the program with one change, which must apply."""
    source = EXAMPLE.read_text(encoding="utf-8")
    assert source.count(old) == 1, old
    path = pathlib.Path(folder) / "edited.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    return path


def run_example() -> str:
    return subprocess.run([sys.executable, EXAMPLE, server.address], check=True, stdout=subprocess.PIPE, text=True,
                          timeout=60).stdout


class DecodeExampleTest(unittest.TestCase):
    def test_is_at_most_forty_lines(self):
        self.assertLessEqual(len(EXAMPLE.read_text(encoding="utf-8").splitlines()), 40)

    def test_stands_in_the_document_as_it_is(self):
        document = (harness.ROOT / "docs/decode-wire.md").read_text(encoding="utf-8")
        blocks = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)
        self.assertEqual(blocks[0], EXAMPLE.read_text(encoding="utf-8"))

    def test_document_shows_what_it_prints(self):
        document = (harness.ROOT / "docs/decode-wire.md").read_text(encoding="utf-8")
        self.assertIn(run_example(), document)

    def test_completes_two_sequences_with_the_sum_of_their_log_probs(self):
        lines = run_example().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertNotEqual(lines[0], lines[1])
        # The same model, in double precision and without the server.
        corpus = re.search(r'corpus = "([^"]*)"', EXAMPLE.read_text(encoding="utf-8"))[1].split()
        words = sorted(set(corpus))
        counts = np.full((len(words), len(words)), 0.05)
        for before, after in zip(corpus, corpus[1:]):
            counts[words.index(before), words.index(after)] += 1
        log_probs = np.log(counts / counts.sum(axis=1, keepdims=True))
        for line in lines:
            *text, total = line.split()
            self.assertIn(text[0], ("a", "the"))
            self.assertTrue(text[-1] == "." or len(text) == 13, line)
            expected = sum(log_probs[words.index(a), words.index(b)] for a, b in zip(text, text[1:]))
            self.assertAlmostEqual(float(total), expected, delta=1e-6 * len(text) + 0.5e-6)

    def run_edited(self, old: str, new: str) -> str:
        """The standard error of an edited copy, which must fail. A copy that goes on for ever fails the test."""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, edited_copy(folder, old, new), server.address], text=True,
                                  timeout=30, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def test_ends_with_the_message_when_a_row_is_bad(self):
        message = self.run_edited("requests = queue.SimpleQueue()",
                                  "logits[:, 2] = np.nan\nrequests = queue.SimpleQueue()")
        self.assertRegex(message, r"^sequence 1: .*\b[Nn]a[Nn]\b")

    def test_ends_with_the_message_when_a_sequence_cannot_be_opened(self):
        message = self.run_edited("pb.OpenSequence(sequence_id=sequence)", "pb.OpenSequence(sequence_id=-1)")
        self.assertRegex(message, r"^sequence -1: .*sequence_id.*-1")

    def test_resumes_as_the_document_shows(self):
        document = (harness.ROOT / "docs/decode-wire.md").read_text(encoding="utf-8")
        snippet = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)[1]
        indented = "".join(f"        {line}\n" for line in snippet.splitlines())
        # The first sequence goes on under another id after its first token, on the same stream.
        with tempfile.TemporaryDirectory() as folder:
            copy = edited_copy(folder, "    for step in result.steps:\n", "    for step in result.steps:\n"
                               "        if step.sequence_id not in going:\n            continue\n")
            source = copy.read_text(encoding="utf-8")
            source = source.replace("requests.put(None)", "    if batch_id == 1:\n        step = result.steps[0]\n"
                                    f"{indented}        texts[9], going = texts[1], [9, 2]\nrequests.put(None)")
            copy.write_text("from logitd.v1 import completion_pb2\n" + source, encoding="utf-8")
            resumed = subprocess.run([sys.executable, copy, server.address], check=True, stdout=subprocess.PIPE,
                                     text=True, timeout=30).stdout
        self.assertEqual(resumed, run_example())

    def test_reads_reasons_with_and_without_googles_own_message(self):
        document = (harness.ROOT / "docs/decode-wire.md").read_text(encoding="utf-8")
        snippet = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)[2]
        program = textwrap.dedent("""
            import sys
            import grpc
            from logitd.v1 import decoding_service_pb2 as pb
            from logitd.v1 import decoding_service_pb2_grpc
            stub = decoding_service_pb2_grpc.DecodingServiceStub(grpc.insecure_channel(sys.argv[1]))
            try:
                stub.ComputeDistribution(pb.ComputeDistributionRequest(logits={"float_values": [1]}, sampling={"temperature": -1}))
            except grpc.RpcError as caught:
                failure = caught
            """) + snippet

        def run(source: str, *folders: object) -> subprocess.CompletedProcess:
            path = os.pathsep.join(map(str, [*folders, os.environ["PYTHONPATH"]]))
            return subprocess.run([sys.executable, "-c", source, server.address], capture_output=True, text=True,
                                  timeout=60, env={**os.environ, "PYTHONPATH": path})

        expected = "ERROR_REASON_FIELD_OUT_OF_RANGE sampling.temperature\n"
        alone = run(program)
        self.assertEqual(alone.stdout, expected, alone.stderr)
        with tempfile.TemporaryDirectory() as folder:
            # The module google.rpc.status_pb2, which googleapis-common-protos installs and grpcio-status imports.
            sources = subprocess.run([harness.ROOT / "scripts/fetch-sources"], check=True, stdout=subprocess.PIPE,
                                     text=True).stdout.splitlines()[-1]
            subprocess.run(["protoc", "-I", sources, f"--python_out={folder}", "google/rpc/status.proto"], check=True)
            for source in (program, "from google.rpc import status_pb2\n" + program):
                beside = run(source, folder)
                self.assertEqual(beside.stdout, expected, beside.stderr)
            # The two definitions do clash.
            both = run("from google.rpc import status_pb2\nimport status_pb2", folder)
            self.assertNotEqual(both.returncode, 0)
            self.assertIn("google.rpc.Status", both.stderr)

    def test_prints_the_same_on_every_run(self):
        self.assertEqual(run_example(), run_example())


if __name__ == "__main__":
    unittest.main()
