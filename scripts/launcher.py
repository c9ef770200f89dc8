"""Write .venv/bin/hivebox so that it starts without `site`, whose work is done here, once (1.5 ms).

Called by scripts/setup. What pip installs (bin/hivebox as it is) works the same, and stays where this cannot be
written: a first line with blanks in it, or a long one, is no interpreter to the kernel (execve(2)).
"""

from __future__ import annotations

import os
import sys
import sysconfig

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LONGEST = 127


def launcher(body: str) -> str:
    """``body`` is bin/hivebox. -I: nobody's PYTHONPATH or user site reaches the process that holds the key."""
    paths = dict.fromkeys((CHECKOUT, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    return (
        f"#!{sys.executable} -IS\nimport sys\n\nsys.prefix = sys.exec_prefix = {sys.prefix!r}\n"
        f"sys.path += {list(paths)!r}\n\n{body.partition(chr(10))[2]}"
    )


def main() -> None:
    first_line = f"#!{sys.executable} -IS"
    if len(first_line) > _LONGEST or any(letter.isspace() for letter in sys.executable):
        return
    with open(os.path.join(CHECKOUT, "bin", "hivebox"), encoding="utf-8") as file:
        text = launcher(file.read())
    target = os.path.join(sys.prefix, "bin", "hivebox")
    with open(target + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(target + ".new", 0o755)
    os.replace(target + ".new", target)


main()
