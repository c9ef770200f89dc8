"""What an allowlist lets through, and nothing else: TCP by name, over IPv4 and IPv6."""

from __future__ import annotations

from pathlib import Path

from tests.network.world import WEB, World

PROFILE = str(Path(__file__).parent / "profile.yaml")


def test_curl_reaches_the_allowed_host_and_no_other(world: World) -> None:
    ca = f"{world.directory}/ca.pem"
    curl = ("curl", "-sS", "--max-time", "10", "--cacert", ca)
    run = world.run(
        *("-p", PROFILE, "--ro", ca, "--allow-net", "pypi.example:443", "--", "sh", "-c"),
        '"$@" https://pypi.example/whoami; "$@" https://other.example/whoami; "$@" -k https://$0/whoami',
        WEB,
        *curl,
    )
    assert run.out.startswith("pypi.example at "), (run.err, run.network)
    assert "Could not resolve host: other.example" in run.err
    assert run.refused() == {("dns", "other.example", 53), ("connect", WEB, 443)}
    (connection,) = run.network["connections"]
    assert (connection["name"], connection["port"], connection["rule"]) == ("pypi.example", 443, "pypi.example:443")
    assert connection["bytes_sent"] > 200 and connection["bytes_received"] > 500
