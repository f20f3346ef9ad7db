"""Connections: addresses as people write them, and the options that every call needs."""

from __future__ import annotations

import ipaddress
from typing import Any

import grpc
import grpc.aio

DEFAULT_ADDRESS = "127.0.0.1:50051"
# The server's own limit.
_MAX_MESSAGE_BYTES = 64 << 20


def target_of(address: str) -> tuple[str, bool]:
    """gRPC's target for "HOST:PORT", "[IPv6]:PORT" or "unix:PATH", and whether it is on this machine.
    Raises ValueError, which says what is wrong."""
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").removeprefix("//"):
            raise ValueError(f"address {address!r} has no path: write unix:/run/logitd/logitd.sock")
        return address, True
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"address {address!r} must be HOST:PORT with a port in [1, 65535], or unix:PATH")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif "://" in address:
        raise ValueError(f"address {address!r} must be HOST:PORT without {host.partition('://')[0]}://")
    elif ":" in host:
        raise ValueError(f"address {address!r}: write an IPv6 address in brackets, [{host}]:{port}")
    if not host:
        raise ValueError(f"address {address!r} has no host: write 127.0.0.1:{port} for this machine")
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    return f"dns:///{f'[{host}]' if ':' in host else host}:{port}", is_local


def _options(is_local: bool) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # Logits are close to incompressible: compression costs time and saves nothing.
        ("grpc.default_compression_algorithm", 0),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # gRPC would wait for up to 2 minutes between two attempts: a server that is back should be found soon.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.enable_retries", 0),
        # Connections of one process must not be shared: each has a limit of 256 calls at once.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    # A proxy of http_proxy cannot reach a server on this machine.
    return [*options, ("grpc.enable_http_proxy", 0)] if is_local else options


def connect(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A channel. No I/O: the first call connects. Raises ValueError for an address that is none."""
    target, is_local = target_of(address)
    if credentials is None:
        return grpc.insecure_channel(target, _options(is_local))
    return grpc.secure_channel(target, credentials, _options(is_local))


def connect_async(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """As `connect`, for asyncio."""
    target, is_local = target_of(address)
    if credentials is None:
        return grpc.aio.insecure_channel(target, _options(is_local))
    return grpc.aio.secure_channel(target, credentials, _options(is_local))
