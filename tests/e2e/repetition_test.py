"""scripts/check-repetition: no run of six code lines stands twice in this checkout, and one that does is found."""

import pathlib
import subprocess
import tempfile
import unittest

import harness

LINES = [f"  total += weights[{i}] * rows[{i}];\n" for i in range(6)]


def check(root: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([harness.ROOT / "scripts/check-repetition", root], capture_output=True, text=True, check=False)


class RepetitionTest(unittest.TestCase):
    def write(self, name: str, text: str) -> None:
        path = pathlib.Path(self.folder.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_this_checkout_repeats_nothing(self):
        done = check(harness.ROOT)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_six_lines_are_found_through_comments_and_white_space(self):
        self.write("core/a.cc", "int A() {\n" + "".join(LINES) + "}\n")
        self.write("server/b.cc", "// other\n" + "\n  // a remark\n".join("  " + line for line in LINES))
        done = check(pathlib.Path(self.folder.name))
        self.assertEqual((done.returncode, done.stdout), (1, "core/a.cc:2 and server/b.cc:2: 6 lines\n"))

    def test_five_lines_and_includes_are_not(self):
        self.write("core/a.cc", "".join(LINES[:5]) + "int a;\n")
        self.write("core/b.cc", "".join(LINES[:5]) + "int b;\n")
        self.write("core/c.cc", "".join(f"#include <{name}>\n" for name in "abcdefgh") + "}\n" * 9)
        self.write("core/d.cc", "".join(f"#include <{name}>\n" for name in "abcdefgh") + "}\n" * 9)
        self.assertEqual(check(pathlib.Path(self.folder.name)).returncode, 0)


if __name__ == "__main__":
    unittest.main()
