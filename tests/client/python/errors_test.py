"""What a failure becomes in Python, and when it is tried again."""

import pickle
import unittest

import grpc
from google.protobuf import any_pb2

from logitd import _channel, _retry, errors
from logitd.v1 import error_pb2


class Failure(grpc.RpcError):
    """A failed call with these details."""

    def __init__(self, code, text, details=b""):
        self._code, self._text, self._details = code, text, details

    def code(self):
        return self._code

    def details(self):
        return self._text

    def trailing_metadata(self):
        return (("other", "x"), ("grpc-status-details-bin", self._details)) if self._details else None


def failure(error: error_pb2.Error) -> Failure:
    detail = any_pb2.Any()
    detail.Pack(error)
    status = errors._rpc_class("Status")()
    status.code = error.code
    status.details.add(type_url=detail.type_url, value=detail.value)
    return Failure(errors._CODES[error.code], error.message, status.SerializeToString())


class ErrorsTest(unittest.TestCase):
    def test_a_typed_failure(self):
        error = errors.from_rpc_error(failure(error_pb2.Error(
            code=8, reason=error_pb2.ERROR_REASON_OVERLOADED, message="full", limit="max_calls", retry_after_ms=250)))
        self.assertIsInstance(error, errors.LimitError)
        self.assertEqual((error.reason, error.limit, error.retry_after_s), ("OVERLOADED", "max_calls", 0.25))
        self.assertTrue(errors.is_transient(error))
        self.assertEqual(str(error), "OVERLOADED: full")
        error = errors.from_proto(error_pb2.Error(code=3, reason=error_pb2.ERROR_REASON_NON_FINITE_LOGIT, token_id=0, row=2))
        self.assertIsInstance(error, ValueError)
        self.assertEqual((error.token_id, error.row), (0, 2))
        self.assertFalse(errors.is_transient(error))

    def test_a_reason_of_a_later_server_is_told_by_its_number(self):
        self.assertEqual(errors.from_proto(error_pb2.Error(code=3, reason=999)).reason, "999")

    def test_a_failure_without_details(self):
        error = errors.from_rpc_error(Failure(grpc.StatusCode.UNAVAILABLE, "no server"))
        self.assertIsInstance(error, errors.UnavailableError)
        self.assertEqual((error.reason, error.message), ("", "no server"))
        broken = errors.from_rpc_error(Failure(grpc.StatusCode.INTERNAL, "bug", b"\xff\xff"))
        self.assertIsInstance(broken, errors.ServerError)

    def test_the_delay_of_a_proxy(self):
        status = errors._rpc_class("Status")(code=8)
        retry = errors._rpc_class("RetryInfo")()
        retry.retry_delay.seconds, retry.retry_delay.nanos = 200, 500_000_000
        status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry.SerializeToString())
        error = errors.from_rpc_error(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", status.SerializeToString()))
        self.assertEqual((error.retry_after_s, error.message), (200.5, "full"))
        self.assertTrue(errors.is_transient(error))

    def test_a_deadline_is_no_broken_stream(self):
        for code, is_transient in ((grpc.StatusCode.DEADLINE_EXCEEDED, False), (grpc.StatusCode.UNKNOWN, True)):
            error = errors.from_rpc_error(Failure(code, "Stream removed (Deadline Exceeded)"))
            self.assertEqual(errors.is_transient(error), is_transient)

    def test_an_error_survives_pickle(self):
        error = errors.from_proto(error_pb2.Error(code=5, reason=60, message="m", field="model"))
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(again), again.reason, again.field, again.code), (type(error), error.reason, "model", error.code))


class PatienceTest(unittest.TestCase):
    def setUp(self):
        self.time = 0.0
        self.patience = _retry.Patience(10, now=lambda: self.time)

    def test_waits_grow_and_end(self):
        waits = []
        with self.assertLogs("logitd") as logged, self.assertRaisesRegex(errors.UnavailableError, "no answer for 10 s; the last error: gone"):
            while True:
                waits.append(self.patience.wait_after(errors.UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE)))
                self.time += waits[-1]
        self.assertEqual(waits[:7], [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
        self.assertAlmostEqual(sum(waits), 10)
        self.assertEqual(len(logged.output), 1)
        self.assertRegex(logged.output[0], r"trying again for \d\.\d+ s: gone")

    def test_the_servers_delay_counts(self):
        full = errors.LimitError("full", retry_after_s=3, code=grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.patience.wait_after(full), 3)
        self.patience.reset()
        self.assertEqual(self.patience.wait_after(full), 3)

    def test_what_will_not_pass_is_raised_at_once(self):
        with self.assertRaises(errors.LimitError):
            self.patience.wait_after(errors.LimitError("too long", code=grpc.StatusCode.RESOURCE_EXHAUSTED))


class AddressTest(unittest.TestCase):
    def test_addresses(self):
        for address, target in (("127.0.0.1:1", ("dns:///127.0.0.1:1", True)), ("host:65535", ("dns:///host:65535", False)),
                                ("[::1]:50051", ("dns:///[::1]:50051", True)), ("unix:/a b", ("unix:/a b", True)),
                                ("localhost:1", ("dns:///localhost:1", True)), ("10.1.2.3:1", ("dns:///10.1.2.3:1", False))):
            self.assertEqual(_channel.target_of(address), target)
        for address, words in (("host", "HOST:PORT"), ("host:0", "port"), ("host:65536", "port"), (":1", "no host"),
                               ("::1:1", "brackets"), ("unix:", "no path"), ("a:b", "port"), ("a:²", "port"),
                               ("http://127.0.0.1:1", "HOST:PORT without http://")):
            with self.assertRaisesRegex(ValueError, words):
                _channel.target_of(address)


if __name__ == "__main__":
    unittest.main()
