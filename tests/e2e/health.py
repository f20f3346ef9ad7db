"""grpc.health.v1 without its stubs, which would hide the package grpc."""

import grpc

TIMEOUT_S = 60

SERVING = 1


def status_of(response: bytes) -> int:
    """HealthCheckResponse.status."""
    return response[1] if response else 0


def named(service: str) -> bytes:
    return bytes([0x0A, len(service)]) + service.encode() if service else b""


def check(channel: grpc.Channel, service: str) -> int:
    return status_of(channel.unary_unary("/grpc.health.v1.Health/Check")(named(service), timeout=TIMEOUT_S))


def watch(channel: grpc.Channel, service: str, timeout: float):
    return map(status_of, channel.unary_stream("/grpc.health.v1.Health/Watch")(named(service), timeout=timeout))


def wait_until_serving(channel: grpc.Channel, service: str) -> None:
    """Returns when `service` ("model/NAME", or "" for the process) serves."""
    replies = channel.unary_stream("/grpc.health.v1.Health/Watch")(named(service), timeout=TIMEOUT_S)
    for response in replies:
        if status_of(response) == SERVING:
            replies.cancel()
            return
