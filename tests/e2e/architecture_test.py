"""ARCHITECTURE.md names files and functions that are there."""

import pathlib
import re
import unittest

import harness

TEXT = (harness.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
# `server/models/strikes.h`, `core/truncation.{h,cc}`, `server/models`, `free_cpus.cc` after a file of the same folder.
PATH = re.compile(r"[\w.-]+(/[\w.*{},-]+)+|[\w-]+\.(cc|h|proto|py)")


def expanded(path: str) -> list[str]:
    """The paths that `a/b.{h,cc}` stands for."""
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", path)
    return [match[1] + part + match[3] for part in match[2].split(",")] if match else [path]


def places(path: str, before: pathlib.Path | None) -> list[pathlib.Path]:
    """The files that a name in the text stands for: from the root, from a folder of server/, or beside `before`."""
    roots = [harness.ROOT, harness.ROOT / "server"]
    if before:
        roots.append(before if before.is_dir() else before.parent)
    # "core/errors" stands for its header and its source.
    return [file for root in roots for pattern in (path, path + ".*") for file in root.glob(pattern)]


class ArchitectureTest(unittest.TestCase):
    def test_files_and_functions_are_there(self):
        checked = 0
        for line in TEXT.splitlines():
            before = None
            for code in re.findall(r"`([^`]+)`", line):
                if PATH.fullmatch(code):
                    for path in expanded(code):
                        found = places(path, before)
                        with self.subTest(line=line):
                            self.assertTrue(found, f"{code} is not there")
                        before = found[0] if found else before
                        checked += 1
                elif before and before.is_file() and re.fullmatch(r"([A-Z]\w*::)?[A-Z]\w+", code):
                    name = code.rpartition("::")[2]
                    files = before.parent.glob(before.stem + ".*")
                    with self.subTest(line=line):
                        self.assertTrue(
                            any(name in file.read_text(encoding="utf-8") for file in files), f"{before} has no {name}"
                        )
                    checked += 1
        self.assertGreater(checked, 150)

    def test_the_words_are_few(self):
        words = TEXT.partition("## Words")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (?!word |---)", words, re.MULTILINE)
        self.assertGreater(len(rows), 10)
        self.assertLessEqual(len(rows), 25)


if __name__ == "__main__":
    unittest.main()
