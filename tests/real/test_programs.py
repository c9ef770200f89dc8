"""Programs that people run, under the profile made for them, through the command line.

Nothing is fetched from inside a sandbox: wheels come from the package index beforehand.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BASE = os.path.realpath(sys._base_executable)
MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"


def checked(*command: str | Path, **options: object) -> str:
    """The output of a program of the host; its failure is the test's."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run(hivebox):
    """``hivebox run``; its failure is the test's, and it must not have had anything to remark."""

    def run(*arguments: object, timeout: float = 120) -> str:
        done = hivebox("run", *map(str, arguments), timeout=timeout)
        assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode()
        return done.stdout.decode()

    return run


class TestShell:
    def test_a_pipeline(self, run):
        text = "printf '%s\\n' pear apple pear fig | sort | uniq -c | sort -rn | awk '{print $2, $1}' | head -n 1"
        assert run("-p", "shell", "--", "bash", "-c", text) == "pear 2\n"

    def test_files_redirections_substitutions_and_jobs(self, run, scratch):
        script = scratch / "report.sh"
        script.write_text(
            "set -euo pipefail\n"
            'mkdir -p in; for i in $(seq 1 20); do echo "line $i" > in/$i.txt; done\n'
            "find in -name '*.txt' -print0 | xargs -0 cat | grep -c 'line 1' &\n"
            "wait $!\n"
            "diff <(ls in | wc -l) <(echo 20) && echo agree\n"
            "tar czf all.tgz in && tar tzf all.tgz | tail -n +2 | wc -l\n"
            'cat <<< "$(sha256sum < in/7.txt | cut -c1-8)"\n'
            "sed -n 's/line \\(7\\)/seven \\1/p' in/*.txt | tee out.txt | tr a-z A-Z\n"
        )
        digest = hashlib.sha256(b"line 7\n").hexdigest()[:8]
        assert run(script).split("\n") == ["11", "agree", "20", digest, "SEVEN 7", ""]

    def test_the_exit_code_of_a_pipeline(self, hivebox):
        done = hivebox("run", "-q", "-p", "shell", "--", "bash", "-o", "pipefail", "-c", "exit 9 | cat")
        assert done.returncode == 9


class TestGit:
    @pytest.fixture
    def repository(self, scratch) -> Path:
        path = scratch / "ledger"
        path.mkdir()
        for number in (1, 2):
            (path / "votes.txt").write_text("".join(f"vote {line}\n" for line in range(number * 3)))
            self.git(path, "init", "-q", "-b", "main") if number == 1 else None
            self.git(path, "add", ".")
            self.git(path, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", f"round {number}")
        return path

    @staticmethod
    def git(path: Path, *arguments: str) -> str:
        return checked("git", "-C", path, *arguments, env={"PATH": os.environ["PATH"], "HOME": str(path.parent)})

    def test_log_and_diff_in_an_overlay(self, run, repository):
        def inside(*words: str) -> str:
            return run("-p", "shell", "--overlay", repository, "--", "git", "-C", repository, *words)

        assert inside("log", "--format=%s %H") == self.git(repository, "log", "--format=%s %H")
        assert inside("diff", "--stat", "-p", "HEAD~1") == self.git(repository, "diff", "--stat", "-p", "HEAD~1")
        assert inside("status", "--short") == ""

    def test_a_commit_in_an_overlay_stays_there(self, run, repository, scratch):
        before = self.git(repository, "rev-parse", "HEAD")
        script = scratch / "commit.sh"
        script.write_text(
            f"set -e; cd {repository}; echo more >> votes.txt; git checkout -q -b side\n"
            "git -c user.name=x -c user.email=x@y.z commit -q -am inside; git log --format=%s; git diff --stat HEAD~1\n"
        )
        text = run("--overlay", repository, script)
        assert text.split("\n")[:3] == ["inside", "round 2", "round 1"]
        assert "1 insertion(+)" in text
        assert self.git(repository, "rev-parse", "HEAD") == before
        assert self.git(repository, "branch", "--format=%(refname:short)") == "main\n"
        assert self.git(repository, "status", "--short") == ""
        assert "more" not in (repository / "votes.txt").read_text()


class TestNode:
    def test_files_crypto_promises_and_timers(self, run):
        text = """
            const fs = require('fs'), crypto = require('crypto');
            (async () => {
              await fs.promises.writeFile('a.txt', 'hive');
              const [a, b] = await Promise.all([fs.promises.readFile('a.txt'), new Promise(r => setTimeout(r, 5, 'b'))]);
              const key = await new Promise((done, bad) =>
                crypto.pbkdf2(a, 'salt', 1000, 8, 'sha256', (e, k) => e ? bad(e) : done(k)));
              console.log(crypto.createHash('sha256').update(a).digest('hex').slice(0, 8), b, key.toString('hex'));
            })();
        """
        digest = hashlib.sha256(b"hive").hexdigest()[:8]
        key = hashlib.pbkdf2_hmac("sha256", b"hive", b"salt", 1000, 8).hex()
        assert run("-p", "node", "--", "node", "-e", text) == f"{digest} b {key}\n"

    def test_threads(self, run):
        text = """
            const { Worker } = require('worker_threads');
            const code = "const {parentPort: p, workerData: n} = require('worker_threads');" +
                         "let s = 0; for (let i = 0; i <= n; i++) s += i; p.postMessage(s)";
            const one = n => new Promise((done, bad) =>
              new Worker(code, { eval: true, workerData: n }).on('message', done).on('error', bad));
            Promise.all([10, 100, 1000].map(one)).then(all => console.log(all.join(' ')));
        """
        assert run("-p", "node", "--", "node", "-e", text) == "55 5050 500500\n"

    def test_a_server_and_its_client_on_the_loopback(self, run, scratch):
        script = scratch / "serve.mjs"
        script.write_text(
            "import http from 'node:http';\n"
            "const server = http.createServer((ask, answer) => answer.end('to ' + ask.url));\n"
            "server.listen(0, '127.0.0.1', () => http.get({ port: server.address().port, path: '/x' }, answer =>\n"
            "  answer.on('data', data => { console.log(String(data)); server.close(); })));\n"
        )
        assert run(script) == "to /x\n"


class TestPython:
    def test_a_virtual_environment_and_pip_from_a_directory(self, run, scratch):
        wheels = scratch / "wheels"
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
        checked(*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", wheels, "six")
        script = scratch / "install.py"
        script.write_text(
            "import subprocess, sys\n"
            "subprocess.run([sys.executable, '-m', 'venv', 'env'], check=True)\n"
            "subprocess.run(['env/bin/python', '-m', 'pip', '--disable-pip-version-check', '-q', 'install',\n"
            "                '--no-index', '--find-links', '/wheels', 'six'], check=True)\n"
            "subprocess.run(['env/bin/python', '-c', 'import six; print(six.__file__, six.PY3)'], check=True)\n"
        )
        text = run("-p", "python", "--timeout", "90s", "--ro", f"{wheels}:/wheels", script)
        assert text == f"/work/env/lib/{MINOR}/site-packages/six.py True\n"

    def test_numpy_in_a_virtual_environment(self, run, scratch):
        checked(BASE, "-m", "venv", scratch / "env")
        checked(scratch / "env/bin/python", "-m", "pip", "--disable-pip-version-check", "-q", "install", "numpy")
        script = scratch / "product.py"
        script.write_text(
            "import numpy, sys\n"
            "print((numpy.array([[1, 2], [3, 4]]) @ numpy.array([[5, 6], [7, 8]])).tolist(), sys.prefix)\n"
            "big = numpy.ones((300, 300)); print((big @ big).sum(), numpy.linalg.inv(numpy.eye(3) * 2)[0, 0])\n"
        )
        text = run("--python", scratch / "env/bin/python", script)
        assert text == f"[[19, 22], [43, 50]] {scratch}/env\n27000000.0 0.5\n"

    @pytest.fixture
    def own_interpreter(self, scratch) -> Path:
        """A prefix of its own below a home that nobody else may enter, as pyenv makes them."""
        home = scratch / "home"
        prefix = home / ".pyenv/versions/own"
        (prefix / "bin").mkdir(parents=True)
        shutil.copy(BASE, prefix / "bin" / MINOR)
        (prefix / "bin/python3").symlink_to(MINOR)
        left_out = shutil.ignore_patterns("test", "tests", "__pycache__", "*-packages", "config-*", "sitecustomize.py")
        shutil.copytree(sysconfig.get_path("stdlib"), prefix / "lib" / MINOR, ignore=left_out)
        (prefix / "lib" / MINOR / "site-packages").mkdir()
        (prefix / "lib" / MINOR / "site-packages" / "mine.py").write_text("word = 'mine'\n")
        home.chmod(0o700)
        return prefix

    def test_an_interpreter_in_a_closed_home(self, run, own_interpreter):
        code = "import sys, json, ssl, sqlite3; print(sys.prefix); print(__import__('os').listdir(sys.argv[1]))"
        home = own_interpreter.parents[2]
        (home / "secret").write_text("x")
        text = run("--python", own_interpreter / "bin/python3", "--", "python3", "-c", code, home)
        assert text == f"{own_interpreter}\n['.pyenv']\n"

    def test_an_environment_of_it(self, run, own_interpreter):
        env = own_interpreter.parents[2] / "env"
        checked(own_interpreter / "bin/python3", "-m", "venv", "--without-pip", env)
        text = run(
            "--python", env / "bin/python", "--", "python3", "-c", "import sys; print(sys.prefix, sys.base_prefix)"
        )
        assert text == f"{env} {own_interpreter}\n"


class TestScripts:
    @pytest.mark.parametrize("name", ["tally.py", "tally"])
    def test_lines_that_end_as_on_windows(self, run, scratch, name):
        script = scratch / name
        script.write_bytes(
            b"#!/usr/bin/env python3\r\nimport sys\r\nif True:\r\n    print('''a\r\nb''', sys.argv[1:])\r\n"
        )
        assert run(script, "x y") == "a\nb ['x y']\n"

    @pytest.mark.parametrize(
        ("line", "body", "profile"),
        [
            ("#!/usr/bin/python3 -B", "import sys; print(sys.dont_write_bytecode, sys.argv[1:])", "default"),
            ("#!/usr/bin/env -S python3 -B", "import sys; print(sys.dont_write_bytecode, sys.argv[1:])", "default"),
            ("#! /bin/sh", "echo True \"['$1']\"", "shell"),
            ("#!/bin/bash -e", 'a=(True "[\'$1\']"); echo "${a[@]}"', "shell"),
            ("#!/usr/local/bin/node", "console.log('True', `['${process.argv[2]}']`)", "node"),
        ],
    )
    def test_a_line_instead_of_a_suffix(self, run, scratch, line, body, profile):
        script = scratch / "job"
        script.write_text(f"{line}\n{body}\n")
        script.chmod(0o644)
        assert run("-p", profile, script, "one") == "True ['one']\n"

    def test_the_report_of_a_real_program(self, run, scratch):
        script = scratch / "work.py"
        script.write_text("import json; json.dump({'total': sum(range(10))}, open('result.json', 'w'))\n")
        run("--out", scratch / "out", "--report", scratch / "report.json", script)
        report = json.loads((scratch / "report.json").read_text())
        assert report["outcome"] == "ok"
        assert [file["path"] for file in report["files"]] == ["result.json"]
        assert json.loads((scratch / "out/result.json").read_text()) == {"total": 45}
