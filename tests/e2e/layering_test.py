"""scripts/check-layering: this checkout keeps the rules, and a file that breaks one is found."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import harness


def check(root: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([harness.ROOT / "scripts/check-layering", root], capture_output=True, text=True, check=False)


class LayeringTest(unittest.TestCase):
    def test_this_checkout_keeps_the_rules(self):
        done = check(harness.ROOT)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_each_rule_is_checked(self):
        # (file, include that is forbidden there)
        for file, include in [
            ("core/kernels/row_kernel.cc", "absl/status/status.h"),
            ("core/decoder.cc", "logitd/v1/sampling.pb.h"),
            ("core/decoder.cc", "grpcpp/grpcpp.h"),
            ("core/decoder.cc", "server/server.h"),
            ("host/file_kind.cc", "llama.h"),
            ("host/file_kind.cc", "core/errors.h"),
            ("server/converters/logits.cc", "grpcpp/support/byte_buffer.h"),
            ("server/handlers/decode.cc", "logitd/v1/decoding_service.grpc.pb.h"),
            ("server/models/model_pool.h", "google/protobuf/message.h"),
            ("server/models/model_pool.h", "grpcpp/grpcpp.h"),
            ("server/main.cc", "client/logitd/client.h"),
            ("server/main.cc", "core/kernels/row_kernel.h"),
            ("server/converters/model.cc", "server/models/model_pool.h"),
            ("server/models/model_pool.cc", "server/server_env.h"),
            ("client/cli/main.cc", "core/types.h"),
            ("client/cli/main.cc", "server/options.h"),
            ("client/comparison/row_divergence.cc", "logitd/v1/error.pb.h"),
            ("client/logitd/model_path.cc", "client/comparison/row_divergence.h"),
            ("client/runner/model_runner.cc", "llama.h"),
            ("client/runner/llama/main.cc", "server/options.h"),
            ("client/other/new_room.cc", "core/types.h"),
        ]:
            with self.subTest(file=file, include=include), tempfile.TemporaryDirectory() as folder:
                root = pathlib.Path(folder)
                (root / "core").mkdir()
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(f'#include <string>\n#include "{include}"\n', encoding="utf-8")
                done = check(root)
                self.assertEqual(done.returncode, 1, done.stdout)
                if file == "client/other/new_room.cc":  # A folder without a row is refused as a whole.
                    self.assertIn(f"{file}: ", done.stdout)
                    continue
                self.assertIn(f"{file}:2: ", done.stdout)
                self.assertIn(include, done.stdout)

    def test_the_table_of_the_architecture_is_what_is_checked(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "scripts").mkdir()
            (root / "core").mkdir()
            script = root / "scripts/check-layering"
            script.write_bytes((harness.ROOT / "scripts/check-layering").read_bytes())
            (root / "core/decoder.cc").write_text('#include "grpcpp/grpcpp.h"\n', encoding="utf-8")
            for words, status in [("absl", 1), ("absl, gRPC", 0)]:
                (root / "ARCHITECTURE.md").write_text(f"## Who may include whom\n| `core` | {words} |\n", encoding="utf-8")
                done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, status, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
