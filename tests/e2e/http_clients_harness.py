"""Clients of OpenAI's API, each unmodified, against the real server through logitd-http: what they read is what gRPC says.

    http_clients_harness.py FOLDER [--record http_transcripts.jsonl] [--without-chat]

FOLDER has an environment (venv) for each requirements-http-clients-NAME.txt, and promptfoo in node_modules. The scripts of
http_clients/ run there; `scripts/test --http-clients` makes the folder. --record writes what http_transcript_test replays.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import harness
import http_case
import http_numbers
import http_recorder
import http_shape
import wire

SCRIPTS = pathlib.Path(__file__).with_name("http_clients")
# Two of them import for a minute on a busy machine.
TIMEOUT_S = 600
# Environment, script, and the packages that the transcript names.
CLIENTS = [("newest", "ask_openai.py", ("openai",)), ("oldest", "ask_openai.py", ("openai",)),
           ("newest", "ask_inspect.py", ("inspect_ai", "openai")), ("stack", "ask_langchain.py", ("langchain-openai", "openai")),
           ("stack", "ask_llama_index.py", ("llama-index-llms-openai-like", "openai")),
           ("stack", "ask_litellm.py", ("litellm", "openai")), ("stack", "ask_dspy.py", ("dspy",)),
           ("stack", "ask_deepeval.py", ("deepeval", "litellm"))]


@dataclasses.dataclass
class Run:
    server: harness.Server
    recorder: http_recorder.Recorder
    grpc: wire.Client
    tolerance: float
    # Lines of the transcript.
    lines: list[dict] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    worst: float = 0.0
    compared: int = 0


def near(run: Run, case: str, mine: list[float], right: list[float], tolerance: float | None = None) -> None:
    if len(mine) != len(right) or not right:
        raise AssertionError(f"{case}: the client read {len(mine)} numbers {mine}, gRPC has {len(right)}: {right}")
    for a, b in zip(mine, right):
        run.worst, run.compared = max(run.worst, abs(a - b)), run.compared + 1
        if not abs(a - b) <= (tolerance or run.tolerance):
            raise AssertionError(f"{case}: the client read {mine}, gRPC says {right}")


def weighted_score(numbers: http_numbers.Numbers) -> float:
    """GEval's: the mean of the likely whole numbers that could stand in place of the answer's "score", of 0 to 10."""
    score = str(json.loads(numbers.texts[0])["score"])
    alternatives = next(top for token, top in reversed(numbers.alternatives) if token == score)
    weights = {int(token): math.exp(log_prob) for token, log_prob in alternatives
               if token.isdecimal() and log_prob >= math.log(0.01)}
    return sum(value * weight for value, weight in weights.items()) / sum(weights.values()) / 10


def check(run: Run, told: dict, exchange: http_recorder.Exchange) -> None:
    """Compares what a client read of its last reply with gRPC's numbers for the same request."""
    case = told["case"]
    assert exchange.status == (told["refused"] or 200), (case, exchange)
    paths = http_shape.shape(exchange.reply)
    assert set(told["reads"]) <= set(paths), f"{case}: {set(told['reads']) - set(paths)} are not in the reply: {str(exchange.reply)[:500]}"
    if told["refused"] or exchange.path not in ("/v1/completions", "/v1/chat/completions"):
        return
    if not http_numbers.is_defined(exchange.request) and told["completion"] != []:
        return
    numbers = http_numbers.numbers_of(run.grpc, exchange.request)
    if told["completion"]:
        near(run, case, told["completion"], numbers.completion)
    if told["prompt"] is not None:
        near(run, case, told["prompt"], numbers.prompt)
    if told["perplexity"] is not None:
        of = numbers.prompt if "prompt_logprobs" in exchange.request else numbers.completion
        near(run, case, [math.log(told["perplexity"])], [-sum(of) / len(of)])
    if told["last_two"] is not None:
        near(run, case, [told["last_two"]], [sum(numbers.prompt[-2:])], 2 * run.tolerance)
    if told["weighted"] is not None:
        near(run, case, [told["weighted"]], [weighted_score(numbers)])
    if told["text"] is not None:
        assert told["text"].strip() and numbers.texts[0].strip() in told["text"], (case, told["text"], numbers.texts)


def transcript_line(client: str, told: dict, exchange: http_recorder.Exchange) -> dict:
    """`streamed`: the reply was a list of events, the last one [DONE]."""
    return {"client": client, "case": told["case"], "method": exchange.method, "path": exchange.path,
            "request": exchange.request, "status": exchange.status,
            "streamed": isinstance(exchange.reply, list) and exchange.reply[-1] == "[DONE]",
            "reads": told["reads"], "shape": http_shape.shape(exchange.reply)}


def take_case(run: Run, client: str, told: dict, begin: int) -> None:
    exchanges = run.recorder.exchanges[begin:]
    assert exchanges, (client, told)
    # The case is about the last request; others before it, such as the list of models, only have to succeed.
    assert all(exchange.status == 200 for exchange in exchanges[:-1]), exchanges
    check(run, told, exchanges[-1])
    run.lines.append(transcript_line(client, told, exchanges[-1]))


def versions(python: pathlib.Path, packages: tuple[str, ...]) -> str:
    code = "import importlib.metadata as m, sys; print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *packages], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def run_script(run: Run, python: pathlib.Path, script: str, packages: tuple[str, ...], with_chat: bool) -> None:
    client = versions(python, packages)
    begin, compared = len(run.recorder.exchanges), run.compared
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="logitd-client-") as home, subprocess.Popen(
            [python, SCRIPTS / script, f"http://127.0.0.1:{run.recorder.port}/v1", "smollm2"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd=home, env={**environment, "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}) as process:
        cases = 0
        for line in process.stdout:
            told = json.loads(line)
            take_case(run, client, told, begin)
            begin, cases = len(run.recorder.exchanges), cases + 1
            print(f"  {client}: {told['case']}", flush=True)
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdin.close()
        status = process.wait(TIMEOUT_S)
    stopped_at_chat = not with_chat and run.recorder.exchanges[-1].status == 404
    assert status == 0 or stopped_at_chat, f"{client}: {script} ended with status {status} after {cases} cases"
    print(f"{client}: {cases} cases, {run.compared - compared} numbers", flush=True)


def run_promptfoo(run: Run, folder: pathlib.Path) -> None:
    """Its assertions perplexity and perplexity-score, of a chat."""
    package = json.loads((folder / "node_modules/promptfoo/package.json").read_text(encoding="utf-8"))
    begin = len(run.recorder.exchanges)
    with tempfile.TemporaryDirectory(prefix="logitd-promptfoo-") as home:
        config = {
            "prompts": ["Name a colour."],
            "providers": [{"id": "openai:chat:smollm2", "config": {
                "apiBaseUrl": f"http://127.0.0.1:{run.recorder.port}/v1", "apiKey": "EMPTY", "max_tokens": 4, "temperature": 0,
                "passthrough": {"logprobs": True}}}],
            "tests": [{"assert": [{"type": "perplexity", "threshold": 1000},
                                  {"type": "perplexity-score", "threshold": 0.0001}]}]}
        path, out = pathlib.Path(home) / "config.json", pathlib.Path(home) / "out.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        done = subprocess.run(
            ["node", folder / "node_modules/promptfoo/dist/src/entrypoint.js", "eval", "--config", path, "--output", out, "--no-cache",
             "--no-write", "--no-table", "--no-progress-bar", "--max-concurrency", "1"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=home, timeout=TIMEOUT_S, check=False,
            env={**os.environ, "HOME": home, "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1",
                 "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true", "PROMPTFOO_CONFIG_DIR": home})
        assert done.returncode == 0, done.stdout
        (result,) = json.loads(out.read_text(encoding="utf-8"))["results"]["results"]
    by_type = {part["assertion"]["type"]: part for part in result["gradingResult"]["componentResults"]}
    score = by_type["perplexity-score"]["score"]
    told = {"case": "perplexity", "completion": None, "prompt": None, "perplexity": 1 / score - 1, "last_two": None,
            "weighted": None, "text": result["response"]["output"], "refused": None,
            "reads": ["choices[].message.content", "choices[].logprobs.content[].logprob", "usage.total_tokens"]}
    take_case(run, f"promptfoo {package['version']}", told, begin)
    print(f"promptfoo {package['version']}: perplexity {1 / score - 1}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--record", type=pathlib.Path)
    parser.add_argument("--without-chat", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        server = harness.Server(model=harness.model_path(), flags=("--precision", "f32"))
        stack.callback(server.stop)
        front = http_case.HttpServer(server.address)
        stack.callback(front.stop)
        recorder = http_recorder.Recorder(front.port)
        stack.callback(recorder.stop)
        grpc = stack.enter_context(wire.connect(server.address))
        # Other cuts of the cache move the last digits.
        run = Run(server, recorder, grpc, tolerance=1e-4)
        jobs = [(f"{environment}: {script}", lambda e=environment, s=script, p=packages: run_script(
            run, options.folder / e / "bin/python", s, p, not options.without_chat)) for environment, script, packages in CLIENTS]
        if (options.folder / "node_modules/promptfoo").is_dir():
            jobs.append(("promptfoo", lambda: run_promptfoo(run, options.folder)))
        for name, job in jobs:
            if options.only not in name:
                continue
            try:
                job()
            except Exception as error:  # noqa: BLE001 - one client's failure says nothing of the others
                run.failures.append(f"{name}: {error}")
                print(f"FAILED {name}: {error}", flush=True)
        print(f"{len(run.lines)} cases, {run.compared} numbers, largest difference {run.worst:.1e} nats")
    if run.failures:
        sys.exit("\n".join(run.failures))
    if options.record:
        options.record.write_text("".join(json.dumps(line) + "\n" for line in run.lines), encoding="utf-8")


if __name__ == "__main__":
    main()
