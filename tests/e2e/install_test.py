"""The installed C++ client library: the program of docs/cpp.md builds outside of this tree, and runs. The installed programs."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import harness
import http_case
import process

BUILD = harness.BIN.parent
DOCUMENT = harness.ROOT / "docs/cpp.md"


def block(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(found) == 1, (language, len(found))
    return found[0]


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


@unittest.skipIf("sanitize" in str(BUILD), "the outside program would need the same flags")
class InstallTest(unittest.TestCase):
    def test_find_package_builds_the_program_of_the_document_and_it_runs(self):
        with tempfile.TemporaryDirectory(prefix="logitd-install-") as folder:
            outside = pathlib.Path(folder)
            run("cmake", "--install", BUILD, "--component", "client", "--prefix", outside / "prefix")
            (outside / "CMakeLists.txt").write_text(block("cmake"))
            (outside / "bigram.cc").write_text(block("cpp"))
            run("cmake", "-S", outside, "-B", outside / "build", "-G", "Ninja",
                f"-DCMAKE_PREFIX_PATH={outside / 'prefix'}", *(["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]
                                                                if os.path.exists("/usr/bin/ccache") else []))
            run("cmake", "--build", outside / "build")
            # Nothing of this tree is left in the package, so that it works where there is no such tree.
            for file in (outside / "prefix").rglob("*.cmake"):
                self.assertNotIn(str(harness.ROOT), file.read_text(), file.name)
            server = harness.Server()
            self.addCleanup(server.stop)
            lines = run(outside / "build/bigram", server.address).splitlines()
            self.assertEqual(len(lines), 2)
            for line in lines:
                *tokens, total = line.split()
                self.assertEqual(len(tokens), 8)
                self.assertTrue(all(0 <= int(token) < 16 for token in tokens))
                self.assertLess(float(total), 0)
            failed = subprocess.run([outside / "build/bigram"], capture_output=True, text=True, check=False)
            self.assertEqual(failed.returncode, 1)
            self.assertIn("addresses must have at least one address", failed.stderr)

    def test_the_installed_server_finds_its_other_programs(self):
        with tempfile.TemporaryDirectory(prefix="logitd-install-") as prefix:
            run("cmake", "--install", BUILD, "--component", "programs", "--prefix", prefix)
            programs = pathlib.Path(prefix) / "bin"
            self.assertEqual({path.name for path in programs.iterdir()} - {"logitd-llama"}, {"logitd", "logit", "logitd-http"})
            server = harness.Server(program=programs / "logitd", flags=("--http", "127.0.0.1:0"))
            try:
                http = http_case.HttpAddress(server.http_address())
                self.assertEqual(http.send("GET", "/readyz").json(), {"status": "ready"})
                child, = process.children(server.pid)
                self.assertEqual(os.readlink(f"/proc/{child}/exe"), str(programs / "logitd-http"))
            finally:
                server.stop()


if __name__ == "__main__":
    unittest.main()
