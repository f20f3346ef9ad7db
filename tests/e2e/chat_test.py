"""Conversations to tokens, through the server and its runner: RenderChat.

Right tokens come from llama_reference, which calls libllama alone: those of the whole text, with marks parsed. They are
right as long as no message names a mark. Then every mark that the template wrote, and no other, must be a token.
Families: the default model (BPE), Llama 2 and Phi 3 (SentencePiece; Phi 3 strips the space after a mark), Qwen 2 (BPE),
Gemma 4.
"""

import json
import pathlib
import subprocess
import tempfile
import time
import unittest

import grpc
import harness
import wire
from logitd.v1 import chat_pb2, error_pb2, generation_service_pb2, model_service_pb2

CHATML = ("{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA2 = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
          "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}")
PHI3 = ("{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
GEMMA4 = ("{{ bos_token }}{% for m in messages %}{{ '<|turn>' + m['role'] + '\n' + (m['content'] | trim) + '<turn|>\n' }}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}")
FAMILIES = {"qwen2": CHATML, "llama-spm": LLAMA2, "phi-3": PHI3, "gemma-4": GEMMA4}

TEXTS = ["Hi", "What is 2 + 2?\n\n\tAnswer in one word.", " leading and trailing ", "caf\u00e9 \u4e16\u754c \U0001f600\u200d\n",
         "line\r\nline", "a < b > c | d [x]", "<b>bold</b>"]


def libllama(path: pathlib.Path, texts: list[str]) -> list[list[int]]:
    """The tokens of each text, with marks parsed."""
    lines = "".join(f"marked {text.encode().hex()}\n" for text in texts)
    done = subprocess.run([harness.BIN / "llama_reference", path, "--lines"], input=lines, stdout=subprocess.PIPE,
                          text=True, check=True, timeout=harness.CALL_TIMEOUT_S)
    return [json.loads(line)["tokens"] for line in done.stdout.splitlines()]


def conversation(*messages: tuple[str, str], **fields) -> chat_pb2.Chat:
    return chat_pb2.Chat(messages=[chat_pb2.ChatMessage(role=role, content=content) for role, content in messages],
                         **fields)


class Rendering:
    """One model; the subclass sets path, server and client."""

    def render(self, chat: chat_pb2.Chat) -> model_service_pb2.RenderChatResponse:
        return self.client.models.RenderChat(model_service_pb2.RenderChatRequest(chat=chat), timeout=wire.TIMEOUT_S)

    def vocabulary(self) -> list[model_service_pb2.VocabularyToken]:
        stream = self.client.models.GetVocabulary(model_service_pb2.GetVocabularyRequest(), timeout=wire.TIMEOUT_S)
        return [token for part in stream for token in part.tokens]

    def test_tokens_are_those_of_the_whole_text(self):
        chats = [conversation(("user", text)) for text in TEXTS]
        chats += [conversation(("user", a), ("assistant", b), ("user", a), add_generation_prompt=last)
                  for a, b in zip(TEXTS, TEXTS[1:]) for last in (True, False)]
        rendered = [self.render(chat) for chat in chats]
        expected = libllama(self.path, [reply.text for reply in rendered])
        for chat, reply, ids in zip(chats, rendered, expected, strict=True):
            self.assertEqual(list(reply.token_ids), ids, (chat, reply.text))

    def test_no_message_writes_a_mark(self):
        vocabulary = self.vocabulary()
        named = [token for token in vocabulary if token.kind == model_service_pb2.TOKEN_KIND_CONTROL and token.name]
        self.assertGreater(len(named), 1)
        marks = {token.token_id for token in named} | self.user_defined_marks(vocabulary)
        plain = [id for id in self.render(conversation(("user", "x"), ("assistant", "x"))).token_ids if id in marks]
        names = [token.name for token in named[:40]] + ["".join(token.name for token in named[:10])]
        names += [vocabulary[id].token_bytes.decode() for id in marks if vocabulary[id].token_bytes]
        for name in names:
            for content in (name, f"a{name}b", name * 3, name[:1] + name):
                reply = self.render(conversation(("user", content), ("assistant", content)))
                self.assertEqual([id for id in reply.token_ids if id in marks], plain, content)
                self.assertIn(content.strip(), reply.text)

    def user_defined_marks(self, vocabulary) -> set[int]:
        """Tokens that look like text to the vocabulary and that the template uses as marks."""
        return set()


def family(name: str) -> type:
    class Family(Rendering, unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            cls.folder = tempfile.TemporaryDirectory(prefix="logitd-chat-")
            folder = pathlib.Path(cls.folder.name)
            (folder / "template").write_text(FAMILIES[name], encoding="utf-8")
            cls.path = harness.random_model(harness.vocabulary_path(name), folder / "model.gguf", "--embedding", 32,
                                            "--chat-template", folder / "template")
            cls.server = harness.Server(model=cls.path, flags=("--precision", "f32"))
            cls.client = wire.Client(cls.server.address)

        @classmethod
        def tearDownClass(cls):
            cls.client.channel.close()
            cls.server.stop()
            cls.folder.cleanup()

    Family.__name__ = Family.__qualname__ = f"{name.title().replace('-', '')}Test"
    return Family


Qwen2Test, LlamaSpmTest, Phi3Test, Gemma4Test = map(family, FAMILIES)


class DefaultModelTest(Rendering, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.path = harness.model_path()
        cls.server = harness.Server(model=cls.path)
        cls.client = wire.Client(cls.server.address)

    @classmethod
    def tearDownClass(cls):
        cls.client.channel.close()
        cls.server.stop()

    def refused(self, chat: chat_pb2.Chat) -> error_pb2.Error:
        with self.assertRaises(grpc.RpcError) as caught:
            self.render(chat)
        return wire.error_of(caught.exception)

    def test_the_models_own_template(self):
        reply = self.render(conversation(("user", "Hi")))
        self.assertEqual(reply.text, "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
                                     "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
        self.assertEqual(reply.provenance.model, "smollm2")
        self.assertTrue(next(iter(self.client.models.ListModels(
            model_service_pb2.ListModelsRequest(), timeout=wire.TIMEOUT_S).models)).capabilities.chat_template)

    def test_the_model_answers_it(self):
        reply = self.render(conversation(("system", "Answer with one word."), ("user", "What is the capital of France?")))
        request = generation_service_pb2.GenerateRequest(stop={"max_tokens": 16}, sampling={"temperature": 0})
        request.prompt.tokens.token_ids.extend(reply.token_ids)
        *_, last = self.client.generation.Generate(request, timeout=wire.TIMEOUT_S)
        self.assertIn("Paris", last.final.completions[0].text)

    def test_long_conversations_take_other_lanes(self):
        long = "word " * 40_000
        begin = time.monotonic()
        reply = self.render(conversation(("user", long)))
        self.assertGreater(len(reply.token_ids), 40_000)
        self.assertLess(time.monotonic() - begin, 60)
        self.assertEqual(list(reply.token_ids), libllama(self.path, [reply.text])[0])

    def test_errors(self):
        error = self.refused(chat_pb2.Chat())
        self.assertEqual((error.reason, error.field), (error_pb2.ERROR_REASON_FIELD_REQUIRED, "chat.messages"))


class RefusingTemplateTest(unittest.TestCase):
    """Templates that refuse, fail, pass messages on as their own, or never end."""

    def serve(self, template: str) -> wire.Client:
        folder = tempfile.TemporaryDirectory(prefix="logitd-chat-")
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name)
        (path / "template").write_text(template, encoding="utf-8")
        model = harness.random_model(harness.vocabulary_path("qwen2"), path / "model.gguf", "--embedding", 32,
                                     "--chat-template", path / "template")
        server = harness.Server(model=model, flags=("--precision", "f32"))
        self.addCleanup(server.stop)
        self.server = server
        client = wire.Client(server.address)
        self.addCleanup(client.channel.close)
        return client

    def refused(self, client: wire.Client, chat: chat_pb2.Chat) -> error_pb2.Error:
        with self.assertRaises(grpc.RpcError) as caught:
            client.models.RenderChat(model_service_pb2.RenderChatRequest(chat=chat), timeout=wire.TIMEOUT_S)
        return wire.error_of(caught.exception)

    def test_its_own_words_come_back(self):
        client = self.serve("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
                            "{% endif %}{{ messages[0].content }}{{ flag }}{{ messages[1].content[99] }}")
        error = self.refused(client, conversation(("system", "a")))
        self.assertEqual(error.reason, error_pb2.ERROR_REASON_CHAT_TEMPLATE_FAILED, error)
        self.assertIn("System role not supported", error.message)

    def test_arguments_reach_the_template(self):
        client = self.serve("{{ messages[0].content }}{% if not think %} no{% endif %} {{ depth + 1 }} {{ name }}")
        chat = conversation(("user", "a"))
        chat.template_arguments.add(name="think", bool_value=False)
        chat.template_arguments.add(name="depth", int_value=3)
        chat.template_arguments.add(name="name", string_value="<|im_end|>")
        reply = client.models.RenderChat(model_service_pb2.RenderChatRequest(chat=chat), timeout=wire.TIMEOUT_S)
        self.assertEqual(reply.text, "a no 4 <|im_end|>")
        self.assertGreater(len(reply.token_ids), 8)

    def test_a_message_that_would_become_a_mark_is_refused(self):
        # tojson makes a new string, of which the engine does not know who said it.
        client = self.serve("<|im_start|>{{ messages | tojson }}<|im_end|>")
        chat = conversation(("user", "a <|im_end|> b"))
        error = self.refused(client, chat)
        self.assertEqual(error.reason, error_pb2.ERROR_REASON_CHAT_TEMPLATE_FAILED)
        self.assertIn("control token", error.message)
        chat.messages[0].content = "a b"
        client.models.RenderChat(model_service_pb2.RenderChatRequest(chat=chat), timeout=wire.TIMEOUT_S)

    def test_a_template_without_end_costs_only_its_call(self):
        loop = "{% for i in range(3000) %}{% for j in range(3000) %}{% for k in range(3000) %}{% endfor %}{% endfor %}{% endfor %}"
        memory = "{{ range(1000000000) | length }}"
        client = self.serve("{% if messages[0].content == 'loop' %}" + loop + "{% elif messages[0].content == 'memory' %}"
                            + memory + "{% endif %}{{ messages[0].content }}")
        for content, what in (("loop", "too long"), ("memory", "too much memory")):
            error = self.refused(client, conversation(("user", content)))
            self.assertEqual(error.reason, error_pb2.ERROR_REASON_CHAT_TEMPLATE_FAILED)
            self.assertIn(what, error.message)
        tokens = client.models.Tokenize(model_service_pb2.TokenizeRequest(texts=["a b"]), timeout=wire.TIMEOUT_S)
        self.assertEqual(len(tokens.texts[0].token_ids), 2)

    def test_a_template_that_is_not_understood_is_not_offered(self):
        # The engine itself survives a lack of memory: what ends the trial is this, and not the time that it takes.
        for template, why in (("{% for m in messages %}{{ m.content }", ""),
                              ("{{ range(1000000000) | length }}", "it takes too much memory"),
                              ("{% for i in range(9000) %}{% for j in range(9000) %}{{ messages }}{% endfor %}{% endfor %}",
                               "it takes too"),
                              ("{{ " + "(" * 400_000 + "1" + ")" * 400_000 + " }}", "too much of the stack")):
            client = self.serve(template)
            self.assertIn(why, self.server.log())
            error = self.refused(client, conversation(("user", "a")))
            self.assertEqual(error.reason, error_pb2.ERROR_REASON_CHAT_TEMPLATE_UNAVAILABLE, template[:60])


if __name__ == "__main__":
    unittest.main()
