"""The programs of the package's page, README.md, run as they stand, in order, against a server with the real model."""

import contextlib
import csv
import importlib.util
import io
import json
import os
import re
import tempfile
import unittest

import harness

PAGE = harness.ROOT / "client/python/README.md"


def is_here(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


class Page(unittest.TestCase):
    def test_every_program(self):
        server = harness.Server(model=harness.model_path())
        self.addCleanup(server.stop)
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="logitd-page-"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        with open("items.jsonl", "w", encoding="utf-8") as file:
            for i in range(20):
                item = {"context": f"{i % 3} + 1 =", "choices": [f" {i % 3 + 1}", " 9", " none"], "answer": 0}
                file.write(json.dumps(item) + "\n")
        with open("items.csv", "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerows([["question", "A", "B"], ["1 + 1 =", " 2", " 3"], ["The sky is", " blue", " green"]])

        programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        self.assertGreaterEqual(len(programs), 8)
        names: dict = {}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            for program in programs:
                if not is_here("pandas"):
                    program = "\n".join(line for line in program.splitlines() if "frame" not in line)
                exec(compile(program.replace("127.0.0.1:50051", server.address), str(PAGE), "exec"), names)
        names["client"].close()
        words = printed.getvalue()
        self.assertGreater(float(words.split()[0]), 0.3)
        self.assertIn("FIELD_OUT_OF_RANGE sampling.temperature -1", words)
        self.assertEqual((names["summary"].items, names["summary"].failed), (2, 0))
        with open("scores.csv", encoding="utf-8") as file:
            self.assertEqual(len(list(csv.reader(file))), 5)

    def test_the_accuracy_of_a_file_is_short(self):
        first = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1)
        self.assertLessEqual(len(first.splitlines()), 8)


if __name__ == "__main__":
    unittest.main()
