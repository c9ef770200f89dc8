from hivebox.launch.channel import Channel
from hivebox.policy.model import Syscalls
from tests.harness import PLAIN_GROUPS, policy


def test_true(runner):
    report = runner.command("true")
    assert report.outcome == "ok"


def test_the_last_refused_call_is_not_answered(runner):
    """The script cannot make one more while it is being ended, however busy the host."""
    loop = "import os\nwhile True:\n try: os.chroot('/')\n except OSError: print('.', end='', flush=True)"
    chosen = policy(syscalls=Syscalls(groups=PLAIN_GROUPS, kill_after=3))
    report = runner.command("/usr/bin/python3", "-c", loop, policy=chosen)
    assert report.outcome == "killed_by_policy"
    assert {violation.name for violation in report.ending.violations} == {"chroot"}
    assert sum(violation.times for violation in report.ending.violations) == 3  # the path's address may vary
    assert report.stdout == b".."


def test_what_the_sandbox_said_last_is_heard_though_it_died_before_it_listened():
    """As when the kernel's OOM killer is faster than "go": ECONNRESET comes before the message."""
    ours, theirs = Channel.pair()
    theirs.send("exit", {"signal": 9})
    ours.send("go")
    theirs.close()
    assert ours.receive().body == {"signal": 9}
    assert ours.receive() is None
    ours.close()
