"""Programs as people have them, unchanged and without a proxy variable: each reaches the allowed host, and not another."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.network import clients
from tests.network.world import PROFILE, SSH_PORT, Run, World

HERE = Path(__file__).parent
EVERY_CA = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)


def run(world: World, *arguments: str, rule: str = "pypi.example:443") -> Run:
    ca = f"{world.directory}/ca.pem"
    trust = [word for name in EVERY_CA for word in ("--env", f"{name}={ca}")]
    return world.run("-p", PROFILE, "--ro", ca, *trust, "--allow-net", rule, *arguments)


def reached(result: Run, *, name: str = "pypi.example") -> bool:
    """By the relay's own account."""
    return [each["name"] for each in result.network["connections"]][:1] == [name]


def kept_off(result: Run) -> bool:
    return not result.network["connections"] and result.refused() == {("dns", "other.example", 53)}


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_curl(world: World, family: str) -> None:
    good = run(world, "--", "curl", "-sS", family, "https://pypi.example/whoami")
    assert good.out.startswith("pypi.example at") and reached(good), good.err
    assert kept_off(run(world, "--", "curl", "-sS", family, "--noproxy", "*", "https://other.example/whoami"))


REQUESTS = "import requests, sys; print(requests.get(sys.argv[1], timeout=10).text)"
AIOHTTP = """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession() as session, session.get(sys.argv[1]) as answer:
        print(await answer.text())
asyncio.run(main())
"""


@pytest.mark.parametrize(("module", "code"), [("requests", REQUESTS), ("aiohttp", AIOHTTP)])
def test_python_libraries(world: World, module: str, code: str) -> None:
    packages = clients.site_packages()
    if not Path(packages, module).exists():
        pytest.skip(f"no {module}")
    options = ("--ro", packages, "--env", f"PYTHONPATH={packages}", "--", "python3", "-c", code)
    good = run(world, *options, "https://pypi.example/whoami")
    assert good.out.startswith("pypi.example at") and reached(good), good.err
    assert kept_off(run(world, *options, "https://other.example/whoami"))


def test_pip(world: World) -> None:
    clients.package_index(world.directory / "www")
    packages = clients.site_packages()
    pip = ("--ro", packages, "--env", f"PYTHONPATH={packages}", "--", "python3", "-m", "pip", "install", "--quiet")
    pip += ("--disable-pip-version-check", "--no-cache-dir", "--retries", "0", "--target", "/work/site", "--index-url")
    good = run(world, *pip, "https://pypi.example/simple/", "hivebox-test-package")
    assert good.code == 0 and reached(good), good.err
    bad = run(world, *pip, "https://other.example/simple/", "hivebox-test-package")
    assert bad.code and kept_off(bad)


def test_git_over_https(world: World) -> None:
    clients.repository(world.directory / "www")
    clone = ("--", "git", "clone", "-q")
    good = run(world, *clone, "https://pypi.example/project.git")
    assert good.code == 0 and reached(good), good.err
    assert kept_off(run(world, *clone, "https://other.example/project.git"))


def test_git_over_ssh(world: World) -> None:
    if not shutil.which("sshd", path="/usr/sbin"):
        pytest.skip("no sshd")
    if not world.is_root:
        pytest.skip("needs root: sshd changes its user")
    clients.repository(world.directory / "www")
    keys = clients.ssh_server(world)
    world.wait_for("203.0.113.10", SSH_PORT)
    # The key belongs to this user; in the sandbox the run's own must own it.
    ssh = f"ssh -F none -i /work/client -o UserKnownHostsFile={keys}/known -o IdentitiesOnly=yes -p {SSH_PORT}"
    script = f"umask 077; cp {keys}/client /work/client; GIT_SSH_COMMAND='{ssh}' git clone -q root@$0:{world.directory}/www/project.git"
    grants = ("--ro", str(keys), "--", "sh", "-c", script)
    good = run(world, *grants, "pypi.example", rule=f"pypi.example:{SSH_PORT}")
    assert good.code == 0 and reached(good), good.err
    bad = run(world, *grants, "other.example", rule=f"pypi.example:{SSH_PORT}")
    assert bad.code and kept_off(bad)


def test_node(world: World) -> None:
    if not shutil.which("node"):
        pytest.skip("no node")
    code = (
        "fetch(process.argv[1]).then(async answer => console.log(await answer.text()), e => console.log(e.cause.code))"
    )
    profile = world.directory / "node.yaml"
    profile.write_text("extends: node\nrootfs: {recipe: host}\nlimits: {wall_time: 60s}\n")
    options = (
        "-p",
        str(profile),
        "--ro",
        f"{world.directory}/ca.pem",
        "--env",
        f"NODE_EXTRA_CA_CERTS={world.directory}/ca.pem",
    )
    options += ("--allow-net", "pypi.example:443", "--", "node", "-e", code)
    good = world.run(*options, "https://pypi.example/whoami")
    assert good.out.startswith("pypi.example at") and reached(good), (good.out, good.err)
    bad = world.run(*options, "https://other.example/whoami")
    assert bad.out == "ENOTFOUND\n" and kept_off(bad), bad.out


@pytest.mark.parametrize(("compiler", "flags"), [("gcc", ["-static"]), ("musl-gcc", []), ("musl-gcc", ["-static"])])
@pytest.mark.parametrize("family", [(), ("6",)])
def test_c_programs(world: World, compiler: str, flags: list[str], family: tuple[str, ...]) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    program = world.directory / f"fetch-{compiler}-{len(flags)}"
    built = subprocess.run(
        [compiler, *flags, "-o", str(program), str(HERE / "fetch.c")], check=True, capture_output=True
    )
    assert program.exists(), built.stderr
    loader = Path("/lib/ld-musl-x86_64.so.1")
    grants = ["--ro", str(program)]
    if compiler == "musl-gcc" and not flags:  # its loader is in /lib, its library beside it
        if not loader.exists():
            pytest.skip("no musl loader")
        grants += (
            ["--", "/usr/lib/x86_64-linux-musl/libc.so"]
            if Path("/usr/lib/x86_64-linux-musl/libc.so").exists()
            else ["--"]
        )
    else:
        grants += ["--"]
    good = run(world, *grants, str(program), "pypi.example", *family, rule="pypi.example:80")
    assert "pypi.example at" in good.out and reached(good), (good.out, good.err)
    bad = run(world, *grants, str(program), "other.example", *family, rule="pypi.example:80")
    assert bad.code and kept_off(bad), bad.out
