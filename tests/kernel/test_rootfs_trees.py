"""Trees at work: every kind of interpreter started inside its tree alone, and builders short of rights or space.

The trees are entered with unshare(1) and chroot(1), not with hivebox: this is about what is in them.
"""

from __future__ import annotations

import glob
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from hivebox.errors import HiveboxError
from hivebox.rootfs import bytecode, python, store, trees
from hivebox.rootfs.build import build
from hivebox.rootfs.store import Tree

NOBODY = 65534
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
CHECKOUT = Path(__file__).parent.parent.parent
REPORT = """
import asyncio, bz2, ctypes, ctypes.util, curses, decimal, hashlib, json, lzma, multiprocessing, os, readline, socket
import sqlite3, ssl, subprocess, sys, uuid, venv, zlib, zoneinfo
print(json.dumps({
    "executable": sys.executable, "prefix": sys.prefix, "version": sys.version_info[:2], "path": sys.path[1:],
    "certificates": len(ssl.create_default_context().get_ca_certs()),
    "berlin": str(zoneinfo.ZoneInfo("Europe/Berlin")), "encoding": sys.getfilesystemencoding(),
    "libc": ctypes.util.find_library("c"), "setlocale": __import__("locale").setlocale(0, "C.UTF-8"),
    "programs": sorted(os.listdir("/usr/bin")), "root": sorted(os.listdir("/")),
}))
"""


def pyenv() -> list[str]:
    """An interpreter built from source with a shared libpython, where there is one."""
    return sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[23].*/bin/python3")))[:1]


@pytest.fixture
def enter(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a tree as a sandbox would mount it: a tmpfs, the units, the links."""
    root = tmp_path / "root"
    root.mkdir()

    def enter(tree: Tree, *argv: str) -> subprocess.CompletedProcess[str]:
        lines = ["set -e", f"mount -t tmpfs none {root}", f"cd {root}", "mkdir -p dev proc tmp"]
        for unit in tree.mounts:
            source = tree.path + unit
            make = f"mkdir -p .{unit}" if os.path.isdir(source) else f"mkdir -p .{os.path.dirname(unit)}; touch .{unit}"
            lines += [make, f"mount --bind {source} .{unit}", f"mount -o remount,bind,ro,nosuid,nodev .{unit}"]
        for link, target in tree.symlinks:
            lines += [f"mkdir -p .{os.path.dirname(link)}", f"ln -s {target} .{link}"]
        for name, path in tree.etc:
            lines += ["mkdir -p etc", f"cp {tree.path}{path} etc/{name}"]
        for device in ("dev/null", "dev/urandom"):
            lines += [f"touch {device}", f"mount --bind /{device} {device}"]
        lines.append("mount -t proc proc proc")
        lines += [f"exec env -i PATH={tree.search_path} HOME=/tmp {CHROOT} . {shlex.join(argv)}"]
        command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "bash", "-c", "\n".join(lines)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return enter


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def make_venv(directory: Path, base: str, *options: str) -> str:
    subprocess.run([base, "-m", "venv", "--without-pip", *options, directory], check=True)
    (package,) = directory.glob("lib/python3.*/site-packages")
    (package / "in_venv.py").write_text("value = 42\n")
    return str(directory / "bin/python")


class TestPython:
    @pytest.mark.parametrize("interpreter", ["", *pyenv()])
    def test_a_base_interpreter(self, enter, interpreter):
        tree = build("python", interpreter)
        report = report_of(enter(tree, tree.interpreter, "-c", REPORT))
        assert report["executable"] == (interpreter or store.default_interpreter())
        assert report["certificates"] > 50
        assert report["encoding"] == "utf-8"
        assert report["libc"] == "libc.so.6"
        assert not [path for path in report["path"] if "packages" in path]
        assert {"etc", "usr"} <= set(report["root"])
        programs = set(report["programs"])
        assert {"python3", "python", "ls", "env"} <= programs
        assert not programs & {"sh", "bash", "apt", "dpkg", "pip", "pip3", "su", "sudo", "mount", "perl"}

    def test_the_tree_is_all_that_is_there(self, enter):
        tree = build("python", "")
        done = enter(
            tree, tree.interpreter, "-c", "import os; print(os.system('exit 3'), os.path.exists('/usr/bin/dpkg'))"
        )
        assert done.stdout.split()[-1] == "False"
        assert done.stdout.split()[0] != str(3 << 8)  # no shell

    def test_nothing_is_compiled_at_import(self, enter):
        tree = build("python", "")
        code = "import sys, json, asyncio, unittest, email.message; print(sum(1 for _ in sys.modules))"
        done = enter(tree, tree.interpreter, "-v", "-c", code)
        from_source = re.findall(r"code object from '([^']*[.]py)'", done.stderr)
        assert from_source == []
        assert len(re.findall(r"code object from '[^']*[.]pyc'", done.stderr)) > 50

    @pytest.mark.parametrize("options", [(), ("--copies",)])
    @pytest.mark.parametrize("base", ["", *pyenv()])
    def test_a_virtual_environment(self, enter, tmp_path, base, options):
        interpreter = make_venv(tmp_path / "venv", base or store.default_interpreter(), *options)
        tree = build("python", interpreter)
        done = enter(tree, tree.interpreter, "-c", "import in_venv, sys, ssl; print(in_venv.value, sys.prefix)")
        assert done.stdout.split() == ["42", str(tmp_path / "venv")], done.stderr
        done = enter(tree, "python3", "-c", "import in_venv; print(in_venv.value)")
        assert done.stdout == "42\n", done.stderr

    def test_a_virtual_environment_behind_links(self, enter, tmp_path):
        make_venv(tmp_path / "real" / "venv", store.default_interpreter())
        (tmp_path / "link").symlink_to("real")
        tree = build("python", str(tmp_path / "link/venv/bin/python"))
        done = enter(tree, tree.interpreter, "-c", "import in_venv, sys; print(in_venv.value, sys.prefix)")
        assert done.stdout.split() == ["42", str(tmp_path / "link/venv")], done.stderr

    def test_system_site_packages_come_only_when_the_environment_asks(self, tmp_path):
        base = store.default_interpreter()
        for options, expected in (((), False), (("--system-site-packages",), True)):
            tree = build("python", make_venv(tmp_path / f"venv{len(options)}", base, *options))
            packages = subprocess.run(
                [base, "-I", "-c", "import site; print(*site.getsitepackages())"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
            there = [path for path in packages if os.path.isdir(path) and os.listdir(path)]
            assert any(os.path.exists(tree.path + path) for path in there) == (expected and bool(there))

    def test_a_relocated_interpreter_with_an_alias_as_uv_installs_it(self, enter, tmp_path):
        """cpython-3.X.Y/ with a link cpython-3.X beside it, that an environment's ``home`` goes through; no bytecode."""
        base = store.default_interpreter()
        version = subprocess.run(
            [base, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        stdlib = subprocess.run(
            [base, "-c", "import os; print(os.path.dirname(os.__file__))"], capture_output=True, text=True, check=True
        ).stdout.strip()
        home = tmp_path / "uv" / f"cpython-{version}.9"
        ignored = shutil.ignore_patterns("test", "*-packages", "config-*", "__pycache__", "idlelib")
        shutil.copytree(stdlib, home / "lib" / f"python{version}", ignore=ignored, symlinks=True)
        (home / "bin").mkdir()
        shutil.copy(base, home / "bin" / f"python{version}")
        (tmp_path / "uv" / f"cpython-{version}").symlink_to(home.name)
        alias = tmp_path / "uv" / f"cpython-{version}" / "bin" / f"python{version}"
        interpreter = make_venv(tmp_path / "venv", str(alias))
        config = tmp_path / "venv/pyvenv.cfg"
        config.write_text(config.read_text().replace(str(home), str(alias.parent.parent)))
        tree = build("python", interpreter)
        code = "import in_venv, os, sys; print(in_venv.value, os.__file__, sys.prefix)"
        done = enter(tree, tree.interpreter, "-c", code)
        assert done.stdout.split()[0] == "42", done.stderr
        assert f"/uv/cpython-{version}" in done.stdout.split()[1]
        assert (str(alias.parent.parent), home.name) in tree.symlinks
        assert os.path.isfile(
            tree.path + bytecode.cache_path(f"{home}/lib/python{version}/os.py", f"cpython-{version.replace('.', '')}")
        )

    def test_a_virtual_environment_can_be_made_inside(self, enter):
        tree = build("python", "")
        code = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'venv', '--without-pip', '/tmp/v'], check=True)"
        code += "; print(subprocess.run(['/tmp/v/bin/python', '-c', 'import sys; print(sys.prefix)'], capture_output=True).stdout)"
        assert "/tmp/v" in enter(tree, tree.interpreter, "-c", code).stdout

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "no such file"),
            (b"#!/bin/sh\n", "no ELF program"),
            (Path("/bin/ls").read_bytes(), "Py_BytesMain"),
            (b"\x7fELF\1\1\1" + bytes(100), "32-bit"),
            (b"\x7fELF\2\1\1" + bytes(11) + b"\xf3\xf3" + bytes(100), "another architecture"),
        ],
    )
    def test_what_is_no_interpreter_is_refused_unexecuted(self, tmp_path, content, words):
        path = tmp_path / "python3"
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o755)
        with pytest.raises(HiveboxError, match=words) as caught:
            build("python", str(path))
        assert caught.value.hint

    def test_an_interpreter_without_its_library_is_refused(self, tmp_path):
        data = Path(store.default_interpreter()).read_bytes()
        stdlib = tmp_path / "lib/python3.99"
        stdlib.mkdir(parents=True)
        (stdlib / "os.py").write_text("")
        (tmp_path / "bin").mkdir()
        path = tmp_path / "bin/python3.99"
        path.write_bytes(data.replace(b"\0libm.so.6\0", b"\0libq.so.6\0"))
        path.chmod(0o755)
        with pytest.raises(HiveboxError, match=r"libq\.so\.6"):
            build("python", str(path))


class TestUntrustedEnvironment:
    """A virtual environment that came with somebody's repository, built by a user with secrets."""

    @pytest.fixture
    def venv(self, tmp_path) -> Path:
        (tmp_path / "secret").write_text("home = /HIVE-SECRET-7c1\n")
        make_venv(tmp_path / "venv", store.default_interpreter())
        return tmp_path / "venv"

    def secrets_in(self, tree: Tree) -> list[Path]:
        files = [path for path in Path(tree.path).rglob("*") if path.is_file() and not path.is_symlink()]
        return [path for path in files if b"HIVE-SECRET-7c1" in path.read_bytes()]

    def test_links_to_secrets_bring_nothing_in(self, tmp_path, venv):
        (packages,) = venv.glob("lib/python3.*/site-packages")
        (packages / "data.py").symlink_to(tmp_path / "secret")
        (packages / "libx.so").symlink_to(tmp_path / "secret")
        (packages / "dir").symlink_to(tmp_path)
        (venv / "share").symlink_to(tmp_path)
        assert self.secrets_in(build("python", str(venv / "bin/python"))) == []

    def test_a_configuration_that_is_a_link_does_not_count(self, tmp_path, venv):
        (venv / "pyvenv.cfg").unlink()
        (venv / "pyvenv.cfg").symlink_to(tmp_path / "secret")
        assert self.secrets_in(build("python", str(venv / "bin/python"))) == []

    def test_a_base_interpreter_that_is_a_link_to_a_secret_is_refused(self, tmp_path, venv):
        (tmp_path / "home").mkdir()
        (tmp_path / "home/python3").symlink_to(tmp_path / "secret")
        (venv / "pyvenv.cfg").write_text(f"home = {tmp_path / 'home'}\n")
        with pytest.raises(HiveboxError, match="no ELF program"):
            build("python", str(venv / "bin/python"))

    @pytest.fixture
    def base(self, tmp_path, venv) -> Path:
        """The repository brings the environment's Python, too, and its packages are wanted."""
        base = tmp_path / "repository/base"
        (base / "bin").mkdir(parents=True)
        shutil.copy(store.default_interpreter(), base / "bin/python3")
        (venv / "bin/python").unlink()
        (venv / "bin/python").symlink_to(base / "bin/python3")
        version = sys.version_info
        (base / "lib" / f"python{version[0]}.{version[1]}").mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text(
            f"home = {base}/bin\ninclude-system-site-packages = true\nversion = {version[0]}.{version[1]}\n"
        )
        return base

    def test_packages_of_the_base_that_are_a_link_out_of_it_are_refused(self, tmp_path, venv, base):
        (stdlib,) = base.glob("lib/python3.*")
        (stdlib / "os.py").touch()
        for name in ("site-packages", "dist-packages"):
            (stdlib / name).symlink_to("../../../../private")
            (tmp_path / "private").mkdir(exist_ok=True)
            (tmp_path / "private/key").write_text("HIVE-SECRET-7c1")
            with pytest.raises(HiveboxError, match="cannot use the packages of"):
                build("python", str(venv / "bin/python"))
            (stdlib / name).unlink()
        (base / "packages").mkdir()
        (base / "packages/in_base.py").write_text("value = 1\n")
        (stdlib / "site-packages").symlink_to("../../packages")
        tree = build("python", str(venv / "bin/python"))
        assert os.path.isfile(f"{tree.path}{base}/packages/in_base.py")
        assert os.path.isfile(f"{tree.path}{stdlib}/site-packages/in_base.py")  # and a Python inside finds them

    def test_a_standard_library_that_is_a_link_out_of_the_base_is_none(self, tmp_path, venv, base):
        (stdlib,) = base.glob("lib/python3.*")
        (tmp_path / "private").mkdir()
        (tmp_path / "private/os.py").write_text("key = 'HIVE-SECRET-7c1'\n")
        stdlib.rmdir()
        stdlib.symlink_to("../../../private")
        assert self.secrets_in(build("python", str(venv / "bin/python"))) == []  # the host's own is found, above it

    def test_what_became_a_link_after_it_was_found_is_no_standard_library(self, venv, base, monkeypatch):
        (stdlib,) = base.glob("lib/python3.*")
        (stdlib / "os.py").touch()
        find = python.find

        def find_and_swap(executable: str) -> python.Python:
            found = find(executable)
            (stdlib / "os.py").unlink()
            return found

        monkeypatch.setattr(python, "find", find_and_swap)
        with pytest.raises(HiveboxError, match=r"os\.py"):
            build("python", str(venv / "bin/python"))

    def test_nothing_of_the_state_directory_is_taken(self, tmp_path, venv, monkeypatch):
        """Wherever the environment lies."""
        monkeypatch.setenv("HIVEBOX_STATE", str(venv / "lib"))
        (venv / "lib").chmod(0o700)
        with pytest.raises(HiveboxError, match="where hivebox keeps its keys"):
            build("python", str(venv / "bin/python"))

    def test_a_configuration_that_is_a_fifo_does_not_count(self, venv):
        (venv / "pyvenv.cfg").unlink()
        os.mkfifo(venv / "pyvenv.cfg")
        assert build("python", str(venv / "bin/python")).interpreter == str(venv / "bin/python")

    @pytest.mark.parametrize("place", ["site-packages/evil.so", "bin/python"])
    def test_a_dynamic_linker_that_is_a_secret_is_not_taken(self, venv, place):
        data = Path(store.default_interpreter()).read_bytes()
        (linker,) = set(re.findall(rb"/lib\d*/ld-[^\0]+", data[:4096]))
        target = next(venv.glob("lib/python3.*")) / place if "so" in place else venv / place
        target.unlink(missing_ok=True)
        target.write_bytes(data.replace(linker, b"/etc/passwd".ljust(len(linker), b"\0")))
        target.chmod(0o755)
        try:
            tree = build("python", str(venv / "bin/python"))
        except HiveboxError as error:
            assert "its dynamic linker /etc/passwd" in str(error)
            assert place == "bin/python"
        else:
            assert place != "bin/python"
            assert os.path.exists(tree.path + str(target))
            assert not os.path.exists(tree.path + "/usr/share/hivebox/etc/passwd")

    def test_a_library_that_is_a_link_to_a_secret_is_not_taken(self, tmp_path, venv):
        if not shutil.which("gcc"):
            pytest.skip("no gcc")
        (packages,) = venv.glob("lib/python3.*/site-packages")
        source = tmp_path / "empty.c"
        source.write_text("int nothing;\n")
        subprocess.run(["gcc", "-shared", "-o", tmp_path / "libwanted.so", source], check=True)
        link = ["gcc", "-shared", "-o", packages / "evil.so", source, "-L", tmp_path, "-Wl,--no-as-needed", "-lwanted"]
        subprocess.run([*link, "-Wl,-rpath,$ORIGIN/libs"], check=True)
        (packages / "libs").mkdir()
        (packages / "libs/libwanted.so").symlink_to(tmp_path / "secret")
        tree = build("python", str(venv / "bin/python"))
        assert self.secrets_in(tree) == []
        manifest = json.loads(Path(tree.path + ".json").read_text())
        assert manifest["missing"] == [["libwanted.so", str(packages / "evil.so")]]
        (packages / "libs/libwanted.so").unlink()
        (packages / "libs/libwanted.so").symlink_to(tmp_path / "libwanted.so")  # a library is
        assert os.path.isfile(
            build("python", str(venv / "bin/python"), force=True).path + str(tmp_path / "libwanted.so")
        )

    def test_nothing_of_it_is_executed(self, tmp_path, venv):
        (packages,) = venv.glob("lib/python3.*/site-packages")
        (packages / "evil.pth").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})\n")
        (packages / "sitecustomize.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})\n")
        build("python", str(venv / "bin/python"))
        assert not (tmp_path / "ran").exists()
        subprocess.run([venv / "bin/python", "-c", ""], check=False, stderr=subprocess.DEVNULL)
        assert (tmp_path / "ran").exists()  # as it would have been


def test_shell(enter):
    tree = build("shell", "")
    script = (
        "ls / | sort | head -1; awk 'BEGIN { print 6*7 }'; find /usr/bin -name 'gr?p' | xargs basename; seq 3 | tac"
    )
    done = enter(tree, "bash", "-ec", script + "; echo a,b | cut -d, -f2; echo hi | gzip | zcat; date -d @0 +%Y")
    assert done.stdout.split() == ["bin", "42", "grep", "3", "2", "1", "b", "hi", "1970"], done.stderr


def test_shell_with_git(enter):
    if not os.path.exists("/usr/bin/git"):
        pytest.skip("no git")
    script = "cd /tmp; git init -q r; cd r; git config user.name n; git config user.email e; echo a > f; git add f"
    script += "; git commit -qm first; git log --format=%s; echo b >> f; git diff | tail -1"
    done = enter(build("shell", ""), "bash", "-ec", script)
    assert done.stdout.split() == ["first", "+b"], done.stderr


def test_node(enter):
    if not (os.path.exists("/usr/bin/node") or os.path.exists("/usr/bin/nodejs")):
        pytest.skip("no node")
    tree = build("node", "")
    code = (
        "console.log(require('crypto').createHash('md5').update('').digest('hex'), require('fs').existsSync('/bin/sh'))"
    )
    done = enter(tree, tree.interpreter, "-e", code)
    assert done.stdout.split() == ["d41d8cd98f00b204e9800998ecf8427e", "false"], done.stderr


def test_host(enter):
    tree = store.ensure("host", "")
    done = enter(tree, "bash", "-ec", "id -u; awk 'BEGIN { print 6*7 }'; test ! -e /home; test ! -e /etc/ssl/private")
    assert done.stdout.split() == ["0", "42"], done.stderr


def test_python_test_recipe_runs_the_regression_suite(enter):
    base = store.default_interpreter()
    if subprocess.run([base, "-c", "import test.test_json"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("no test package for the interpreter (Debian: libpython3-testsuite)")
    tree = build("python-test", "")
    done = enter(tree, tree.interpreter, "-m", "test", "-q", "test_bool", "test_json", "test_zoneinfo")
    assert "Result: SUCCESS" in done.stdout.replace("Tests result", "Result"), done.stdout[-2000:] + done.stderr[-2000:]


class TestSpace:
    def test_a_full_disk_is_named_and_loses_nothing(self, tmp_path, monkeypatch):
        """A tmpfs with room for one tree, not for two."""
        state = tmp_path / "state"
        state.mkdir()
        monkeypatch.setenv("HIVEBOX_STATE", str(state))
        monkeypatch.setenv("HIVEBOX_CONFIG", str(tmp_path / "config"))
        recipes = tmp_path / "config/rootfs"
        recipes.mkdir(parents=True)
        (tmp_path / "big").write_bytes(bytes(8 << 20))
        (recipes / "small.yaml").write_text("programs: {required: [cat]}\n")
        (recipes / "big.yaml").write_text(f"files: {{required: [{tmp_path / 'big'}]}}\n")
        code = (
            "import os\nfrom hivebox.errors import HiveboxError\nfrom hivebox.rootfs import store, trees\n"
            "from hivebox.rootfs.build import build\ntree = build('small', '')\n"
            "try: build('big', '')\nexcept HiveboxError as error: print(error)\n"
            "print(os.listdir(store.root_dir() + '/building'), store.find('small', '') == tree, trees.verify(tree.digest))"
        )
        script = f"mount -t tmpfs -o size=6m,mode=700 none {state}; exec {shlex.join([sys.executable, '-c', code])}"
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "bash", "-ec", script],
            capture_output=True, text=True, check=False, cwd=CHECKOUT,
        )  # fmt: skip
        assert "no space left on device (ENOSPC)" in done.stdout, done.stderr
        assert "HIVEBOX_STATE" in done.stdout
        assert done.stdout.splitlines()[-1] == "[] True []"


def as_nobody(action: Callable[[], object]) -> object:
    """The result of ``action`` in a child without root's rights."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            result = action()
        except BaseException:
            result = traceback.format_exc()
        os.write(write_fd, pickle.dumps(result))
        os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        result = pickle.load(pipe)
    os.waitpid(pid, 0)
    return result


@pytest.mark.root
class TestRights:
    @pytest.fixture
    def place(self, scratch, monkeypatch) -> Path:
        """Readable by everyone, unlike pytest's own directories."""
        shutil.copytree(CHECKOUT / "rootfs", scratch / "config/rootfs")
        monkeypatch.setenv("HIVEBOX_CONFIG", str(scratch / "config"))
        monkeypatch.setenv("HIVEBOX_STATE", str(scratch / "state"))
        return scratch

    def test_an_ordinary_user_builds_in_a_closed_home(self, place):
        home = place / "home"
        home.mkdir(mode=0o700)
        interpreter = make_venv(home / "venv", store.default_interpreter())
        (home / "state").mkdir()
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        os.environ["HIVEBOX_STATE"] = str(home / "state")
        tree = as_nobody(lambda: build("python", interpreter))
        assert isinstance(tree, Tree), tree
        assert as_nobody(lambda: (store.find("python", interpreter) == tree, trees.verify(tree.digest))) == (True, [])
        assert os.stat(tree.path).st_uid == NOBODY

    def test_what_root_builds_others_can_use(self, place):
        old = os.umask(0o077)
        try:
            tree = build("shell", "")
        finally:
            os.umask(old)
        assert os.stat(place / "state").st_mode & 0o077 == 0
        held = store.hold(tree)

        def unreadable() -> list[str]:
            found = []
            for directory, _, names in os.walk("."):
                found += [
                    name for name in names if not os.access(f"{directory}/{name}", os.R_OK, follow_symlinks=False)
                ]
            return found

        here = os.getcwd()
        os.fchdir(held)
        try:
            assert as_nobody(unreadable) == []
            assert as_nobody(lambda: len(os.listdir("usr/bin")) > 50) is True
        finally:
            os.chdir(here)
            os.close(held)
