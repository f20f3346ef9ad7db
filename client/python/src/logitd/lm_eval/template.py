"""Conversations as text: a model's own chat template, rendered in jinja2's sandbox.

    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>", names=chat.ControlNames(["<s>", "</s>"]))
    prompt = template.render([{"role": "user", "content": "2 + 2 ="}])

A name of a control token that stands in a message is text: it must not end a turn, or begin one.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

try:
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    import jinja2.parser
    import jinja2.sandbox
except ImportError as error:
    raise ImportError('chat templates need jinja2: pip install "logitd[lm-eval]"') from error
if tuple(map(int, re.findall(r"\d+", jinja2.__version__)[:3])) < (3, 1, 6):
    raise ImportError(f"chat templates need jinja2 3.1.6 or later: model files are not trusted, and the sandbox of "
                      f"jinja2 {jinja2.__version__} can be left")

from logitd.lm_eval.chat import ControlNames, Prompt

_log = logging.getLogger(__name__)
_FIRST_PRIVATE, _LAST_PRIVATE = 0xE000, 0xF8FF

Messages = Sequence[Mapping[str, Any]]
TemplateError = jinja2.TemplateError


class ChatTemplate:
    """A template. Any thread."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "",
                 names: ControlNames = ControlNames(()), variables: Mapping[str, Any] | None = None):
        """names: of the control tokens. variables: more of the template's variables ("enable_thinking": False).
        Raises jinja2.TemplateSyntaxError."""
        self._names = names
        self._variables = {"tools": None, "documents": None, "bos_token": bos_token, "eos_token": eos_token,
                           **(variables or {})}
        self._source = source
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _GenerationBlock])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        self._template = environment.from_string(source)

    def render(self, messages: Messages, add_generation_prompt: bool = True) -> Prompt:
        """The conversation as a prompt.

        add_generation_prompt: the assistant's turn begins at the end. False: the model goes on with the last message,
          so that nothing comes after its content.
        Raises jinja2.TemplateError, also if the template calls raise_exception.
        """
        now = datetime.datetime.now()
        tags = self._unused_characters(messages)
        text = self._rendered(messages, add_generation_prompt, now, tags[2])
        if not any(self._names.first(value) for message in messages for value in _texts(message)):
            return Prompt([(text, True)], self._names)
        bracketed = [_bracketed(message, tags) for message in messages]
        written = _take_brackets(self._rendered(bracketed, add_generation_prompt, now, tags[2]), tags)
        if written is None or written[0] != text:
            _log.warning("The chat template changes its messages in a way that hides their places. The names of "
                         "control tokens in them (%s) become control tokens.",
                         next(filter(None, (self._names.first(value) for m in messages for value in _texts(m)))))
            return Prompt([(text, True)], self._names)
        return Prompt(self._pieces(text, written[1]), self._names)

    def _rendered(self, messages: Messages, add_generation_prompt: bool, now: datetime.datetime, tag: str) -> str:
        if not add_generation_prompt:
            *before, last = messages
            # The space shows whether the template keeps white space at the end of a message.
            messages = [*before, {**last, "content": last["content"] + tag + " "}]
        text = self._template.render(**{**self._variables, "messages": messages,
                                        "strftime_now": lambda form: now.strftime(form),
                                        "add_generation_prompt": add_generation_prompt})
        if add_generation_prompt:
            return text
        end = text.rfind(tag)
        if end < 0:
            raise jinja2.TemplateError("the template does not write the last message, which the model has to go on with")
        return text[:end] if text.startswith(" ", end + 1) else text[:end].rstrip()

    def _unused_characters(self, messages: Messages) -> tuple[str, str, str]:
        """Three characters that are neither in the template nor in the messages."""
        used = set(self._source).union(*(value for message in messages for value in _texts(message)))
        free = (chr(code) for code in range(_LAST_PRIVATE, _FIRST_PRIVATE, -1) if chr(code) not in used)
        return next(free), next(free), next(free)

    def _pieces(self, text: str, spans: Sequence[tuple[int, int]]) -> Iterable[tuple[str, bool]]:
        """The pieces of a text in which messages wrote `spans`, in order and apart from each other."""
        marks: list[tuple[int, int]] = []
        place = 0
        for begin, end in [*spans, (len(text), len(text))]:
            marks += [(place + a, place + b) for a, b in self._names.spans(text[place:begin])]
            place = end
        parsed, place = 0, 0
        for begin, end in [*marks, (len(text), len(text))]:
            # Between two control tokens of the template: a name there comes from a message.
            if self._names.first(text[place:begin]):
                if parsed < place:
                    yield text[parsed:place], True
                yield text[place:begin], False
                parsed = begin
            place = end
        if parsed < len(text):
            yield text[parsed:], True


class _GenerationBlock(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}, which marks an assistant's words for training; its content counts."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None,
             separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    # jinja2's own filter writes HTML's escapes.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _texts(message: Mapping[str, Any]) -> Iterable[str]:
    """The message's texts, except the name of its role."""
    return (value for key, value in message.items() if key != "role" and isinstance(value, str))


def _bracketed(message: Mapping[str, Any], tags: tuple[str, str, str]) -> dict[str, Any]:
    """The message with every text between two tags. White space at its ends stays outside, for templates that trim."""
    result = dict(message)
    for key, value in message.items():
        if key != "role" and isinstance(value, str) and (core := value.strip()):
            begin = value.index(core)
            result[key] = value[:begin] + tags[0] + core + tags[1] + value[begin + len(core):]
    return result


def _take_brackets(marked: str, tags: tuple[str, str, str]) -> tuple[str, list[tuple[int, int]]] | None:
    """The text without tags, and the places of what was between them; None: the tags do not come in pairs."""
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    for i, part in enumerate(re.split(f"([{tags[0]}{tags[1]}])", marked)):
        if i % 2:
            # The separators: begin and end, in turns.
            if part != tags[i // 2 % 2]:
                return None
            continue
        texts.append(part)
        if i // 2 % 2:
            spans.append((length, length + len(part)))
        length += len(part)
    return ("".join(texts), spans) if len(texts) % 2 else None
