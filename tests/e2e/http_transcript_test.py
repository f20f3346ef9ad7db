"""The requests of OpenAI's clients, as they were recorded, against the real server: statuses, shapes, and numbers.

http_clients_harness.py --record made http_transcripts.jsonl with the clients themselves.
"""

import json
import pathlib
import unittest

import harness
import http_case
import http_numbers
import http_shape
import wire

TRANSCRIPT = pathlib.Path(__file__).with_name("http_transcripts.jsonl")
# Other cuts of the cache move the last digits.
NATS = 1e-4


def log_probs_of(path: str, reply: object) -> tuple[list[float], list[float]]:
    """Of a reply or of a stream's events: those of `logprobs`, and those of `prompt_logprobs` without its first."""
    made, prompt = [], []
    for part in reply if isinstance(reply, list) else [reply]:
        for choice in part["choices"]:
            lists = choice.get("logprobs") or {}
            made += [entry["logprob"] for entry in lists.get("content") or []] if "chat" in path else lists.get("token_logprobs", [])
            prompt += [next(iter(entry.values()))["logprob"] for entry in (choice.get("prompt_logprobs") or [])[1:]]
    return made, prompt


class TranscriptTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lines = [json.loads(line) for line in TRANSCRIPT.read_text(encoding="utf-8").splitlines()]
        cls.server = harness.Server(model=harness.model_path(), flags=("--precision", "f32"))
        cls.addClassCleanup(cls.server.stop)
        cls.front = http_case.HttpServer(cls.server.address)
        cls.addClassCleanup(cls.front.stop)
        cls.grpc = cls.enterClassContext(wire.connect(cls.server.address))

    def ask(self, line: dict) -> object:
        body = None if line["request"] is None else json.dumps(line["request"]).encode()
        reply = self.front.send(line["method"], line["path"], body, {"Content-Type": "application/json"} if body else {})
        self.assertEqual(reply.status, line["status"], reply.body)
        if not line["streamed"]:
            return reply.json()
        *events, done = reply.events()
        self.assertEqual(done, "[DONE]")
        return [json.loads(event) for event in events]

    def test_every_client_finds_what_it_reads(self):
        compared = 0
        for line in self.lines:
            with self.subTest(client=line["client"], case=line["case"]):
                reply = self.ask(line)
                shape = http_shape.shape(reply)
                for path, types in line["shape"].items():
                    self.assertIn(path, shape)
                    self.assertLessEqual(set(shape[path].split("|")), set(types.split("|")), path)
                self.assertLessEqual(set(line["reads"]), set(shape))
                compared += self.compare_numbers(line, reply)
        self.assertGreater(compared, 100)

    def compare_numbers(self, line: dict, reply: object) -> int:
        """Returns the number of numbers that were compared."""
        request = line["request"]
        if line["status"] != 200 or line["path"] not in ("/v1/completions", "/v1/chat/completions"):
            return 0
        if not http_numbers.is_defined(request) and request.get("max_tokens") != 0:
            return 0
        made, prompt = log_probs_of(line["path"], reply)
        right = http_numbers.numbers_of(self.grpc, request)
        if request.get("echo") and made:
            self.assertIsNone(made[0])
            wanted = [*right.prompt, *right.completion]
            made = made[1:]
        else:
            wanted = right.completion if made else []
            # A chat's list has no entry for the token that ends the answer, which has no text.
            if "chat" in line["path"] and len(made) == len(wanted) - 1:
                wanted = wanted[:-1]
        if not prompt:
            right.prompt.clear()
        for mine, theirs in zip([*made, *prompt], [*wanted, *right.prompt], strict=True):
            self.assertAlmostEqual(mine, theirs, delta=NATS)
        return len(made) + len(prompt)

    def test_the_transcript_has_every_client(self):
        names = {name.split(" ")[0] for line in self.lines for name in line["client"].split(", ")}
        self.assertLessEqual({"openai", "inspect_ai", "langchain-openai", "llama-index-llms-openai-like", "litellm", "dspy",
                              "deepeval", "promptfoo"}, names)
        # Two versions of the openai client by itself.
        self.assertEqual(len({line["client"] for line in self.lines if line["client"].startswith("openai ")}), 2)
        self.assertNotIn("Bearer", TRANSCRIPT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
