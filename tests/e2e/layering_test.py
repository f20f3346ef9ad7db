"""scripts/check-layering: this checkout keeps the rules, and a file that breaks one is found."""

import pathlib
import subprocess
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
            ("client/cli/main.cc", "core/types.h"),
            ("client/cli/main.cc", "server/options.h"),
            ("client/runner/model_runner.cc", "llama.h"),
            ("client/runner/llama/main.cc", "server/options.h"),
        ]:
            with self.subTest(file=file, include=include), tempfile.TemporaryDirectory() as folder:
                root = pathlib.Path(folder)
                (root / "core").mkdir()
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(f'#include <string>\n#include "{include}"\n', encoding="utf-8")
                done = check(root)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(f"{file}:2: ", done.stdout)
                self.assertIn(include, done.stdout)


if __name__ == "__main__":
    unittest.main()
