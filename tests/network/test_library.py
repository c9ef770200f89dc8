"""Runs of one caller, all at once: each has its own relay, rules and account."""

from __future__ import annotations

import json
import sys

from tests.network.world import ECHO_PORT, HERE, PROFILE, World

CALLER = f"""
import asyncio, hivebox, json
CODE = '''
import socket
for name in ("pypi.example", "four.example"):
    try:
        with socket.create_connection((name, {ECHO_PORT}), 10) as client:
            client.sendall(b"x")
            print(name, client.recv(1))
    except OSError as error:
        print(name, type(error).__name__)
'''
async def one(name):
    command = ["python3", "-c", CODE]
    report = await hivebox.run_async(command, profile={PROFILE!r}, allow_net=[f"{{name}}:{ECHO_PORT}"])
    return name, report.stdout.decode(), report.ending.network
async def main():
    names = ["pypi.example", "four.example"] * 4
    return await asyncio.gather(*map(one, names))
print(json.dumps(asyncio.run(main())))
"""


def test_rules_are_of_one_run(world: World) -> None:
    ended = world.call(sys.executable, "-c", CALLER, cwd=HERE.parents[1], rootless=True)
    assert ended.returncode == 0, ended.stderr.decode()
    found = json.loads(ended.stdout)
    assert len(found) == 8
    for name, out, network in found:
        other = ({"pypi.example", "four.example"} - {name}).pop()
        assert f"{name} b'x'\n" in out and f"{other} gaierror\n" in out, (name, out, network)
        assert [each["name"] for each in network["connections"]] == [name]
        assert {(each["layer"], each["name"]) for each in network["refused"]} == {("dns", other)}
    assert len({network["connections"][0]["run_id"] for _, _, network in found}) == 8
