"""What a caller asks for, as plain data: the options of ``hivebox run``, the arguments of ``hivebox.run``."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.pipeline import Inputs
from hivebox.plan.resolve import Request
from hivebox.policy.load import load_policy, override, policy_sha256
from hivebox.policy.model import Allow, Mount, Policy
from hivebox.steps.environment import Sinks
from hivebox.steps.script import head_of, interpreter_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from hivebox.rootfs.store import Tree

_PROFILE_BY_SUFFIX = {".py": "default", ".sh": "shell", ".bash": "shell", ".js": "node", ".mjs": "node", ".cjs": "node"}
_PROFILE_BY_INTERPRETER = {"sh": "shell", "bash": "shell", "dash": "shell", "node": "node"}


class Job(Frozen):
    """One run. Either ``command`` or ``script``, a path; with ``script_fd`` the script is read from there, and the path
    is only its name. All paths are absolute. ``profile`` "" goes by the script's suffix or #! line. ``limits``: values
    by field of policy.model.Limits. ``allow``: rules as --allow-net spells them."""

    command: tuple[str, ...] = ()
    script: str = ""
    script_fd: int = -1
    arguments: tuple[str, ...] = ()
    profile: str = ""
    limits: Mapping[str, float | int] = {}
    mounts: tuple[Mount, ...] = ()
    project: str = ""
    env_set: tuple[tuple[str, str], ...] = ()
    env_pass: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    interpreter: str = ""
    out_dir: str = ""

    def policy(self) -> Policy:
        """The effective one. Raises HiveboxError, also for a job that cannot be one."""
        self._check()
        policy, _sources = load_policy(self.profile or self._usual_profile())
        return override(
            policy,
            limits=dict(self.limits),
            mounts=self._mounts(),
            env_set=self.env_set,
            env_pass=self.env_pass,
            interpreter=self.interpreter,
            allow=self._allow(),
        )

    def _usual_profile(self) -> str:
        """As plan/resolve.py finds the interpreter."""
        if not self.script:
            return "default"
        suffix = os.path.splitext(self.script)[1]
        if suffix in _PROFILE_BY_SUFFIX:
            return _PROFILE_BY_SUFFIX[suffix]
        words = interpreter_words(head_of(self.script, self.script_fd))
        return _PROFILE_BY_INTERPRETER.get(os.path.basename(words[0]), "default") if words else "default"

    def _mounts(self) -> tuple[Mount, ...]:
        if not self.project or any(mount.dest == self.project for mount in self.mounts):
            return self.mounts
        return (*self.mounts, Mount(os.path.realpath(self.project), self.project, "read_only"))

    def _allow(self) -> tuple[Allow, ...]:
        if not self.allow:
            return ()
        from hivebox.policy.hosts import read_rule  # noqa: PLC0415  # a run without rules has no network

        return tuple(read_rule(text) for text in self.allow)

    def _check(self) -> None:
        if not self.command and not self.script:
            raise HiveboxError("nothing to run", "no script and no command was given", "give one of them")
        if self.command and not self.command[0]:
            raise HiveboxError("nothing to run", "the name of the command is empty", "give one", exit_code=127)
        if self.project and not os.path.isdir(self.project):
            raise HiveboxError(
                f"cannot use the project {self.project}", "it is not a directory", "grant a file by --ro"
            )

    def inputs(self, policy: Policy, tree: Tree, sinks: Sinks, environ: Mapping[str, str] = os.environ) -> Inputs:
        """With this job's ``policy`` and the root that it names. ``environ`` is the caller's."""
        command, *arguments = self.command or ("",)
        request = Request(
            command=command,
            script=self.script,
            script_fd=self.script_fd,
            arguments=tuple(arguments) if self.command else self.arguments,
            stdin=sinks.stdin_fd >= 0,
            project=self.project,
            environ=environ,
        )
        return Inputs(policy, policy_sha256(policy), request, tree, sinks, self.out_dir)


def granted(source: str, dest: str = "", *, mode: str) -> Mount:
    """A grant of the caller's path ``source``, at its own place or at ``dest``. The caller's own links are followed
    once, here; after that none is (steps/source.py)."""
    return Mount(os.path.realpath(source), os.path.normpath(dest or os.path.abspath(source)), mode)
