"""Policy + request -> plan. The one place that knows which steps there are and in which order they are applied."""

from __future__ import annotations

import os

from hivebox.errors import HiveboxError
from hivebox.frozen import Frozen
from hivebox.plan.plan import Plan
from hivebox.policy.model import Policy
from hivebox.rootfs.store import Tree
from hivebox.steps.environment import Environment, Streams
from hivebox.steps.execute import Execute
from hivebox.steps.grants import Grants
from hivebox.steps.identity import Identity
from hivebox.steps.landlock import Landlock
from hivebox.steps.limits import CgroupStep, Rlimits
from hivebox.steps.namespaces import Namespaces
from hivebox.steps.network import Network
from hivebox.steps.privileges import Privileges
from hivebox.steps.rootfs import Pivot, Root, Rootfs
from hivebox.steps.script import SCRIPT_DIR, Script, interpreter_words
from hivebox.steps.step import Step
from hivebox.steps.syscalls import Syscalls
from hivebox.steps.workdir import WORK, Workdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_SUFFIX = {".py": "python3", ".sh": "bash", ".bash": "bash", ".js": "node", ".mjs": "node", ".cjs": "node"}


class Request(Frozen):
    """What the caller asks for, beside the policy. Exactly one of ``script`` and ``command`` is set; ``arguments``
    follow it. ``script_fd``, if any, is what the script is read from; then its path is only a name. ``project`` is an
    absolute directory, granted at its own path, that becomes the working directory. ``environ`` is the caller's."""

    script: str = ""
    command: str = ""
    arguments: tuple[str, ...] = ()
    stdin: bool = False
    project: str = ""
    script_fd: int = -1
    environ: Mapping[str, str] = os.environ


def resolve(policy: Policy, request: Request, tree: Tree, program: tuple[bytes, str], run_id: str, state: str) -> Plan:
    """The plan of one run. ``program`` is the compiled filter and its SHA-256. Reads the script, opens nothing else.
    Raises HiveboxError."""
    _check_sockets(policy)
    identity = Identity(state)
    limits = policy.limits
    namespaces = Namespaces()
    network = Network(policy.network, run_id)
    mounts = policy.filesystem.mounts
    reached = (*(mount.source for mount in mounts), *(tree.path + unit for unit in tree.mounts))
    cgroup = CgroupStep(limits, run_id, reached)
    workdir = Workdir(
        size_bytes=limits.workdir_size_bytes,
        inodes=limits.workdir_inodes,
        executable=policy.filesystem.work_exec,
    )
    streams = Streams(stdin=request.stdin, output_size_bytes=limits.output_size_bytes)
    environment = Environment(tree.search_path, policy.environment, request.environ)
    script, argv = _command(request, tree)
    syscalls = Syscalls(policy.syscalls, *program, cgroup)
    execute = Execute(argv, request.project or WORK, environment, syscalls)
    lock = Landlock(mounts, tree.mounts, work_exec=policy.filesystem.work_exec)
    skipped = () if lock.available else (_skip_landlock(policy),)
    steps: tuple[Step | None, ...] = (
        cgroup,
        namespaces,
        identity,
        network,
        Root(identity, terminals="@process" in policy.syscalls.groups, names=bool(policy.network.allow)),
        workdir,
        Rootfs(tree, identity),
        Grants(mounts, workdir, identity),
        script,
        Pivot(),
        streams,
        environment,
        Rlimits(limits, cgroup),
        execute,
        lock if lock.available else None,
        Privileges(),
        syscalls,
    )
    return Plan(
        steps=tuple(step for step in steps if step),
        namespaces=namespaces,
        cgroup=cgroup,
        network=network,
        workdir=workdir,
        streams=streams,
        execute=execute,
        wall_time_s=limits.wall_time_s,
        skipped=skipped,
    )


def _check_sockets(policy: Policy) -> None:
    syscalls = policy.syscalls
    if policy.network.allow and "@network-local" not in syscalls.groups and "socket" not in syscalls.allow:
        raise HiveboxError(
            "cannot reach anything without sockets",
            "the network has rules, and no group of system calls has socket",
            'add it: syscalls: {add_groups: ["@network-local"]}',
        )


def _skip_landlock(policy: Policy) -> tuple[str, str]:
    reason = "this kernel has no Landlock, or does not enable it at boot"
    if "landlock" not in policy.optional:
        raise HiveboxError(
            "cannot apply landlock",
            f"landlock_create_ruleset: {reason}",
            "add landlock to the kernel's lsm= list, or mark it optional in the profile: optional: [landlock]",
        )
    return "landlock", reason


def _command(request: Request, tree: Tree) -> tuple[Script | None, tuple[str, ...]]:
    if not request.script:
        return None, (request.command, *request.arguments)
    path = os.path.abspath(request.script)
    inside_project = request.project and os.path.commonpath((path, request.project)) == request.project
    dest = path if inside_project else f"{SCRIPT_DIR}/{os.path.basename(path)}"
    script = Script(path, dest, request.script_fd)
    return script, (*_interpreter(script, path, tree), script.dest, *request.arguments)


def _interpreter(script: Script, path: str, tree: Tree) -> tuple[str, ...]:
    """By suffix, else by the ``#!`` line, whose program is looked up in the sandbox. Never by the file's mode: scripts
    from another system come without it, and with line ends that make ``#!`` fail."""
    by_suffix = _BY_SUFFIX.get(os.path.splitext(path)[1])
    if by_suffix:
        return (_python(tree, by_suffix),)
    head = script.head()
    if not head.startswith(b"#!"):
        raise HiveboxError(
            f"cannot run {path}",
            "neither its suffix nor a #! line says by which interpreter",
            f"name it: hivebox run --ro {path} -- INTERPRETER {path}",
            exit_code=126,
        )
    words = interpreter_words(head)
    if not words:
        raise HiveboxError(f"cannot run {path}", "its #! line names no interpreter", "mend the line", exit_code=126)
    if any("\0" in word for word in words):
        raise HiveboxError(f"cannot run {path}", "its #! line has a NUL byte", "mend the line", exit_code=126)
    return (_python(tree, os.path.basename(words[0])), *words[1:])


def _python(tree: Tree, name: str) -> str:
    """``python3`` is the tree's own interpreter, by the path under which it finds its environment."""
    return tree.interpreter if tree.interpreter and name.startswith("python") else name
