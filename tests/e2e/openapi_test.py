"""docs/openapi.yaml is true: it has the routes and the fields of logitd-http, and real replies fit its schemas."""

import json
import re
import socket
import unittest

import harness
import http_case
import jsonschema
import openapi_file
import transition

SOURCES = harness.ROOT / "client/http"
# Tables of `logitd-http --compatibility` that are not named after a route.
PARTS = {"`stream_options`": "StreamOptions", "`logitd`: extensions": "CompletionExtensions",
         "A question of /v1/decisions": "DecisionQuestion", "A question of /v1/systemone": "SystemoneQuestion",
         "A message of /v1/chat/completions": "ChatMessage", "A part of a message's content": "ChatPart"}
# Replies, beside those of errors, that a client of a server in order sees.
EVENTS = {"/v1/completions": "CompletionEvent", "/v1/chat/completions": "ChatEvent"}
# Codes of gRPC for which an error without a reason may stand.
GRPC_CODES = {"invalid_argument", "failed_precondition", "out_of_range", "aborted", "already_exists", "unauthenticated",
              "permission_denied", "resource_exhausted", "unimplemented", "unavailable", "unknown", "data_loss"}

PROMPTS = [[72, 101], [80, 81, 82]]
# Requests of every route and every field that changes the reply's form.
REQUESTS = [
    ("/v1/completions", {"prompt": "ab", "max_tokens": 2}),
    ("/v1/completions", {"prompt": PROMPTS, "max_tokens": 3, "n": 2, "best_of": 3, "temperature": 0.7, "seed": 5, "logprobs": 3}),
    ("/v1/completions", {"prompt": ["a", PROMPTS[0]], "echo": True, "logprobs": 2, "max_tokens": 0, "prompt_logprobs": 2}),
    ("/v1/completions", {"prompt": "abc", "echo": True, "logprobs": 0, "max_tokens": 4, "return_token_ids": True,
                         "return_tokens_as_token_ids": True, "stop": ["e", "a"], "stop_token_ids": [75],
                         "logitd": {"rank": True, "entropy": True, "sampling_log_prob": True}}),
    ("/v1/completions", {"prompt": "abc", "max_tokens": 5, "logitd": {}, "allowed_token_ids": [70, 71], "top_k": 1, "min_p": 0.1}),
    ("/v1/completions", {"prompt": "ab", "max_tokens": 3, "stream": True}),
    ("/v1/completions", {"prompt": PROMPTS, "max_tokens": 3, "n": 2, "stream": True, "logprobs": 2, "echo": True,
                         "return_token_ids": True, "stream_options": {"include_usage": True}}),
    ("/v1/score", {"query": "a", "items": ["b", "c"], "label_token_ids": [70, 71]}),
    ("/v1/score", {"query": [70], "items": [[71], [72]], "label_token_ids": [[70, 71], [72]], "apply_softmax": True,
                   "temperature": 0.5, "item_first": True, "return_token_logprobs": True}),
    ("/v1/decisions", {"input": "ab", "questions": [
        {"type": "predicate", "name": "p", "instructions": "c"},
        {"type": "choice", "instructions": [{"type": "input_text", "text": "d"}],
         "choices": [{"value": "a", "description": "b"}, {"value": True}]},
        {"type": "score", "instructions": "e", "levels": [{"label": "a"}, {"label": "b"}, {"label": "c"}]}]}),
    ("/v1/decisions", {"input": [{"role": "user", "content": [{"type": "input_json", "data": {"a": [1]}}]}],
                       "questions": [{"type": "predicate", "instructions": "c"}], "temperature": 2}),
    ("/generative_scoring", {"query": "a", "items": ["b", [72]], "label_token_ids": [70, 71]}),
    ("/generative_scoring", {"query": [70], "items": ["b"], "label_token_ids": [70], "apply_softmax": False, "item_first": True,
                             "request_id": "one"}),
    ("/v1/systemone", {"state": {"a": 1}, "questions": {
        "n": {"type": "noul", "instructions": "b"}, "m": {"type": "noul", "criteria": {"true": "c", "false": None}},
        "c": {"type": "choice", "instructions": "d", "criteria": {"a": "e", "b": None}},
        "s": {"type": "score", "criteria": ["f", {"g": 1}]}}}),
    ("/tokenize", {"prompt": "abc"}),
    ("/tokenize", {"prompt": "abc", "return_token_strs": True, "add_special_tokens": False}),
    ("/detokenize", {"tokens": [70, 71, 72]}),
]
# Of each kind of error that a test can cause: status, path, body.
REFUSALS = [
    (400, "/v1/completions", {"prompt": "a", "top_q": 1}), (400, "/v1/completions", {"prompt": "a", "suffix": "b"}),
    (400, "/v1/completions", {"prompt": "a", "temperature": -1}), (400, "/v1/completions", {"prompt": [99999]}),
    (400, "/v1/completions", {}), (400, "/v1/completions", {"prompt": "a", "n": 1000}), (400, "/tokenize", {"prompt": 5}),
    (400, "/v1/completions", {"prompt": [70] * 300}), (404, "/v1/completions", {"prompt": "a", "model": "nobody"}),
    (400, "/v1/score", {"query": "a", "items": [], "label_token_ids": [70]}), (400, "/v1/decisions", {"input": "a", "questions": []}),
]


class FileTest(unittest.TestCase):
    """The file against the program and its sources."""

    def setUp(self):
        self.document = openapi_file.load()
        self.schemas = self.document["components"]["schemas"]

    def test_schemas_are_schemas(self):
        self.assertEqual(self.document["openapi"], "3.1.0")
        for name, schema in self.schemas.items():
            jsonschema.Draft202012Validator.check_schema(schema)
            if schema.get("type") in ("object", ["object", "null"]):
                self.assertIn("additionalProperties", schema, name)
        text = json.dumps(self.document)
        for kind, name in set(re.findall(r'"#/components/(\w+)/(\w+)"', text)):
            self.assertIn(name, self.document["components"][kind])
        used = set(re.findall(r'"#/components/schemas/(\w+)"', text)) | set(EVENTS.values())
        self.assertEqual(set(self.schemas) - used, set(), "schemas that nothing refers to")

    def test_routes_are_those_of_the_program(self):
        source = (SOURCES / "api.cc").read_text(encoding="utf-8")
        routes = set(re.findall(r'oute\("(GET|POST)", "([^"]+)"', source))
        self.assertGreater(len(routes), 10)
        self.assertEqual({(method, re.sub(r"\{\w+\}$", "*", path)) for method, path in openapi_file.operations(self.document)}, routes)

    def test_fields_are_those_of_the_program(self):
        text = harness.run("logitd-http", "--compatibility").stdout
        tables = re.findall(r"### (.*)\n\n(?:\|.*\n){2}((?:\|.*\n)+)", text)
        self.assertEqual(len(tables), text.count("### "))
        operations = openapi_file.operations(self.document)
        for heading, rows in tables:
            method, _, path = heading.partition(" ")
            name = PARTS.get(heading) or openapi_file.schema_name(operations[method, path]["requestBody"]["content"])
            properties = self.schemas[name]["properties"]
            fields = {}
            for field, use, note in re.findall(r"\| `(\w+)` \| (\w+) \| (.*) \|\n", rows):
                accepted = re.search(r"; accepted: `(.*)`$", note) if use == "refused" else None
                fields[field] = (use, note[:accepted.start()] if accepted else note,
                                 [None, *json.loads(f"[{accepted[1]}]")] if accepted else [None])
            for field, (use, note, values) in fields.items():
                with self.subTest(heading, field=field):
                    schema = properties[field]
                    self.assertEqual(schema["description"], note)
                    self.assertEqual(schema.get("x-logitd", "served"), use)
                    if use == "refused":
                        self.assertCountEqual(map(repr, schema["enum"]), map(repr, values))
            self.assertEqual(set(properties), set(fields), heading)

    def test_codes_are_those_of_the_sources(self):
        ours, servers, grpc = (set(part["enum"]) for part in self.schemas["ErrorCode"]["anyOf"])
        contract = (harness.ROOT / "proto/logitd/v1/error.proto").read_text(encoding="utf-8")
        reasons = {reason.lower() for reason in re.findall(r"\bERROR_REASON_(\w+) = [1-9]", contract)}
        self.assertEqual(servers, reasons)
        made = set()
        for path in SOURCES.glob("*.cc"):
            # strict_json.cc tells the codes of malformed JSON apart in a function.
            maker = r"(?:HttpError\(\s*\w+,|Malformed\(|Fail\(|\.code =" + ("|return)" if path.stem == "strict_json" else ")")
            made |= set(re.findall(maker + r'\s*"([a-z]+(?:_[a-z0-9]+)*)"[,;]', path.read_text(encoding="utf-8")))
        made.discard("null")
        self.assertEqual(made - ours - servers, set())
        self.assertEqual(ours - made, set())
        self.assertEqual(grpc, GRPC_CODES)


class RepliesTest(http_case.HttpCase):
    """Real replies against the schemas."""

    RUNNER_FLAGS = ("--context-length", 256)

    def setUp(self):
        self.document = openapi_file.load()
        self.operations = openapi_file.operations(self.document)

    def check(self, name: str, value: object) -> None:
        self.assertEqual(openapi_file.faults_of(self.document, name, value), [], value)

    def check_reply(self, method: str, path: str, reply: http_case.Reply) -> None:
        response = openapi_file.response_of(self.document, self.operations[method, path], reply.status)
        kind = reply.headers["content-type"]
        self.assertIn(kind, response["content"])
        if kind == "application/json":
            self.check(openapi_file.schema_name(response["content"]), reply.json())
        for name, header in response.get("headers", {}).items():
            self.assertTrue(name.lower() in reply.headers or not header.get("required"), name)

    def test_replies_fit(self):
        for path, body in REQUESTS:
            with self.subTest(path, body=body):
                self.check(openapi_file.schema_name(self.operations["POST", path]["requestBody"]["content"]), body)
                reply = self.http.post(path, body)
                self.assertEqual(reply.status, 200, reply.body)
                self.check_reply("POST", path, reply)
                if body.get("stream"):
                    *events, done = reply.events()
                    self.assertEqual(done, "[DONE]")
                    self.assertGreater(len(events), 1)
                    for event in events:
                        self.check(EVENTS[path], json.loads(event))

    def test_replies_without_a_request_fit(self):
        for path in ("/healthz", "/health", "/readyz", "/v1/models", "/v1/models/{model}", "/tokenizer_info", "/openapi.yaml"):
            reply = self.http.send("GET", path.replace("{model}", transition.NAME))
            self.assertEqual(reply.status, 200, reply.body)
            self.check_reply("GET", path, reply)
        self.assertEqual(self.http.send("GET", "/openapi.yaml").body, openapi_file.PATH.read_bytes())

    def test_refusals_fit(self):
        for status, path, body in REFUSALS:
            with self.subTest(path, body=body):
                reply = self.http.post(path, body)
                self.assertEqual(reply.status, status, reply.body)
                self.check_reply("POST", path, reply)
        self.check_reply("GET", "/v1/models/{model}", self.http.send("GET", "/v1/models/nobody"))
        self.check_reply("POST", "/tokenize", self.http.send("POST", "/tokenize", b"{}", {"Content-Type": "text/plain"}))
        self.check_reply("POST", "/tokenize", self.http.post("/tokenize", {"prompt": "a"}, {"Authorization": "Basic eDp5"}))
        self.check_reply("POST", "/tokenize", self.http.post("/tokenize", {"prompt": "a"}, {"Host": "evil.example"}))
        self.check_reply("POST", "/tokenize", self.http.post("/tokenize", b" " * (17 << 20)))

    def test_a_server_that_is_away_fits(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            address = f"127.0.0.1:{nobody.getsockname()[1]}"
        server = http_case.HttpServer(address)
        self.addCleanup(server.stop)
        reply = server.send("GET", "/readyz")
        self.assertEqual(reply.status, 503)
        self.check_reply("GET", "/readyz", reply)

    def test_a_wrong_reply_is_noticed(self):
        """The schemas would notice what this file is for: a field that is missing, new, or of another type."""
        reply = self.post("/tokenize", {"prompt": "abc"})
        for wrong in ({**reply, "more": 1}, {**reply, "count": "3"}, {k: v for k, v in reply.items() if k != "tokens"}):
            self.assertNotEqual(openapi_file.faults_of(self.document, "Tokens", wrong), [])


if __name__ == "__main__":
    unittest.main()
