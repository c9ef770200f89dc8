"""hivebox: run a script nobody has reviewed as if it were harmless, and sign a record of what it did.

    import hivebox

    report = hivebox.run(["python3", "-c", "print(1)"], timeout_s=5)
    report.outcome, report.exit_code, report.stdout
    report = await hivebox.run_async(script="job.py", profile="strict")

Theory of operation. The folders follow the life of one run::

    profiles/*.yaml -> policy/ -> plan/ (ordered steps/) -> launch/ -> supervise/ -> report -> audit/

``pipeline.begin()`` is that line as one page of code. Imports go only downward in the list that
``tests/test_architecture.py`` checks; docs/architecture.md gives the reasons.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hivebox.errors import HiveboxError
    from hivebox.library import run, run_async
    from hivebox.report import Report

__version__ = "0.1.0"
__all__ = ["HiveboxError", "Report", "run", "run_async"]

_WHERE = {"HiveboxError": "errors", "Report": "report", "run": "library", "run_async": "library"}


def __getattr__(name: str) -> object:
    """Imported when it is asked for: the command line needs none of it, and pays for every import."""
    if name not in _WHERE:
        raise AttributeError(f"module 'hivebox' has no attribute {name!r}")
    return getattr(__import__(f"hivebox.{_WHERE[name]}", fromlist=[name]), name)
