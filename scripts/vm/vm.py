"""Run one command in a real Debian with cgroup v2 and systemd, as an ordinary user, and exit with its exit code.

The working tree goes in, output streams out, the machine is gone afterwards. The parts: ``image`` builds and caches
what a guest boots from, ``job`` packs what it is to do and reads what it gave back, ``machine`` boots it. guest/ holds
the other side. Exit code 125: the guest could not be built, or gave no result however often it was tried.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import image
import machine
from job import Job

from hivebox.errors import HiveboxError

INFRASTRUCTURE = 125


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/vm/run", description="Run a command in a virtual machine.")
    parser.add_argument("--guest", required=True, choices=sorted(image.GUESTS))
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--root", dest="who", action="store_const", const="root", help="as root")
    who.add_argument(
        "--login", dest="who", action="store_const", const="login", help="in a login session, not below user@.service"
    )
    parser.add_argument(
        "--stock-delegation", action="store_true", help="user@.service as Debian has it: no io, no cpuset"
    )
    parser.add_argument("--append", action="append", default=[], metavar="PARAMETERS", help="for the kernel")
    parser.add_argument("--sysctl", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for the command")
    parser.add_argument("--timeout", type=int, default=1800, metavar="SECONDS", help="then exit code 124")
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="gets what is in $HIVEBOX_RESULTS at the end")
    parser.add_argument("--rebuild", action="store_true", help="a new image, with today's packages")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    # By an exception, so that what is temporary goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    job = Job(
        command=tuple(options.command),
        who=options.who or "user",
        delegation="stock" if options.stock_delegation else "all",
        sysctls=tuple(options.sysctl),
        environment=tuple(options.env),
        timeout_s=options.timeout,
    )
    try:
        with image.ready(options.guest, rebuild=options.rebuild) as built:
            result = machine.run(built, job, " ".join(options.append))
    except HiveboxError as error:
        print(error, file=sys.stderr)
        return INFRASTRUCTURE
    if options.results:
        result.write(options.results)
    return result.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
