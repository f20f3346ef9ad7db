"""scripts/build-llama takes the f16 tables of GELU and the f16 keys of attention out of a copy, and fails if they are not
where they were."""

import pathlib
import shutil
import tempfile
import unittest

import harness

HEADER = "ggml/src/ggml-cpu/vec.h"
# The lines as they stand in the pinned llama.cpp.
TABLES = "#pragma once\n#define GGML_GELU_FP16\n#define GGML_GELU_QUICK_FP16\n#ifdef GGML_GELU_FP16\n#endif\n"

GRAPH = "src/llama-graph.cpp"
CASTS = "            k = ggml_cast(ctx0, k, GGML_TYPE_F16);\n            v = ggml_cast(ctx0, v, GGML_TYPE_F16);\n"
OPS = "ggml/src/ggml-cpu/ops.cpp"
SPLIT = "bool use = !use_ref && (neq1 == 1 && neq3 == 1) && kv_is_f32_or_f16 && (k->type == v->type);\n"


class BuildLlamaTest(unittest.TestCase):
    def setUp(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="logitd-build-llama-"))
        self.addCleanup(shutil.rmtree, folder)
        self.source, self.prefix, self.build = folder / "source", folder / "prefix", folder / "build"
        # Enough of llama.cpp for everything before its own configuration, which ends at once.
        for path, text in {
            "CMakeLists.txt": 'message(FATAL_ERROR "configured")\n', "LICENSE": "", "include/llama.h": "",
            "cmake/a.cmake": "", "src/a.cpp": "", "vendor/CMakeLists.txt": "", "vendor/hash/a": "",
            "vendor/miniaudio/a": "", "vendor/nlohmann/a": "", "vendor/sheredom/a": "", "vendor/stb/a": "",
            "common/jinja/a.cpp": "", "common/json.cpp": "", "common/json.h": "", "common/unicode.cpp": "",
            "common/unicode.h": "",
            HEADER: TABLES, GRAPH: "a\n" + CASTS + "b\n", OPS: SPLIT,
        }.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        (self.source / path).parent.mkdir(parents=True, exist_ok=True)
        (self.source / path).write_text(text, encoding="utf-8")

    def run_script(self) -> harness.Outcome:
        return harness.run(harness.ROOT / "scripts/build-llama", self.source, self.prefix, self.build)

    def test_builds_a_copy_without_the_tables(self):
        outcome = self.run_script()
        self.assertIn("configured", outcome.stderr)
        self.assertEqual((self.build / "source" / HEADER).read_text(),
                         "#pragma once\n#ifdef GGML_GELU_FP16\n#endif\n")
        self.assertEqual((self.source / HEADER).read_text(), TABLES)
        self.assertEqual((self.build / "source" / GRAPH).read_text(), "a\nb\n")
        self.assertEqual((self.build / "source" / OPS).read_text(),
                         SPLIT.replace("kv_is_f32_or_f16", "(k->type == GGML_TYPE_F16)"))

        copy = self.build / "source"
        self.assertEqual((copy / "CMakeLists.txt").read_text().count("add_library(llama-jinja STATIC"), 1)
        self.assertTrue((copy / "common/jinja/a.cpp").exists())

    def test_fails_without_the_template_engine(self):
        (self.source / "common/json.h").unlink()
        outcome = self.run_script()
        self.assertEqual(outcome.status, 1)
        self.assertIn("build-llama: copying the sources of the template engine failed", outcome.stderr)

    def check_refusal(self, name: str, path: str, text: str, words: str) -> None:
        """The script ends before it configures anything."""
        with self.subTest(name):
            self.setUp()
            self.write(path, text)
            outcome = self.run_script()
            self.assertEqual(outcome.status, 1)
            self.assertNotIn("configured", outcome.stderr)
            self.assertRegex(outcome.stderr, words)

    def test_fails_if_the_lines_move(self):
        for name, path, text in [
            ("one is gone", HEADER, TABLES.replace("#define GGML_GELU_QUICK_FP16\n", "")),
            ("another spelling", HEADER, TABLES.replace("#define GGML_GELU_FP16", "#  define GGML_GELU_FP16 1")),
            ("twice", HEADER, TABLES + "#define GGML_GELU_FP16\n"),
            ("in another file too", "ggml/src/ggml-cpu/ops.h", "#define GGML_GELU_FP16\n"),
            ("by a flag too", "ggml/CMakeLists.txt", "add_compile_definitions(GGML_GELU_FP16)\n"),
        ]:
            self.check_refusal(name, path, text, r'vec\.h must have the line "#define GGML_GELU_\w*FP16" once')

    def test_fails_if_attention_moves(self):
        for name, path, text in [("no keys", GRAPH, CASTS.replace("k = ", "q = ")), ("values twice", GRAPH, CASTS + CASTS),
                                 ("no split", OPS, "")]:
            self.check_refusal(name, path, text, r"must have the line .* once, it has it \d times")


if __name__ == "__main__":
    unittest.main()
