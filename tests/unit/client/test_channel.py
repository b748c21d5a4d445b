"""Targets and channel options."""

from __future__ import annotations

import json

import pytest

from genir._channel import grpc_target, options_of_channel, split_target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:50051", "localhost:50051"),
        ("dns:///genir.default:50051", "dns:///genir.default:50051"),
        ("localhost", "localhost:50051"),
        ("10.0.0.1", "10.0.0.1:50051"),
        (" localhost:1 ", "localhost:1"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[fe80::1%25eth0]:7", "[fe80::1%25eth0]:7"),
        ("dns:///genir", "dns:///genir:50051"),
        ("dns://8.8.8.8/genir", "dns://8.8.8.8/genir:50051"),
        ("dns:genir", "dns:genir:50051"),
        ("ipv4:127.0.0.1,127.0.0.2:2", "ipv4:127.0.0.1:50051,127.0.0.2:2"),
        ("ipv6:[::1]", "ipv6:[::1]:50051"),
        ("unix:///run/genir.sock", "unix:///run/genir.sock"),
        ("unix:relative.sock", "unix:relative.sock"),
        ("unix-abstract:genir", "unix-abstract:genir"),
        ("xds:///genir", "xds:///genir"),
        (["127.0.0.1", "10.0.0.2:2"], "ipv4:127.0.0.1:50051,10.0.0.2:2"),
        (["name:1"], "name:1"),
        (["127.0.0.1:1", "10.0.0.2:2"], "ipv4:127.0.0.1:1,10.0.0.2:2"),
        (["[::1]:1", "[fe80::2]:2"], "ipv6:[::1]:1,[fe80::2]:2"),
    ],
)
def test_targets_become_grpc_targets(target: str | list[str], expected: str) -> None:
    assert grpc_target(target) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:1,127.0.0.1:2", ["127.0.0.1:1", "127.0.0.1:2"]),
        ("name:1", "name:1"),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv4:127.0.0.1:1,127.0.0.1:2"),
        ("dns:///name:1", "dns:///name:1"),
        (["127.0.0.1:1"], ["127.0.0.1:1"]),
    ],
)
def test_commas_separate_addresses(target: str | list[str], expected: str | list[str]) -> None:
    assert split_target(target) == expected


@pytest.mark.parametrize(
    ("target", "excerpt"),
    [
        ("", "a target is missing"),
        ([], "a target is missing"),
        (["name:1", "127.0.0.1:2"], "dns:///"),
        (["127.0.0.1:1", "localhost"], "numeric address"),
        ("http://localhost:50051", "leave out http://$"),
        ("https://genir.example", r"leave out https:// and use TLS: credentials=tls_credentials"),
        ("grpc://localhost", "leave out grpc://"),
        ("localhost:", "must be HOST:PORT"),
        (":50051", "must be HOST:PORT"),
        ("localhost:https", "must be HOST:PORT"),
        ("localhost:50051/", "must be HOST:PORT"),
        ("localhost:0", "must be 1 to 65535"),
        ("dns:///localhost:65536", "must be 1 to 65535"),
        (["127.0.0.1:1", "[::1]:2"], "all IPv4 or all IPv6"),
    ],
)
def test_target_that_grpc_cannot_express_is_refused(target: str | list[str], excerpt: str) -> None:
    with pytest.raises(ValueError, match=excerpt):
        grpc_target(target)


def test_channel_checks_health_only_with_round_robin() -> None:
    def config(*, round_robin: bool) -> dict[str, object]:
        options = dict(options_of_channel("a:1", round_robin=round_robin, extra=()))
        loaded: dict[str, object] = json.loads(str(options["grpc.service_config"]))
        return loaded

    assert "healthCheckConfig" not in config(round_robin=False)
    assert config(round_robin=True)["healthCheckConfig"] == {"serviceName": "genir.v1.IRService"}


@pytest.mark.parametrize(
    ("target", "proxy"),
    [
        ("127.0.0.1:1", 0),
        ("localhost:1", 0),
        ("[::1]:1", 0),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", 0),
        ("10.0.0.1:1", 1),
        ("localhost.example:1", 1),
    ],
)
def test_loopback_targets_bypass_the_proxy(target: str, proxy: int) -> None:
    options = dict(options_of_channel(target, round_robin=False, extra=()))
    assert options["grpc.enable_http_proxy"] == proxy


def test_options_of_the_caller_override_the_defaults() -> None:
    extra = [("grpc.max_receive_message_length", 1)]
    options = options_of_channel("a:1", round_robin=False, extra=extra)
    assert dict(options)["grpc.max_receive_message_length"] == 1
