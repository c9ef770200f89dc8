"""Boots an image with a job in QEMU and streams what the job prints.

Root is an NVMe disk whose writes are thrown away; the job comes on one virtio disk and the result leaves on another,
found by their serial numbers. The first serial port is the console, shown when no result comes; the second is the job's
output. There is no network device.
"""

from __future__ import annotations

import codecs
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import scratch
from image import Image
from job import Job, Result, unpack

from hivebox.errors import HiveboxError

_START = b"hivebox-vm: start\n"
_POWER_OFF_S = 120
_RESULT_BYTES = 64 << 20


class Accelerator(NamedTuple):
    name: str
    options: tuple[str, ...]
    boot_s: int  # how long to wait for the job to start


KVM = Accelerator("kvm", ("-accel", "kvm", "-cpu", "host"), 60)
# Named, since a /dev/kvm that opens may still be unable to run a guest. With cmpxchg16b QEMU 7.2 crashes every third
# boot of a 6.12 kernel; few machines have five-level page tables.
TCG = Accelerator("tcg", ("-accel", "tcg,thread=multi", "-cpu", "max,cx16=off,la57=off"), 600)


def run(image: Image, job: Job, append: str) -> Result:
    """The job's result. A guest that gives none is the machine's failure, not the job's: another one is tried, without
    hardware support."""
    attempts = [KVM, TCG, TCG] if _may_use_kvm() else [TCG, TCG]
    for accelerator in attempts:
        with scratch.directory() as directory:
            boot = Boot(image, job, append, accelerator, directory)
            result = boot.run()
            if result:
                return result
            say(f"vm: {image.guest} ({accelerator.name}) gave no result; the end of its console:\n{boot.console()}")
    raise HiveboxError(f"the {image.guest} guest gave no result", "see its console above", "try --rebuild")


def _may_use_kvm() -> bool:
    """Whether to try; whether it works is seen by the boot. HIVEBOX_VM_ACCEL=tcg saves that."""
    return os.environ.get("HIVEBOX_VM_ACCEL") != "tcg" and os.access("/dev/kvm", os.R_OK | os.W_OK)


class Boot:
    """One guest from start to power-off. ``directory`` holds its disks and its console."""

    def __init__(self, image: Image, job: Job, append: str, accelerator: Accelerator, directory: Path) -> None:
        self._image, self._job, self._accelerator, self._directory = image, job, accelerator, directory
        # On a busy host an emulated timer can be late for the test that a kernel gives it; KVM guests skip that too.
        self._append = f"root=/dev/nvme0n1 rw console=ttyS0 panic=-1 no_timer_check {append}"

    def run(self) -> Result | None:
        self._job.pack(self._directory / "source")
        (self._directory / "result").touch()
        os.truncate(self._directory / "result", _RESULT_BYTES)
        began = time.monotonic()
        environment = {**os.environ, "TMPDIR": str(self._directory)}  # for what root's writes fill
        with subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
        ) as process:
            try:
                if not _started(process, began + self._accelerator.boot_s):
                    return None
                say(f"vm: {self._image.guest} ({self._accelerator.name}) booted in {time.monotonic() - began:.0f} s")
                _stream(process, time.monotonic() + self._job.timeout_s + _POWER_OFF_S)
            finally:
                process.kill()
        say(f"vm: {self._image.guest} off after {time.monotonic() - began:.0f} s")
        return unpack(self._directory / "result")

    def console(self) -> str:
        path = self._directory / "console"
        text = path.read_text(errors="replace") if path.exists() else ""
        return visible("\n".join(text.replace("\r", "").splitlines()[-80:]))

    def _command(self) -> list[str]:
        return [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *self._accelerator.options),
            *("-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", str(self._image.kernel), "-append", self._append),
            *_disk("root", self._image.disk, "snapshot=on", "nvme"),
            *_disk("source", self._directory / "source", "readonly=on", "virtio-blk-pci"),
            *_disk("result", self._directory / "result", "cache=writeback", "virtio-blk-pci"),
            *("-chardev", f"file,id=console,path={_value(self._directory / 'console')}", "-serial", "chardev:console"),
            *("-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"),
        ]


def _disk(name: str, path: Path, options: str, device: str) -> tuple[str, ...]:
    drive = f"if=none,id={name},format=raw,file={_value(path)},{options}"
    return ("-drive", drive, "-device", f"{device},drive={name},serial=hivebox-{name}")


def _value(path: Path) -> str:
    """In a list of options of QEMU."""
    return str(path).replace(",", ",,")


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What the guest wrote; empty at its end or at the deadline."""
    assert process.stdout
    if not select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
        return b""
    return os.read(process.stdout.fileno(), 1 << 16)


def _started(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Reads up to the line that the guest prints before the command's first."""
    seen = b""
    while not seen.endswith(_START):
        piece = _read(process, deadline)
        if not piece:
            return False
        seen += piece
    return True


def _stream(process: subprocess.Popen[bytes], deadline: float) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while piece := _read(process, deadline):
        sys.stdout.write(visible(decoder.decode(piece)))
        sys.stdout.flush()


def visible(text: str) -> str:
    """What a guest prints reaches somebody's terminal: nothing in it may steer that."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
