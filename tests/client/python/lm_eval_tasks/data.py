"""The data of the tasks: JSON lines beside this file, and texts that are made. Nothing is downloaded.

A task names its data in dataset_kwargs; the harness passes the model's arguments, too.
"""

import json
import pathlib
import random

import datasets

HERE = pathlib.Path(__file__).parent
SUBJECTS = ["the old miller", "a young engineer", "my neighbour", "the captain of the ship", "a tired teacher", "the cat",
            "our committee", "the night train", "a small company from Turin", "Zoë", "the river", "someone"]
VERBS = ["counted", "repaired", "forgot", "painted", "measured", "sold", "carried", "found", "described", "opened"]
OBJECTS = ["three wooden boxes", "the broken clock", "a letter to the mayor", "every window of the house", "12.5 metres of rope",
           "the café's menu", "a map of the valley", "two thirds of the harvest", "the last page", "an empty bottle"]
ENDINGS = ["before sunrise", "without a word", "for the second time", "in the rain", "and went home", "near the bridge",
           "on 3 May 1987", "although nobody had asked", "to everyone's surprise", "as usual"]


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def prose(sentences: int, seed: int) -> str:
    """A text of that many sentences of about 15 tokens each."""
    source = random.Random(seed)
    paragraphs, words = [], []
    for i in range(sentences):
        words.append(f"{source.choice(SUBJECTS)} {source.choice(VERBS)} {source.choice(OBJECTS)} "
                     f"{source.choice(ENDINGS)}.".capitalize())
        if i % 7 == 6:
            paragraphs.append(" ".join(words))
            words = []
    return "\n\n".join([*paragraphs, " ".join(words)]).strip()


def load(name: str, **_: object) -> dict[str, datasets.Dataset]:
    """NAME.jsonl."""
    return {"test": datasets.Dataset.from_list(lines(name))}


def load_texts(**_: object) -> dict[str, datasets.Dataset]:
    """Texts that are shorter than a window, about as long as one, and several windows long; and an empty one."""
    texts = [prose(count, seed) for seed, count in enumerate((1, 6, 9, 40))]
    texts += ["x", "あいうえお、漢字。🙂🙃 " * 30, "<|im_start|>user\nHello<|im_end|>\n" * 5, ""]
    return {"test": datasets.Dataset.from_list([{"text": text} for text in texts])}


def load_last_words(**_: object) -> dict[str, datasets.Dataset]:
    """Texts whose last word is to be told."""
    texts = [prose(3, seed).rstrip(".") for seed in range(20)]
    texts += ["One two three four five six seven", "Monday Tuesday Wednesday Thursday", "The opposite of hot is cold",
              "red, white and blue, red, white and blue, red, white and blue"]
    return {"test": datasets.Dataset.from_list([{"text": text} for text in texts])}
