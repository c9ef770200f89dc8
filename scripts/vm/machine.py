"""Boots an image with a job in QEMU and streams what it prints.

Root is an NVMe disk whose writes are thrown away; the job comes on one virtio disk and the result leaves on another,
found by serial number. The first serial port is the console, kept for when no result comes; the second is the job's
output. There is no network device.
"""

from __future__ import annotations

import codecs
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import job as jobs
from image import Image

from hivebox.errors import HiveboxError

_START = b"hivebox-vm: start\n"
_BOOT_S = 180
_END_S = 120
_RESULT_BYTES = 64 << 20
# Without hardware support. With cmpxchg16b QEMU 7.2 crashes every third boot of a 6.12 kernel, with five-level page tables
# it is slower.
_TCG = ("-accel", "tcg,thread=multi", "-cpu", "max,cx16=off,la57=off")


def run(image: Image, job: jobs.Job, append: str) -> jobs.Result:
    """The job's result. A guest that gives none is tried a second time: that is the machine's failure, not the job's."""
    for attempt in (1, 2):
        with tempfile.TemporaryDirectory(prefix="hivebox-vm-") as directory:
            machine = Machine(image, job, append, Path(directory))
            result = machine.run()
            if result:
                return result
            say(f"vm: {image.guest} gave no result (attempt {attempt}); its console:\n{machine.console()}")
    raise HiveboxError(f"the {image.guest} guest gave no result, twice", "see its console above", "")


class Machine:
    """One boot."""

    def __init__(self, image: Image, job: jobs.Job, append: str, directory: Path) -> None:
        self._image, self._job, self._directory = image, job, directory
        self._append = f"root=/dev/nvme0n1 rw console=ttyS0 panic=-1 {append}"
        self._source, self._result = directory / "source", directory / "result"

    def run(self) -> jobs.Result | None:
        self._job.pack(self._source)
        self._result.touch()
        os.truncate(self._result, _RESULT_BYTES)
        began = time.monotonic()
        with subprocess.Popen(
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(self._directory)}
        ) as process:
            try:
                if not _started(process, began + _BOOT_S):
                    return None
                say(f"vm: {self._image.guest} booted in {time.monotonic() - began:.0f} s")
                _stream(process, time.monotonic() + self._job.timeout_s + _END_S)
            finally:
                process.kill()
        say(f"vm: {self._image.guest} ended after {time.monotonic() - began:.0f} s")
        return jobs.unpack(self._result)

    def console(self) -> str:
        path = self._directory / "console"
        text = path.read_text(errors="replace") if path.exists() else ""
        return visible("\n".join(text.replace("\r", "").splitlines()[-80:]))

    def _command(self) -> list[str]:
        def drive(name: str, path: Path, options: str) -> tuple[str, str]:
            return "-drive", f"if=none,id={name},format=raw,file={path},{options}"

        return [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"),
            *_TCG,
            *("-smp", "2", "-m", "2048", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
            *("-kernel", str(self._image.kernel), "-append", self._append),
            *drive("root", self._image.disk, "snapshot=on"),
            *("-device", "nvme,drive=root,serial=hivebox-root"),
            *drive("source", self._source, "readonly=on"),
            *("-device", "virtio-blk-pci,drive=source,serial=hivebox-source"),
            *drive("result", self._result, "cache=writeback"),
            *("-device", "virtio-blk-pci,drive=result,serial=hivebox-result"),
            *("-chardev", f"file,id=console,path={self._directory / 'console'}", "-serial", "chardev:console"),
            *("-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"),
        ]


def _read(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What the guest wrote; empty at its end or at the deadline."""
    assert process.stdout
    wait_s = max(0.0, deadline - time.monotonic())
    if not select.select([process.stdout], [], [], wait_s)[0]:
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
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
