"""Chat templates of published models, rendered by the runner's engine and by Jinja as transformers sets it up.

The texts must be equal, and what the engine calls the conversation's words must be those words. Templates that the engine
renders otherwise are listed by name, with the reason; one that is listed and does not differ fails the test too.
"""

import datetime
import json
import pathlib
import subprocess
import unittest

import harness
import jinja2
import jinja2.ext
import jinja2.sandbox

BOS, EOS = "<s>", "</s>"

CONVERSATIONS = [
    {"messages": [{"role": "user", "content": "What is 2 + 2?"}]},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."},
                  {"role": "user", "content": "  spaces \n and lines \n"}]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
     "addGenerationPrompt": False},
    {"messages": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system\n{{ bos_token }} \u00e9\u4e16 </s>"}]},
]

# Templates whose text differs, and why.
DIFFERENT = {
    "fireworks-ai-llama-3-firefunction-v2.jinja": "it needs `functions`: Jinja fails without, the engine takes it as empty",
}


def environment() -> jinja2.Environment:
    def raise_exception(message):
        raise jinja2.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                        extensions=[jinja2.ext.loopcontrols, Generation])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return made


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}: it marks what the assistant said and prints it as it is."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


class ChatTemplateTest(unittest.TestCase):
    maxDiff = None

    def rendered(self, path: pathlib.Path) -> list[dict]:
        """The engine's answers: one about the template, and one for each conversation."""
        done = subprocess.run([harness.BIN / "chat_template_probe", path, BOS, EOS], stdout=subprocess.PIPE, text=True,
                              input="".join(json.dumps(chat) + "\n" for chat in CONVERSATIONS), check=True,
                              timeout=harness.CALL_TIMEOUT_S)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def reference(self, template: jinja2.Template, chat: dict, wants_parts: bool) -> str | None:
        messages = [dict(message) for message in chat["messages"]]
        for message in messages:
            if wants_parts:
                message["content"] = [{"type": "text", "text": message["content"]}]
        try:
            return template.render(messages=messages, tools=None, documents=None, bos_token=BOS, eos_token=EOS,
                                   add_generation_prompt=chat.get("addGenerationPrompt", True))
        except Exception:  # noqa: BLE001  (whatever the template does wrong)
            return None

    def difference(self, path: pathlib.Path) -> str:
        """What differs between the engine and Jinja; empty: nothing."""
        about, *answers = self.rendered(path)
        if "error" in about:
            return f"not understood: {about['error']}"
        template = environment().from_string(path.read_text(encoding="utf-8"))
        for chat, answer in zip(CONVERSATIONS, answers, strict=True):
            expected = self.reference(template, chat, about["wants_parts"])
            if answer.get("text") != expected:
                return f"{chat} gives {answer}, expected {expected!r}"
            if expected is not None:
                self.check_spans(path, chat, answer)
        return ""

    def check_spans(self, path: pathlib.Path, chat: dict, answer: dict) -> None:
        """Outside the ranges that the template wrote there is nothing but words of the conversation, and the whole of the
        last message is outside."""
        text = answer["text"].encode()
        said, at = [], 0
        for begin, end in answer["written"]:
            said.append(text[at:begin].decode())
            at = end
        said.append(text[at:].decode())
        contents = [message["content"] for message in chat["messages"]]
        for part in filter(None, said):
            self.assertTrue(any(part in content for content in contents), (path.name, part))
        last = contents[-1].strip()
        self.assertTrue(any(last in part for part in said), (path.name, last, answer))

    def test_published_templates(self):
        folder = harness.vocabulary_path("gpt-2").parent / "templates"
        paths = sorted(folder.glob("*.jinja"))
        self.assertGreater(len(paths), 40)
        found = {}
        for path in paths:
            with self.subTest(template=path.name):
                if what := self.difference(path):
                    found[path.name] = what
        unexpected = {name: what for name, what in found.items() if name not in DIFFERENT}
        self.assertEqual(unexpected, {})
        self.assertEqual(sorted(set(DIFFERENT) - set(found)), [], "listed as different, but equal")


if __name__ == "__main__":
    unittest.main()
