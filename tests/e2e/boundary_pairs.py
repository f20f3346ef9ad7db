"""Random pairs of texts, and how each rule joins them: written from the rules, without logitd."""

import dataclasses
import random

FRAGMENTS = [
    "def f(x):\n    return x ** 2\n", "if a == b:", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}", "x->y::z()",
    '{"key": [1, 2.5e-3, null], "näme": "välue\\n"}', '[{"a":{}}]', "http://example.com/a?b=c&d=%20#frag",
    "https://user@host:8080/~path/", "See https://", "ftp://", "你好，世界。", "日本語のテキスト", "한국어 문장", "漢字かな交じり",
    "🙂🙃", "👩‍👩‍👧‍👦", "🇩🇪", "e\u0301", "Ａ", "Grüße aus Köln", "naïve café", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ",
    "Question: What is it?\nAnswer:", " Paris", "Paris", "the", " the", "ing", "1234567890", "3.14159", "...", "?!", "\"quoted\"",
    "don't", "I'm", "'", "\u00a0", "\u3000", "Ωμέγα", "שלום", "مرحبا", "a" * 40, "=" * 17, "-->",
]


def random_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts of one to five fragments, cut anywhere between two characters: in words, numbers, runs of spaces, emoji."""
    source = random.Random(seed)
    pairs = []
    while len(pairs) < count:
        text = "".join(source.choice(FRAGMENTS) for _ in range(source.randint(1, 5)))
        if len(text) >= 2:
            cut = source.randint(1, len(text) - 1)
            pairs.append((text[:cut], text[cut:]))
    return pairs


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Ids of a text, and the bytes of each."""

    ids: list[int]
    pieces: list[bytes]


@dataclasses.dataclass(frozen=True)
class Joined:
    """The scored tokens, and the tokens that they are scored after."""

    context: list[int]
    continuation: list[int]
    spanning_bytes: int = 0
    # No token was left: context is the one that stands for it.
    is_implicit: bool = False


def join(context: str, continuation: str, joint: Tokens, bos: list[int], implicit: int) -> Joined:
    """BOUNDARY_JOINT. bos: the tokens that the tokenizer puts before the text's, a list of none or one."""
    text = (context + continuation).encode()
    spelled = b"".join(joint.pieces)
    # SentencePiece puts one space before the text: the only thing that may stand there.
    assert spelled in (text, b" " + text), (text, spelled)
    place = len(context.encode()) + len(spelled) - len(text)
    end = 0
    for index, piece in enumerate(joint.pieces):
        begin, end = end, end + len(piece)
        if end > place:
            # A token that the tokenizer put before the text has none of its bytes.
            begin = max(begin, len(spelled) - len(text))
            before = bos + joint.ids[:index]
            return Joined(before or [implicit], joint.ids[index:], place - begin, is_implicit=not before)
    raise AssertionError("the continuation has no token")


def join_as_lm_eval(context: str, continuation: str, encode, implicit: int) -> Joined:
    """lm-evaluation-harness 0.4.13: TemplateLM._encode_pair, and loglikelihood's way with an empty context; encode is its
    tok_encode. If the context list is empty, the harness itself ends with an assertion."""
    if context == "":
        ids = encode(continuation, add_special_tokens=False)
        if ids[0] == implicit:
            return Joined(ids[:1], ids[1:])
        return Joined([implicit], ids)
    stripped = context.rstrip()
    continuation = context[len(stripped):] + continuation
    whole, alone = encode(stripped + continuation), encode(stripped)
    return Joined(alone or [implicit], whole[len(alone):], is_implicit=not alone)
