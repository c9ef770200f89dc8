"""Building, finding, checking and removing trees, with a recipe small enough to build in a few milliseconds."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hivebox.errors import HiveboxError
from hivebox.rootfs import bytecode, inventory, stage, store, trees
from hivebox.rootfs.build import build

RECIPE = "description: small\nprograms: {{required: [cat]}}\nfiles: {{required: [{data}]}}\n"


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Content for a recipe called ``small``, in a state directory of its own."""
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("HIVEBOX_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    directory = tmp_path / "data"
    (directory / "sub").mkdir(parents=True)
    (directory / "sub" / "file").write_text("content")
    (tmp_path / "config" / "rootfs").mkdir(parents=True)
    (tmp_path / "config" / "rootfs" / "small.yaml").write_text(RECIPE.format(data=directory))
    return directory


def names_in(name: str) -> list[str]:
    return sorted(os.listdir(os.path.join(store.root_dir(), name)))


def builder(*statements: str, **environment: str) -> subprocess.Popen[str]:
    code = "from hivebox.rootfs.build import build; from hivebox.rootfs import stage; import os, time, sys\n"
    code += "\n".join(statements)
    environ = {**os.environ, **environment}
    return subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True)


class TestFind:
    def test_nothing_is_found_before_a_build_and_the_same_after(self, data):
        assert store.find("small", "") is None
        tree = build("small", "")
        assert store.find("small", "") == tree
        assert (Path(tree.path) / str(data)[1:] / "sub" / "file").read_text() == "content"
        assert (Path(tree.path) / "usr/bin/cat").read_bytes() == Path("/usr/bin/cat").read_bytes()

    def test_ensure_builds_once(self, data):
        phases = []
        tree = store.ensure("small", "", lambda phase, done, total: phases.append((phase, done, total)))
        assert phases[0][0] == "reading"
        assert phases[-1][1] == phases[-1][2] > 0
        phases.clear()
        assert store.ensure("small", "", lambda *event: phases.append(event)) == tree
        assert not phases

    def test_a_changed_source_makes_it_stale(self, data):
        before = build("small", "")
        (data / "new").write_text("x")
        assert store.find("small", "") is None
        after = build("small", "")
        assert after.digest != before.digest
        assert store.find("small", "") == after

    def test_a_changed_recipe_makes_it_stale(self, data, tmp_path):
        build("small", "")
        with (tmp_path / "config/rootfs/small.yaml").open("a") as file:
            file.write("exclude: [/nothing]\n")
        assert store.find("small", "") is None

    def test_a_recipe_of_the_same_name_that_goes_before_makes_it_stale(self, data, tmp_path, monkeypatch):
        build("small", "")
        other = tmp_path / "other/rootfs"
        other.mkdir(parents=True)
        (other / "small.yaml").write_text((tmp_path / "config/rootfs/small.yaml").read_text())
        assert store.find("small", "") is not None
        monkeypatch.setenv("HIVEBOX_CONFIG", str(tmp_path / "other"))
        assert store.find("small", "") is None

    def test_something_missing_that_appears_makes_it_stale(self, data, tmp_path):
        late = tmp_path / "late"
        recipe = tmp_path / "config/rootfs/small.yaml"
        recipe.write_text(f"files: {{required: [{data}], optional: [{late}]}}\n")
        build("small", "")
        assert store.find("small", "") is not None
        late.write_text("x")
        assert store.find("small", "") is None

    def test_an_index_of_another_version_counts_as_none(self, data):
        build("small", "")
        path = Path(store.index_path("small", ""))
        for text in ("", "{", "[]", json.dumps({**json.loads(path.read_text()), "format": 99})):
            path.write_text(text)
            assert store.find("small", "") is None

    def test_a_removed_tree_is_not_found(self, data):
        tree = build("small", "")
        os.unlink(tree.path + ".json")
        assert store.find("small", "") is None
        assert build("small", "") == tree

    def test_the_state_may_be_reached_through_a_link(self, data, tmp_path, monkeypatch):
        tree = build("small", "")
        (tmp_path / "link").symlink_to(tmp_path / "state")
        monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "link"))
        assert store.find("small", "") == tree

    def test_hot_path_imports_stay_light(self):
        heavy = ("yaml", "dataclasses", "subprocess", "shutil", "argparse", "hivebox.rootfs.build", "hivebox.kernel")
        code = f"import hivebox.rootfs.store, sys; print([n for n in {heavy} if n in sys.modules])"
        done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
                              capture_output=True, text=True, check=True)  # fmt: skip
        assert done.stdout.strip() == "[]"


class TestContent:
    def test_the_same_input_gives_the_same_digest(self, data, tmp_path, monkeypatch):
        package = data / "package.py"
        package.write_text("def f(x):\n    return x in {'a', 'bb', 'ccc'}, 'a b', 1.5\n")
        first = builder("print(build('small', '').digest)", PYTHONHASHSEED="1")
        os.utime(package, (1, 1))
        second = builder("print(build('small', '').digest)", PYTHONHASHSEED="2", HIVEBOX_STATE=str(tmp_path / "second"))
        assert first.communicate()[0] == second.communicate()[0] != ""

    def test_modes_are_normalised(self, data):
        for name, mode in (("setuid", 0o6755), ("open", 0o666), ("closed", 0o400), ("run", 0o700)):
            (data / name).write_text("x")
            (data / name).chmod(mode)
        (data / "sub").chmod(0o2777)
        old = os.umask(0o077)
        try:
            tree = build("small", "")
        finally:
            os.umask(old)
        copied = Path(tree.path) / str(data)[1:]
        modes = {name: stat.S_IMODE((copied / name).stat().st_mode) for name in os.listdir(copied)}
        assert modes == {"setuid": 0o755, "open": 0o644, "closed": 0o644, "run": 0o755, "sub": 0o755}
        assert stat.S_IMODE(os.stat(tree.path).st_mode) == 0o755

    def test_a_later_edit_of_the_source_does_not_reach_the_tree(self, data):
        tree = build("small", "")
        (data / "sub" / "file").open("a").write("more")
        assert trees.verify(tree.digest) == []

    def test_links_are_copied_and_never_followed(self, data, tmp_path):
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "key").write_text("SECRET")
        (data / "to-file").symlink_to(secret / "key")
        (data / "to-dir").symlink_to(secret)
        tree = build("small", "")
        copied = Path(tree.path) / str(data)[1:]
        assert os.readlink(copied / "to-dir") == str(secret)
        assert not [
            p for p in Path(tree.path).rglob("*") if p.is_file() and not p.is_symlink() and b"SECRET" in p.read_bytes()
        ]

    def test_sockets_and_fifos_are_left_out(self, data):
        os.mkfifo(data / "fifo")
        assert not (Path(build("small", "").path) / str(data)[1:] / "fifo").exists()

    def test_a_source_swapped_for_a_link_stops_the_build(self, data, tmp_path, monkeypatch):
        """The owner of a directory races a builder with more rights."""
        (tmp_path / "secret").write_text("SECRET")

        def swap(phase: str, _done: int, _total: int) -> None:
            if phase == "copying" and not (data / "sub/file").is_symlink():
                (data / "sub" / "file").unlink()
                (data / "sub" / "file").symlink_to(tmp_path / "secret")

        with pytest.raises(HiveboxError, match="replaced by a symbolic link"):
            build("small", "", progress=swap)
        assert store.find("small", "") is None
        assert names_in("building") == names_in("trees") == []

    def test_a_fifo_where_bytecode_should_be_does_not_stop_a_build(self, data):
        (data / "module.py").write_text("x = 1\n")
        cached = Path(bytecode.cache_path(str(data / "module.py"), sys.implementation.cache_tag))
        cached.parent.mkdir()
        os.mkfifo(cached)
        assert bytecode.of(str(data / "module.py"), "cpython-30") is None
        assert bytecode.of(str(data / "module.py"), sys.implementation.cache_tag) is not None  # compiled

    def test_bytecode_is_made_of_no_link_and_no_fifo(self, data, tmp_path):
        (tmp_path / "secret.py").write_text("key = 1\n")
        (data / "link.py").symlink_to(tmp_path / "secret.py")
        os.mkfifo(data / "fifo.py")
        for name in ("link.py", "fifo.py"):
            with pytest.raises(OSError, match=r"[Tt]oo many levels|not a regular file"):
                bytecode.of(str(data / name), sys.implementation.cache_tag)

    def test_a_source_too_large_to_compile_has_no_bytecode(self, data):
        with (data / "module.py").open("wb") as file:
            file.truncate(300 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert bytecode.of(str(data / "module.py"), sys.implementation.cache_tag) is None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10

    @pytest.mark.parametrize("bound", ["_LARGEST_FILE", "_LARGEST_TREE"])
    def test_a_tree_has_a_largest_size(self, data, monkeypatch, bound):
        with (data / "sparse").open("wb") as file:
            file.truncate(4 << 20)
        monkeypatch.setattr(stage, bound, (4 << 20) - 1)
        with pytest.raises(HiveboxError, match="as large as that"):
            build("small", "")
        assert names_in("building") == names_in("trees") == []

    def test_and_a_largest_number_of_files(self, data, monkeypatch):
        monkeypatch.setattr(inventory, "_MOST_ENTRIES", 200)
        for number in range(200):
            (data / str(number)).touch()
        with pytest.raises(HiveboxError, match="of so many"):
            build("small", "")

    def test_excluded_paths_are_left_out(self, data, tmp_path):
        for name in ("sub/a.tmp", "a.tmp", "sub/deep"):
            (data / name).write_text("x")
        with (tmp_path / "config/rootfs/small.yaml").open("a") as file:
            file.write(f"exclude: ['{data}/sub/*.tmp', '{data}/*/deep']\n")
        copied = Path(build("small", "").path) / str(data)[1:]
        assert sorted(str(p.relative_to(copied)) for p in copied.rglob("*")) == ["a.tmp", "sub", "sub/file"]

    def test_etc_is_relocated_and_linked(self, data, tmp_path):
        (tmp_path / "config/rootfs/small.yaml").write_text("files: {required: [/etc/os-release, /etc/ssl/openssl.cnf]}")
        tree = build("small", "")
        assert ("/etc/ssl", "/usr/share/hivebox/etc/ssl") in tree.symlinks
        assert tree.mounts == ("/usr",)
        kept = Path(tree.path) / "usr/share/hivebox/etc"
        assert (kept / "ssl/openssl.cnf").read_bytes() == Path("/etc/ssl/openssl.cnf").read_bytes()

    @pytest.mark.parametrize("place", ["/proc/version", "/sys/kernel/uevent_seqnum"])
    def test_the_sandboxs_own_directories_are_refused(self, data, tmp_path, place):
        (tmp_path / "config/rootfs/small.yaml").write_text(f"files: {{required: [{place}]}}")
        with pytest.raises(HiveboxError, match="the sandbox's own"):
            build("small", "")

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("programs: {required: [no-such-program]}", "no program no-such-program"),
            ("libraries: {required: [libnosuch.so.1]}", "no library libnosuch.so.1"),
            ("files: {required: [/no/such]}", "/no/such"),
        ],
    )
    def test_what_is_required_and_missing_is_named(self, data, tmp_path, text, words):
        (tmp_path / "config/rootfs/small.yaml").write_text(text)
        with pytest.raises(HiveboxError, match=words):
            build("small", "")


class TestAtomic:
    def test_two_builds_at_once_agree(self, data):
        both = [builder("print(build('small', '').path)") for _ in range(2)]
        paths = {process.communicate()[0].strip() for process in both}
        assert [process.returncode for process in both] == [0, 0]
        assert len(paths) == 1
        assert len(names_in("trees")) == 2  # the tree and its manifest
        assert names_in("building") == []

    def test_a_killed_build_leaves_nothing_that_counts(self, data):
        process = builder(
            "def stop(phase, done, total):",
            "    if phase == 'copying' and done == total: print('copied', flush=True); time.sleep(60)",
            "build('small', '', progress=stop)",
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "copied\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(names_in("building")) == 1
        assert store.find("small", "") is None
        assert trees.list_trees() == []
        tree = build("small", "")
        assert names_in("building") == []
        assert trees.verify(tree.digest) == []

    def test_a_tree_without_manifest_is_replaced(self, data):
        tree = build("small", "")
        os.unlink(tree.path + ".json")
        (Path(tree.path) / "usr/bin/cat").unlink()
        assert build("small", "") == tree
        assert trees.verify(tree.digest) == []
        assert names_in("building") == []

    def test_a_build_waits_for_another(self, data):
        process = builder(
            "def stop(phase, done, total):",
            "    if phase == 'copying' and done == 0: print('copying', flush=True); time.sleep(0.5)",
            "build('small', '', progress=stop)",
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"
        phases = []
        start = time.monotonic()
        build("small", "", progress=lambda phase, _done, _total: phases.append(phase))
        assert phases == ["waiting for another build"]  # and then takes what the other has built
        assert time.monotonic() - start > 0.2
        process.communicate()

    def test_an_unwritable_state_directory_is_named(self, data, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "file" / "state"))
        with pytest.raises(HiveboxError, match="cannot use the state directory"):
            build("small", "")


class TestVerify:
    def test_every_kind_of_difference(self, data):
        for name in ("changed", "missing", "mode", "type", "link"):
            (data / name).write_text("before")
        tree = build("small", "")
        assert trees.verify(tree.digest) == []
        copied = Path(tree.path) / str(data)[1:]
        (copied / "changed").write_text("AFTER!")
        (copied / "missing").unlink()
        (copied / "mode").chmod(0o4755)
        (copied / "type").unlink()
        (copied / "type").mkdir()
        (copied / "link").unlink()
        (copied / "link").symlink_to("/etc/shadow")
        (copied / "added").write_text("x")
        found = {(d.kind, d.path.removeprefix(f"{data}/")) for d in trees.verify(tree.digest)}
        assert found == {
            ("changed", "changed"), ("missing", "missing"), ("mode", "mode"), ("type", "type"), ("type", "link"),
            ("added", "added"),
        }  # fmt: skip

    def test_an_edited_manifest_is_found(self, data):
        tree = build("small", "")
        target = Path(tree.path) / str(data)[1:] / "sub/file"
        target.write_text("altered")
        manifest = json.loads(Path(tree.path + ".json").read_text())
        for row in manifest["entries"]:
            if row[0] == f"{data}/sub/file":
                row[4] = hashlib.sha256(b"altered").hexdigest()
        Path(tree.path + ".json").write_text(json.dumps(manifest))
        assert trees.verify(tree.digest) == [trees.Difference("changed", "")]

    def test_force_repairs_a_damaged_tree(self, data):
        tree = build("small", "")
        (Path(tree.path) / "usr/bin/cat").write_text("evil")
        assert build("small", "") == tree
        assert trees.verify(tree.digest) != []
        assert build("small", "", force=True) == tree
        assert trees.verify(tree.digest) == []

    @pytest.mark.parametrize("digest", ["../../etc", "0" * 63, "host:" + "0" * 64])
    def test_what_is_no_digest_is_refused(self, data, digest):
        with pytest.raises(HiveboxError, match="no digest"):
            trees.verify(digest)


class TestRemove:
    def test_only_stale_trees_go(self, data):
        old = build("small", "")
        (data / "new").write_text("x")
        new = build("small", "")
        assert {info.digest: info.fresh for info in trees.list_trees()} == {old.digest: False, new.digest: True}
        assert trees.remove_unused([old.digest]) == []
        assert trees.remove_unused() == [old.digest]
        assert [info.digest for info in trees.list_trees()] == [new.digest]
        assert store.find("small", "") == new

    def test_a_tree_in_use_stays(self, data):
        old = build("small", "")
        held = store.hold(old)
        (data / "new").write_text("x")
        build("small", "")
        assert trees.remove_unused() == []
        os.close(held)
        assert trees.remove_unused() == [old.digest]
        with pytest.raises(HiveboxError, match="cannot open the root filesystem"):
            store.hold(old)

    def test_a_tree_that_others_may_change_is_not_used(self, data):
        tree = build("small", "")
        os.chmod(tree.path, 0o777)
        with pytest.raises(HiveboxError, match="that others can change"):
            store.hold(tree)
        os.close(store.hold(build("small", "", force=True)))

    def test_force_does_not_pull_a_tree_from_under_a_sandbox(self, data):
        held = store.hold(build("small", ""))
        build("small", "", force=True)
        assert os.listdir(held)
        os.close(held)
        build("small", "", force=True)
        assert names_in("building") == []


class TestDefaultInterpreter:
    def test_is_never_hiveboxs_own_environment(self, monkeypatch):
        for active in ("", sys.prefix):
            monkeypatch.setenv("VIRTUAL_ENV", active)
            chosen = store.default_interpreter()
            assert os.path.realpath(chosen) == chosen
            assert not os.path.isfile(os.path.join(os.path.dirname(os.path.dirname(chosen)), "pyvenv.cfg"))

    def test_is_the_active_environments(self, tmp_path, monkeypatch):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/python").symlink_to(sys.executable)
        monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
        assert store.default_interpreter() == f"{tmp_path}/bin/python"

    def test_an_environment_that_is_gone_does_not_count(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "gone"))
        assert store.default_interpreter() == os.path.realpath(getattr(sys, "_base_executable", sys.executable))


class TestHost:
    def test_is_not_content_addressed_and_never_built(self, data):
        tree = store.ensure("host", "")
        assert tree.digest.startswith("host:")
        assert "/usr" in tree.mounts
        assert not [unit for unit in tree.mounts if not os.path.exists(tree.path + unit)]
        assert not any("private" in os.listdir(unit) for unit in tree.mounts if os.path.isdir(unit))
        assert not os.path.exists(store.root_dir())

    def test_an_interpreter_elsewhere_is_refused(self, data, tmp_path):
        with pytest.raises(HiveboxError, match="is not below"):
            store.ensure("host", str(tmp_path / "python"))


class TestBytecode:
    TAG = sys.implementation.cache_tag

    def test_is_compiled_when_the_host_has_none(self, tmp_path):
        source = tmp_path / "module.py"
        source.write_text("value = 1\n")
        assert bytecode.of(str(source), self.TAG) is not None
        assert bytecode.of(str(source), "cpython-30") is None
        source.write_text("value = \n")
        assert bytecode.of(str(source), self.TAG) is None

    def test_is_taken_from_the_host_only_when_it_fits_the_source(self, tmp_path):
        source = tmp_path / "module.py"
        source.write_text("value = 1\n")
        tag = "cpython-39"  # not of this interpreter, so that nothing is compiled
        cached = Path(bytecode.cache_path(str(source), tag))
        cached.parent.mkdir()
        status = source.stat()

        def host_has(mtime: int, size: int, flags: int = 0) -> bytes | None:
            words = [flags, mtime, size]
            cached.write_bytes(b"a\r\r\n" + b"".join(word.to_bytes(4, "little") for word in words) + b"code")
            return bytecode.of(str(source), tag)

        fitting = host_has(int(status.st_mtime), status.st_size)
        assert fitting is not None
        assert fitting[:8] == b"a\r\r\n\1\0\0\0"
        assert fitting[16:] == b"code"
        assert host_has(int(status.st_mtime) - 1, status.st_size) is None
        assert host_has(int(status.st_mtime), status.st_size + 1) is None

    def test_is_the_same_whatever_the_hash_seed_and_the_process(self, tmp_path):
        """Before Python 3.11, marshal wrote sets in hash order and references by what else was loaded."""
        names = ("enum.py", "ast.py", "json/decoder.py", "typing.py", "argparse.py")
        stdlib = os.path.dirname(os.__file__)
        code = [f"    digest.update(bytecode.of({str(tmp_path / name)!r}, {self.TAG!r}))" for name in names]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(Path(stdlib, name).read_bytes())
        start = [
            "import hashlib",
            "from hivebox.rootfs import bytecode",
            "digest = hashlib.sha256()",
            "if True:",
            *code,
        ]
        other = ["import typing, argparse, ast, enum, logging, unittest", *start]
        runs = [
            builder(*statements, "print(digest.hexdigest())", PYTHONHASHSEED=seed)
            for statements, seed in ((start, "1"), (other, "2"))
        ]
        assert len({process.communicate()[0] for process in runs}) == 1
        assert [process.returncode for process in runs] == [0, 0]
