"""Exports to real collectors on loopback: rsyslog, an OTLP/HTTP receiver that parses with OpenTelemetry's own classes, and
the published OCSF schema."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hivebox.audit import checkpoints, history, keys, rotation, segments, upkeep
from hivebox.audit.export import cursor, forms, send, targets
from hivebox.audit.ledger import Ledger
from hivebox.cli.main import main
from hivebox.errors import HiveboxError

ROOT = Path(__file__).parents[2]
SUBJECTS = [("script", "ab" * 32)]
RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
needs_rsyslog = pytest.mark.skipif(RSYSLOGD is None, reason="needs rsyslogd")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIVEBOX_STATE", str(tmp_path / "state"))
    add_runs(tmp_path / "state", "a", "b")
    return tmp_path / "state"


def add_runs(state: Path, *names: str) -> None:
    ledger = Ledger(str(state))
    for name in names:
        request = {"argv": ["python3", 'tally "x" ]\\.py\n'], "profile": "default"}
        who = {"pid": 7, "uid": 1000}
        ledger.append("started", name, SUBJECTS, {"request": request, "supervisor": who, "host": {"name": "h\u00f6st"}})
        result = {"outcome": "failed", "exit_code": 3, "wall_s": 0.25, "violations": []}
        ledger.append("finished", name, SUBJECTS, {"result": result})


def export(*words: str) -> int:
    return main(["audit", "export", *words])


def facts(state: Path) -> list[forms.Fact]:
    return [forms.fact_of(entry, "here") for entry in history.entries(segments.read_lines(str(state / "audit")))]


# Forms


def test_ocsf_lines_are_valid_by_the_published_schema(state: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    published = pytest.importorskip("ocsf_json_schema")
    embedded = published.OcsfJsonSchemaEmbedded(published.get_ocsf_schema(version=forms._OCSF_VERSION))
    schema = embedded.get_class_schema("process_activity")
    Ledger(str(state)).append("recovered", "recovered-1", [], {"dropped": {}})
    validator = jsonschema.Draft202012Validator(schema)
    said = [json.loads(forms.ocsf(fact)) for fact in facts(state)]
    assert len(said) == 5
    for line in said:
        assert [error.message for error in validator.iter_errors(line)] == []
        assert set(schema["required"]) <= set(line)
    assert list(validator.iter_errors({**said[0], "severity_id": "high"})), "the schema does refuse"


ECS_FIELDS = json.loads((Path(__file__).parents[1] / "vectors" / "ecs" / "fields-8.11.json").read_text())
ECS_KINDS = {"long": int, "keyword": str, "wildcard": str, "match_only_text": str, "date": str}


def flat(said: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in said.items():
        yield from flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]


def ecs_problems(line: dict[str, Any]) -> list[str]:
    """What breaks the schema as Elastic publishes it (tests/vectors/ecs/extract.js says where)."""
    found = dict(flat(line))
    problems = [f"{name} is required" for name, field in ECS_FIELDS.items() if field["required"] and name not in found]
    for name, value in found.items():
        if name.startswith("hivebox."):  # what ECS has no field for goes below a name of one's own
            continue
        if (field := ECS_FIELDS.get(name)) is None:
            problems.append(f"{name} is no field")
            continue
        values = value if field["array"] and isinstance(value, list) else [value]
        if field["array"] != isinstance(value, list) or not all(type(v) is ECS_KINDS[field["type"]] for v in values):
            problems.append(f"{name} is no {field['type']}")
        elif "allowed" in field and not set(values) <= set(field["allowed"]):
            problems.append(f"{name} is {value}")
    if not set(found.get("event.type", [])) <= set(ECS_FIELDS["event.category"]["event_types_of_process"]):
        problems.append("event.type is not for the category process")
    return problems


def test_ecs_lines_are_valid_by_the_published_fields(state: Path) -> None:
    Ledger(str(state)).append("recovered", "recovered-1", [], {"dropped": {}})
    rotation.rotate(str(state), "", "")
    lines = [json.loads(forms.ecs(fact)) for fact in facts(state)]
    assert len(lines) == 6
    assert [ecs_problems(line) for line in lines] == [[]] * 6
    started, finished = lines[:2]
    assert started["ecs"] == {"version": "8.11.0"}
    assert started["process"]["args"][0] == "python3"
    assert started["user"] == {"id": "1000"}
    assert (finished["process"]["exit_code"], finished["event"]["duration"]) == (3, 250_000_000)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ecs": {}}, "ecs.version is required"),
        ({"event": {"severity": "high"}}, "event.severity is no long"),
        ({"event": {"category": "process"}}, "event.category is no keyword"),
        ({"event": {"outcome": "ok"}}, "event.outcome is ok"),
        ({"event": {"type": ["denied"]}}, "event.type is not for the category process"),
        ({"process": {"argv": []}}, "process.argv is no field"),
    ],
)
def test_the_published_fields_do_refuse(state: Path, change: dict[str, Any], problem: str) -> None:
    line = json.loads(forms.ecs(facts(state)[0]))
    assert problem in ecs_problems({**line, **change})


def test_structured_data_is_escaped_as_rfc_5424_wants(state: Path) -> None:
    fact = facts(state)[0]._replace(outcome='a"b]c\\d', host="h \u00f6st")
    header = forms.rfc5424(fact).split(b" {")[0].decode()
    assert 'outcome="a\\"b\\]c\\\\d"' in header
    assert header.startswith("<110>1 2")
    assert header.split(" ")[2:6] == ["hst", "hivebox", "-", "audit"]


# Once, at least


def test_the_cursor_goes_on_where_the_target_stopped_taking(state: Path) -> None:
    taken: list[bytes] = []

    def deliver(batch: list[bytes]) -> None:
        if len(taken) >= 2:
            raise ConnectionError("down")
        taken.extend(batch[:2])
        raise ConnectionError("down in the middle of a batch")

    for _ in range(2):
        with cursor.locked(str(state), "x") as at, pytest.raises(ConnectionError):
            send.send(str(state / "audit"), at, deliver, "jsonl")
    with cursor.locked(str(state), "x") as at:
        assert at.seq == -1
        assert send.send(str(state / "audit"), at, taken.extend, "jsonl") == 4
    add_runs(state, "c")
    with cursor.locked(str(state), "x") as at:
        assert send.send(str(state / "audit"), at, taken.extend, "jsonl") == 2
        assert send.send(str(state / "audit"), at, taken.extend, "jsonl") == 0
    numbers = [json.loads(line)["predicate"]["ledger"]["seq"] for line in taken]
    assert numbers == [0, 1, 0, 1, 2, 3, 4, 5], "some twice, none left out, in order"


def test_a_killed_export_sends_again_and_leaves_nothing_out(state: Path, tmp_path: Path) -> None:
    add_runs(state, *(f"r{number}" for number in range(150)))
    code = "import os, sys\nfrom hivebox.audit.export import cursor\n"
    code += "cursor.Cursor.move = lambda *_: os._exit(9)\nfrom hivebox.cli.main import main\nmain(sys.argv[1:])"
    words = ["audit", "export", "--form", "jsonl", "--to", f"file:{tmp_path / 'out'}"]
    assert subprocess.run([sys.executable, "-c", code, *words], check=False).returncode == 9
    assert main(words) == 0
    numbers = [json.loads(line)["predicate"]["ledger"]["seq"] for line in (tmp_path / "out").open()]
    assert numbers == [*range(200), *range(304)]


def test_an_export_killed_again_and_again_leaves_nothing_out(state: Path, tmp_path: Path) -> None:
    """kill -9 at any moment, while runs go on; in the end every record is there, first seen in order."""
    out, chosen = tmp_path / "out", random.Random(11)
    command = [sys.executable, "-m", "hivebox", "audit", "export", "--form", "jsonl", "--to", f"file:{out}", "--follow"]
    for attempt in range(6):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as exporter:
            add_runs(state, *(f"k{attempt}-{number}" for number in range(120)))
            time.sleep(chosen.random() * 0.4)
            exporter.kill()
    assert export("--form", "jsonl", "--to", f"file:{out}") == 0
    lines = [line for line in out.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]
    numbers = [json.loads(line)["predicate"]["ledger"]["seq"] for line in lines if line.startswith(b'{"_type"')]
    assert list(dict.fromkeys(numbers)) == list(range(4 + 6 * 240))


def test_a_line_that_a_full_disk_cut_short_is_not_glued_to_the_next(state: Path, tmp_path: Path) -> None:
    code = "import resource, sys\nfrom hivebox.cli.main import main\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\nsys.exit(main(sys.argv[1:]))"
    words = ["audit", "export", "--form", "jsonl", "--to", f"file:{tmp_path / 'out'}"]
    failed = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (failed.returncode, "record 0 is the next to go" in failed.stderr) == (125, True)
    assert (tmp_path / "out").stat().st_size == 1500
    assert main(words) == 0
    *_, a, b, c, d = (tmp_path / "out").read_text().splitlines()
    assert [json.loads(line)["predicate"]["ledger"]["seq"] for line in (a, b, c, d)] == [0, 1, 2, 3]


def symbolic_link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DIGEST = "ab" * 32
CURSORS = ["", "{", "[]", "[" * 4000, '{"seq": 3}', '{"seq": 3, "line_sha256": "x"}'] + [
    json.dumps({"seq": seq, "line_sha256": DIGEST}) for seq in (-2, 1 << 70, 1.0, True, 3, 9999)
]


@pytest.mark.parametrize("spoil", [symbolic_link, fifo, *CURSORS])
def test_a_spoilt_cursor_is_said_and_nothing_is_sent(
    state: Path, tmp_path: Path, spoil: Callable[[Path], None] | str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--name", "x", "--to", f"file:{tmp_path / 'out'}")
    assert export(*words) == 0
    before = (tmp_path / "out").read_bytes()
    path = state / "audit/export/x.json"
    path.write_text(spoil) if isinstance(spoil, str) else spoil(path)
    add_runs(state, "c")
    assert export(*words) == 125
    assert len(capsys.readouterr().err.splitlines()) <= 3
    assert (tmp_path / "out").read_bytes() == before


def test_an_exchanged_ledger_is_not_exported_on(state: Path) -> None:
    assert export("--to", "-") == 0
    (state / "audit/ledger.jsonl").write_bytes(b"")
    (state / "audit/state").unlink()
    add_runs(state, "x", "y", "z")
    assert export("--to", "-") == 125


def test_an_export_goes_on_across_segments_and_compression(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export("--to", f"file:{out}", "--form", "jsonl") == 0
    Ledger(str(state)).rotate()
    add_runs(state, "c")
    upkeep.compress(str(state))
    assert export("--to", f"file:{out}", "--form", "jsonl") == 0
    assert [json.loads(line)["predicate"]["ledger"]["seq"] for line in out.open()] == list(range(7))
    checkpoints.make(str(state), keys.load_signer(str(state)))


def test_each_target_gets_every_record_once(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for target in ("file:one", "file:two", f"file:{tmp_path / 'one'}"):
        assert export("--to", target, "--form", "jsonl") == 0
    assert capsys.readouterr().out == "4 records sent\n4 records sent\n0 records sent\n"
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() != b""
    assert export("--to", "file:three", "--name", "x") == export("--to", "file:four", "--name", "x") == 0
    assert capsys.readouterr().out == "4 records sent\n0 records sent\n", "one name is one collector"


def test_two_exports_of_one_name_do_not_run_at_once(state: Path) -> None:
    with (
        cursor.locked(str(state), "x"),
        pytest.raises(HiveboxError, match="running already"),
        cursor.locked(str(state), "x"),
    ):
        pass


def test_a_collector_that_is_down_stops_no_run(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--to", "tcp://127.0.0.1:1") == 125
    assert "record 0 is the next to go" in capsys.readouterr().err
    add_runs(state, "after")


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "ftp://x"),
        ("--to", "tcp://x"),
        ("--to", "tcp://x:99999"),
        ("--to", f"tcp://{'a' * 64}:514"),
        ("--to", "udp://[fe80::1%no-such-interface]:514"),
        ("--to", "-", "--form", "otlp"),
        ("--to", "-", "--name", "../x"),
        ("--to", "http://127.0.0.1:1/v1/logs", "--form", "ecs"),
    ],
)
def test_what_cannot_be_exported_is_said(
    state: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(*words) == 125
    said = capsys.readouterr().err
    assert len(said.splitlines()) <= 3
    assert "could not go on" not in said


# OTLP


class Receiver(BaseHTTPRequestHandler):
    received: ClassVar[list[Any]] = []
    answers: ClassVar[list[tuple[int, bytes]]] = []
    got: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).got += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        from google.protobuf import json_format
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert (self.path, self.headers["Content-Type"]) == ("/v1/logs", "application/json")
        code, answer = self.answers.pop(0) if self.answers else (200, b"{}")
        request = json_format.Parse(body, ExportLogsServiceRequest())
        if code == 200 and answer == b"{}":
            self.received.append(request)
        self.send_response(code)
        if 300 <= code < 400:
            self.send_header("Location", answer.decode())
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    pytest.importorskip("opentelemetry.proto.logs.v1.logs_pb2")
    Receiver.received, Receiver.answers, Receiver.got = [], [], 0
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/logs"
        server.shutdown()
        thread.join()


def test_an_otlp_receiver_parses_every_record(state: Path, collector: str) -> None:
    assert export("--to", collector) == 0
    (request,) = Receiver.received
    (resource,) = request.resource_logs
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "hivebox"
    records = resource.scope_logs[0].log_records
    assert [record.severity_text for record in records] == ["INFO", "INFO2"] * 2
    assert json.loads(records[1].body.string_value)["predicate"]["result"]["exit_code"] == 3
    assert {each.key: each.value.int_value for each in records[3].attributes}["hivebox.seq"] == 3
    assert abs(records[0].time_unix_nano / 1e9 - time.time()) < 600


@pytest.mark.parametrize("answer", [(503, b""), (400, b"no"), (200, b'{"partialSuccess":{"rejectedLogRecords":"1"}}')])
def test_what_an_otlp_receiver_refuses_comes_again(state: Path, collector: str, answer: tuple[int, bytes]) -> None:
    Receiver.answers = [answer]
    assert export("--to", collector) == 125
    assert Receiver.received == []
    assert export("--to", collector) == 0
    assert len(Receiver.received[0].resource_logs[0].scope_logs[0].log_records) == 4


def test_an_answer_from_elsewhere_is_no_delivery(
    state: Path, collector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A redirect would be followed by a GET without the records, whose answer says nothing about them."""
    Receiver.answers = [(code, collector.encode()) for code in (301, 302, 303, 307, 308)]
    for _ in range(5):
        assert export("--to", collector) == 125
        assert "HTTP 30" in capsys.readouterr().err
    assert (Receiver.received, Receiver.got) == ([], 0)
    assert export("--to", collector) == 0
    assert len(Receiver.received[0].resource_logs[0].scope_logs[0].log_records) == 4


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"\0" * 99]
)
def test_an_answer_that_is_not_http_is_no_delivery(
    state: Path, answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def say() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 20)
                connection.sendall(answer)

        thread = threading.Thread(target=say)
        thread.start()
        assert export("--to", f"http://127.0.0.1:{server.getsockname()[1]}/v1/logs") == 125
        thread.join()
    assert "record 0 is the next to go" in capsys.readouterr().err


# rsyslog


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificates(folder: Path) -> None:
    """A CA, and a server certificate of it for 127.0.0.1."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=test CA",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",  # Python 3.13 and newer want it
    )
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=127.0.0.1",
    )
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    openssl(
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        "server.pem",
        "-days",
        "2",
        "-extfile",
        "names",
    )


def inputs(folder: Path, port: int) -> dict[str, tuple[str, str]]:
    """kind -> (rsyslog's configuration, our target)."""
    tls = f'''global(DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="{folder}/ca.pem"
      DefaultNetstreamDriverCertFile="{folder}/server.pem" DefaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imtcp" port="{port}" address="127.0.0.1")'''
    return {
        "tls": (tls, f"tls://127.0.0.1:{port}"),
        "tcp": (
            f'module(load="imtcp")\ninput(type="imtcp" port="{port}" address="127.0.0.1")',
            f"tcp://127.0.0.1:{port}",
        ),
        "udp": (
            f'module(load="imudp")\ninput(type="imudp" port="{port}" address="127.0.0.1")',
            f"udp://127.0.0.1:{port}",
        ),
        "unix": (
            f'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="{folder}/log" UseSpecialParser="off" ParseHostname="on")',
            f"unix:{folder}/log",
        ),
    }


@contextlib.contextmanager
def rsyslog(folder: Path, config: str) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """A real rsyslogd; gives a function that waits for so many lines of what it understood."""
    out = folder / "received"
    template = """template(name="parsed" type="list" option.jsonf="on") {
 property(outname="app" name="app-name" format="jsonf") property(outname="msgid" name="msgid" format="jsonf")
 property(outname="severity" name="syslogseverity-text" format="jsonf") property(outname="host" name="hostname" format="jsonf")
 property(outname="data" name="structured-data" format="jsonf") property(outname="msg" name="msg" format="jsonf") }"""
    text = f'global(workDirectory="{folder}" maxMessageSize="128k")\n{config}\n{template}\naction(type="omfile" file="{out}" template="parsed")\n'
    (folder / "rsyslog.conf").write_text(text)
    assert RSYSLOGD is not None
    command = [RSYSLOGD, "-n", "-f", str(folder / "rsyslog.conf"), "-i", str(folder / "pid")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as daemon:
        try:
            time.sleep(0.5)

            def wait(count: int) -> list[dict[str, Any]]:
                for _ in range(200):
                    lines = out.read_text().splitlines() if out.exists() else []
                    if len(lines) >= count:
                        return [json.loads(line) for line in lines]
                    time.sleep(0.05)
                raise AssertionError(f"rsyslog has {lines}")

            yield wait
        finally:
            daemon.terminate()
            daemon.wait(10)


@needs_rsyslog
@pytest.mark.parametrize("kind", ["tls", "tcp", "udp", "unix"])
def test_rsyslog_receives_and_parses_every_record(state: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "rsyslog"
    folder.mkdir()
    if kind == "tls":
        certificates(folder)
    config, target = inputs(folder, free_port())[kind]
    with rsyslog(folder, config) as wait:
        for _ in range(50):
            if export("--to", target, "--ca", str(folder / "ca.pem") if kind == "tls" else "") == 0:
                break
            time.sleep(0.1)
        received = wait(4)
    assert [line["app"] for line in received] == ["hivebox"] * 4
    assert [line["msgid"] for line in received] == ["audit"] * 4
    assert 'seq="3"' in received[3]["data"]
    assert received[3]["severity"] == "notice"
    assert json.loads(received[1]["msg"])["predicate"]["result"]["exit_code"] == 3


@needs_rsyslog
def test_a_collector_with_an_unknown_certificate_gets_nothing(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, stranger = tmp_path / "rsyslog", tmp_path / "stranger"
    folder.mkdir()
    stranger.mkdir()
    certificates(folder)
    certificates(stranger)
    config, target = inputs(folder, free_port())["tls"]
    with rsyslog(folder, config):
        said = "refused"
        for _ in range(100):
            assert export("--to", target, "--ca", str(stranger / "ca.pem")) == 125
            if "refused" not in (said := capsys.readouterr().err):
                break
            time.sleep(0.1)
        assert "CERTIFICATE_VERIFY_FAILED" in said
    assert not (folder / "received").exists()


def test_a_collector_that_ends_tls_without_a_word_took_the_batch(tmp_path: Path) -> None:
    """It read to the end, and closed the connection below TLS: as a GnuTLS server may."""
    certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def read_and_close() -> None:
            stream = context.wrap_socket(server.accept()[0], server_side=True)
            while stream.recv(4096):
                pass
            socket.socket(fileno=stream.detach()).close()

        reader = threading.Thread(target=read_and_close)
        reader.start()
        deliver, _ = targets.target_of(
            f"tls://127.0.0.1:{server.getsockname()[1]}", targets.Tls(str(tmp_path / "ca.pem"))
        )
        deliver([b"line"])
        reader.join()


def test_a_peer_that_closes_early_did_not_take_the_batch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        deliver, _ = targets.target_of(f"tcp://127.0.0.1:{server.getsockname()[1]}", targets.Tls())
        with pytest.raises(OSError):
            deliver([b"x" * 1000] * 1000)
        thread.join()
