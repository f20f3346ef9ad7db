"""Bad rows and bad parameters where no model is needed: a typed error each, and the server goes on as it was."""

import struct
import unittest

import grpc
import harness
import wire
from logitd.v1 import sampling_pb2

server = None


def setUpModule():
    global server
    server = harness.Server()


def tearDownModule():
    server.stop()


def row(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


class BadRowsTest(unittest.TestCase):
    def setUp(self):
        self.pid = server.pid

    def tearDown(self):
        """The next request works, in the same process."""
        self.assertTrue(server.is_alive())
        self.assertEqual(server.pid, self.pid)
        reply = harness.logit("distribution", "--logits=0,0", server=server).json()
        self.assertEqual(reply["probabilities"], [0.5, 0.5])

    def refused(self, *arguments: object) -> dict:
        outcome = harness.logit("distribution", *arguments, server=server)
        self.assertEqual(outcome.status, 3, outcome)
        return outcome.error()

    def test_temperature_out_of_range(self):
        for value, shown in [("-1", "-1"), ("nan", "nan"), ("1e9", "1e+09"), ("inf", "inf"), ("1e-5", "1e-05")]:
            with self.subTest(temperature=value):
                error = self.refused("--logits=1,2", f"--temperature={value}")
                self.assertEqual(error["reason"], "ERROR_REASON_FIELD_OUT_OF_RANGE")
                self.assertEqual(error["field"], "sampling.temperature")
                self.assertEqual(error["value"], shown)
                self.assertIn("1e+06", error["bound"])
                self.assertIn(shown, error["message"])

    def test_nan_and_infinite_logits_name_the_first_one(self):
        for logits, token_id in [("1,nan,2", 1), ("inf,1", 0), ("0,0,0,0,0,0,0,0,0,nan", 9)]:
            with self.subTest(logits=logits):
                error = self.refused(f"--logits={logits}")
                self.assertEqual(error["reason"], "ERROR_REASON_NON_FINITE_LOGIT")
                self.assertEqual(error["token_id"], token_id)

    def test_row_without_a_finite_logit(self):
        self.assertEqual(self.refused("--logits=-inf,-inf")["reason"], "ERROR_REASON_NO_FINITE_LOGIT")

    def test_allowed_id_out_of_range(self):
        error = self.refused("--logits=1,2", "--allowed", "2")
        self.assertEqual(error["reason"], "ERROR_REASON_TOKEN_ID_OUT_OF_RANGE")
        self.assertEqual(error["value"], "2")
        self.assertEqual(error["bound"], "[0, 2)")
        self.assertIn("allowed_tokens", error["field"])

    def test_empty_allowed_set(self):
        error = self.refused("--logits=1,2", "--allowed=")
        self.assertEqual(error["reason"], "ERROR_REASON_EMPTY_TOKEN_SET")
        self.assertIn("allowed_tokens", error["field"])

    def test_row_of_the_wrong_length_ends_the_stream(self):
        with wire.connect(server.address) as client:
            for payload in (row(1, 2), row(1, 2, 3, 4), row(1, 2, 3)[:-1], b""):
                with self.subTest(size=len(payload)), self.assertRaises(grpc.RpcError) as caught:
                    client.decode(wire.config(3), wire.batch(1, payload, 3, [1]))
                self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
                error = wire.error_of(caught.exception)
                self.assertEqual(wire.reason(error), "ROW_LENGTH_MISMATCH")
                self.assertIn("12", error.bound)
                self.assertEqual(error.value, str(len(payload)))

    def test_row_of_another_width_than_the_vocabulary(self):
        with wire.connect(server.address) as client, self.assertRaises(grpc.RpcError) as caught:
            client.decode(wire.config(3), wire.batch(1, row(1, 2, 3, 4), 4, [1]))
        self.assertEqual(wire.reason(wire.error_of(caught.exception)), "ROW_LENGTH_MISMATCH")

    def test_bad_row_ends_its_own_sequence_only(self):
        with wire.connect(server.address) as client:
            rows = row(1, float("nan"), 3) + row(1, 2, 9)
            replies = client.decode(wire.config(3, sampling=sampling_pb2.SamplingParams(temperature=0)),
                                    wire.batch(1, rows, 3, [1, 2]),
                                    wire.batch(2, row(5, 2, 3), 3, [2], position=1, opens=False))
        bad, good = replies[1].result.steps
        self.assertEqual(wire.reason(bad.error), "NON_FINITE_LOGIT")
        self.assertEqual((bad.error.row, bad.error.token_id), (0, 1))
        self.assertEqual(good.chosen.tokens[0].token_id, 2)
        self.assertEqual(replies[2].result.steps[0].chosen.tokens[0].token_id, 0)

    def test_too_many_tokens_asked_for(self):
        with wire.connect(server.address) as client, self.assertRaises(grpc.RpcError) as caught:
            client.decode(wire.config(3, stop=sampling_pb2.StopCriteria(max_tokens=2147483647)))
        error = wire.error_of(caught.exception)
        self.assertEqual(error.value, "2147483647")
        self.assertIn("max_tokens", error.field)

    def test_flag_that_does_not_exist(self):
        outcome = harness.run("logit", "distribution", "--logits=1,2", "--tempratur=1", "--json")
        self.assertEqual(outcome.status, 2)
        self.assertIn("tempratur", outcome.stderr)

    def test_no_server_there(self):
        outcome = harness.run("logit", "distribution", "--logits=1,2", "--server", "127.0.0.1:1", "--json")
        self.assertEqual(outcome.status, 4)
        self.assertIn("127.0.0.1:1", outcome.stderr)


if __name__ == "__main__":
    unittest.main()
