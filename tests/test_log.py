"""Facts about where log lines go: the logger, the stream, the file."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_gatekeeper._core.logline import denial_line, text
from pytest_gatekeeper._core.model import LogSettings
from pytest_gatekeeper._core.records import LogLine
from pytest_gatekeeper.errors import ConfigError
from pytest_gatekeeper.log import LogWriter, _write_file

Finished = subprocess.CompletedProcess[str]
NAME = "pytest_gatekeeper"
FIELDS = (("request_id", "req_01"), ("http_path", "/a b"), ("http_status", 200), ("duration_ms", 1.5))
LINE = LogLine("INFO", "request", FIELDS)
TEXT = 'msg=request request_id=req_01 http_path="/a b" http_status=200 duration_ms=1.5'
FULL = re.compile(r"time=(\S+) level=INFO " + re.escape(TEXT) + "\n")


def _line(level: Literal["DEBUG", "INFO", "WARN", "ERROR"]) -> LogLine:
    return LogLine(level, "request", FIELDS)


class Handler(logging.Handler):
    """Keeps records, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, then raise where that is wanted."""
        self.records.append(record)
        if self.error is not None:
            raise self.error


@pytest.fixture
def handle() -> Iterator[Callable[..., Handler]]:
    """Set up handlers of a user's, and take them away again."""
    logger = logging.getLogger(NAME)
    level, handlers = logger.level, []

    def add(error: BaseException | None = None, at: int = logging.DEBUG) -> Handler:
        handlers.append(Handler(error))
        logger.addHandler(handlers[-1])
        logger.setLevel(at)
        return handlers[-1]

    yield add
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(level)


# ------------------------------------------------------------------ the logger


def test_a_line_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    """The message is the line without time and level; logger and level are the record's."""
    caplog.set_level(logging.INFO)
    LogWriter(LogSettings()).write(LINE)
    assert caplog.record_tuples == [(NAME, logging.INFO, TEXT)]
    assert caplog.records[0].filename == "log.py" and caplog.records[0].funcName == "write"


def test_a_line_can_be_json(caplog: pytest.LogCaptureFixture) -> None:
    """With `format: json` the message is the object."""
    caplog.set_level(logging.INFO)
    LogWriter(LogSettings(format="json")).write(LINE)
    assert json.loads(caplog.messages[0]) == {"msg": "request", **dict(FIELDS)}


def test_a_percent_sign_is_no_placeholder(caplog: pytest.LogCaptureFixture) -> None:
    """The message stays as it is."""
    caplog.set_level(logging.INFO)
    LogWriter(LogSettings()).write(LogLine("INFO", "request", (("http_path", "/100%s%d"),)))
    assert caplog.messages == ["msg=request http_path=/100%s%d"]


def test_fields_are_attributes(caplog: pytest.LogCaptureFixture) -> None:
    """With their types, so that a test need not read the text."""
    caplog.set_level(logging.INFO)
    LogWriter(LogSettings()).write(LINE)
    record: Any = caplog.records[0]
    assert (record.request_id, record.http_path, record.http_status, record.duration_ms) == (
        "req_01",
        "/a b",
        200,
        1.5,
    )


def test_an_attribute_never_takes_the_place_of_a_record_s_own(caplog: pytest.LogCaptureFixture) -> None:
    """It has `gatekeeper_` in front then: a denial's message, and captured headers of any name."""
    writer = LogWriter(LogSettings())
    writer.write(denial_line("http.connect", "Host not in allow list: x"))
    writer.write(LogLine("WARN", "request", (("name", "n"), ("args", "a"), ("asctime", "t"), ("x_name", "x"))))
    denial, captured = caplog.records
    assert vars(denial)["gatekeeper_message"] == "Host not in allow list: x"
    assert denial.getMessage().endswith('message="Host not in allow list: x"')
    assert (captured.name, captured.args) == (NAME, ())
    values = vars(captured)
    assert [values[key] for key in ("gatekeeper_name", "gatekeeper_args", "gatekeeper_asctime", "x_name")] == [
        "n",
        "a",
        "t",
        "x",
    ]


def test_a_captured_header_cannot_pass_for_a_field(caplog: pytest.LogCaptureFixture) -> None:
    """Of two fields with one name the first is the attribute: the proxy's own come first."""
    LogWriter(LogSettings()).write(LogLine("WARN", "request", (("http_status", 404), ("http_status", "200"))))
    assert vars(caplog.records[0])["http_status"] == 404


def test_attributes_can_be_encoded(caplog: pytest.LogCaptureFixture) -> None:
    """A path that is no UTF-8 does not break a handler that writes attributes."""
    LogWriter(LogSettings()).write(LogLine("WARN", "request", (("http_path", "/\udcff/é"),)))
    assert vars(caplog.records[0])["http_path"] == "/\ufffd/é"
    assert caplog.messages == ['msg=request http_path="/\\xff/é"']


def test_a_record_factory_may_have_set_the_same_attributes(caplog: pytest.LogCaptureFixture) -> None:
    """Many suites give every record a `request_id`; the line's own counts, and no line is lost."""
    factory = logging.getLogRecordFactory()

    def with_id(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        record.request_id = "-"
        return record

    logging.setLogRecordFactory(with_id)
    try:
        LogWriter(LogSettings()).write(_line("WARN"))
    finally:
        logging.setLogRecordFactory(factory)
    assert vars(caplog.records[0])["request_id"] == "req_01"


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("info", ["INFO", "WARNING", "ERROR"]),
        ("warning", ["WARNING", "ERROR"]),
        ("error", ["ERROR"]),
    ],
)
def test_the_level_of_the_file_holds_lines_back(level: Any, seen: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """`log.level` decides first, whoever listens."""
    caplog.set_level(logging.DEBUG)
    writer = LogWriter(LogSettings(level=level))
    wanted = []
    for each in ("DEBUG", "INFO", "WARN", "ERROR"):
        writer.write(_line(each))
        wanted.append(writer.wants(each))
    assert [record.levelname for record in caplog.records] == seen
    assert sum(wanted) == len(seen) and wanted == sorted(wanted)


def test_nothing_is_made_when_nobody_listens(handle: Callable[..., Handler], monkeypatch: pytest.MonkeyPatch) -> None:
    """The logger's own level is asked before a line is written down."""
    writer = LogWriter(LogSettings())
    made: list[LogLine] = []

    def form(line: LogLine) -> str:
        made.append(line)
        return text(line)

    monkeypatch.setattr(writer, "_form", form)
    handler = handle(at=logging.WARNING)
    writer.write(LINE)
    assert (made, handler.records, writer.wants("INFO")) == ([], [], False)
    writer.write(_line("WARN"))
    assert (made, len(handler.records), writer.wants("WARN")) == ([_line("WARN")], 1, True)


def test_the_logger_is_left_as_it_is(tmp_path: Path) -> None:
    """No handler, no level, no filter, neither while a writer is open nor after it."""

    def state() -> tuple[object, ...]:
        loggers = [logging.getLogger(), logging.getLogger(NAME)]
        return [(each.level, each.propagate, [*each.handlers], [*each.filters]) for each in loggers], logging.root.level

    before = state()
    writers = [LogWriter(LogSettings()), LogWriter(LogSettings(output=str(tmp_path / "log")), streams=True)]
    for writer in writers:
        writer.write(_line("WARN"))
        assert state() == before
        writer.close()
    assert state() == before


def test_a_closed_writer_is_silent(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """What comes late belongs to no test; closing again does no harm."""
    writer = LogWriter(LogSettings(output=str(tmp_path / "log")))
    writer.write(_line("WARN"))
    for _ in range(2):
        writer.close()
        writer.write(_line("WARN"))
    assert not writer.wants("ERROR")
    assert len(caplog.records) == 1 == len((tmp_path / "log").read_text().splitlines())


@pytest.mark.parametrize("error", [RuntimeError("handler"), pytest.fail.Exception("handler"), SystemExit(3)])
def test_a_handler_that_raises_does_not_reach_the_proxy(
    error: BaseException, handle: Callable[..., Handler], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told on stderr once, and goes on getting lines."""
    handler = handle(error)
    writer = LogWriter(LogSettings())
    for _ in range(3):
        writer.write(LINE)
    assert len(handler.records) == 3
    assert capsys.readouterr().err.count("Traceback") == 1


def test_a_handler_that_works_says_nothing(handle: Callable[..., Handler], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is on stderr but what somebody else puts there."""
    handler = handle()
    LogWriter(LogSettings()).write(LINE)
    assert len(handler.records) == 1 and capsys.readouterr() == ("", "")


def test_nothing_is_told_of_a_handler_where_logging_is_told_to_be_quiet(
    handle: Callable[..., Handler], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`logging.raiseExceptions` counts here as in logging itself, and a process may have no stderr."""
    handler = handle(RuntimeError("handler"))
    monkeypatch.setattr(logging, "raiseExceptions", False)
    LogWriter(LogSettings()).write(LINE)
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        LogWriter(LogSettings()).write(LINE)
    closed = io.StringIO()
    closed.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", closed)
        LogWriter(LogSettings()).write(LINE)
    assert len(handler.records) == 3 and capsys.readouterr().err == ""


def test_an_interrupt_gets_through(handle: Callable[..., Handler]) -> None:
    """Control-C is nobody's mistake."""
    handle(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        LogWriter(LogSettings()).write(LINE)


# ------------------------------------------------------------------ streams


@pytest.mark.parametrize("output", ["stderr", "stdout", "", "STDERR"])
def test_in_a_test_the_streams_stay_empty(
    output: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """`stderr` and `stdout` mean the logger alone."""
    caplog.set_level(logging.INFO)
    LogWriter(LogSettings(output=output)).write(LINE)
    assert len(caplog.records) == 1 and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("output", "name"), [("stderr", "err"), ("stdout", "out"), ("", "err"), ("Stdout", "out")])
def test_serve_and_exec_write_to_the_stream_named(
    output: str, name: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole line, and not to the logger as well, which would put warnings on stderr twice."""
    caplog.set_level(logging.INFO)
    writer = LogWriter(LogSettings(output=output), streams=True)
    assert writer.wants("INFO") and not writer.wants("DEBUG")
    writer.write(LINE)
    captured = capsys.readouterr()
    assert FULL.fullmatch(getattr(captured, name)) and captured.out + captured.err == getattr(captured, name)
    assert caplog.records == []


def test_a_stream_may_lack_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are escaped, as a line that is missing helps nobody."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", newline="\n"))
    LogWriter(LogSettings(output="stdout"), streams=True).write(LogLine("INFO", "request", (("http_path", "/é"),)))
    assert raw.getvalue().endswith(b"http_path=/\\xe9\n")


def test_a_process_may_have_no_stream(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Then there is nobody to read, and no complaint."""
    monkeypatch.setattr(sys, "stderr", None)
    LogWriter(LogSettings(), streams=True).write(LINE)
    assert caplog.records == []


def test_a_closed_stream_is_reported_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Through the logger, as an error."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    writer = LogWriter(LogSettings(output="stdout"), streams=True)
    for _ in range(3):
        writer.write(LINE)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "stdout (log.output)" in caplog.messages[0]


def test_a_stream_of_somebody_s_making_may_raise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises, the proxy does not see it."""

    class Odd(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError("no more paper")

    monkeypatch.setattr(sys, "stdout", Odd())
    LogWriter(LogSettings(output="stdout"), streams=True).write(LINE)
    assert len(caplog.messages) == 1 and "no more paper" in caplog.messages[0]


# ------------------------------------------------------------------ files


def test_a_path_gets_the_whole_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Appended, with time and level; the logger gets its record, too."""
    path = tmp_path / "gatekeeper.log"
    path.write_text("earlier\n")
    writer = LogWriter(LogSettings(output=str(path)))
    writer.write(_line("WARN"))
    writer.write(LINE)
    writer.close()
    earlier, warning, info = path.read_text().splitlines(keepends=True)
    assert earlier == "earlier\n" and " level=WARN msg=request " in warning
    found = FULL.fullmatch(info)
    assert found
    age = datetime.now(timezone.utc) - datetime.fromisoformat(found[1].replace("Z", "+00:00"))
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert caplog.messages == [TEXT]  # INFO is below the root logger's level, which the file does not ask


def test_serve_with_a_path_writes_there_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither to a stream nor to the logger; as JSON where the configuration says so."""
    path = tmp_path / "new.log"
    writer = LogWriter(LogSettings(output=str(path), format="json"), streams=True)
    assert path.read_text() == ""
    writer.write(LINE)
    writer.write(_line("ERROR"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    writer.close()
    assert [line["level"] for line in lines] == ["INFO", "ERROR"] and "time" in lines[0]
    assert caplog.records == [] and capfd.readouterr() == ("", "")


def test_a_line_is_in_the_file_at_once_and_on_one_line(tmp_path: Path) -> None:
    """No buffer keeps it, and what a client sends does not end it."""
    path = tmp_path / "log"
    writer = LogWriter(LogSettings(output=str(path)))
    writer.write(LogLine("INFO", "request", (("http_path", "/\n\udcffé\u2028"),)))
    assert path.read_text(encoding="utf-8").endswith('http_path="/\\n\\xffé\\u2028"\n')
    assert path.read_bytes().count(b"\n") == 1
    writer.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is a folder"),
        ("missing/log", "there is no folder"),
        ("file/log", "cannot be opened for append (Not a directory)"),
        ("nul\x00", "cannot be opened for append ("),
    ],
)
def test_a_path_that_cannot_be_opened(name: str, words: str, tmp_path: Path) -> None:
    """It is an error at start, which names file, key and path, and what to write instead."""
    (tmp_path / "file").write_text("")
    output = f"{tmp_path}/{name}"
    with pytest.raises(ConfigError, match="write stderr") as caught:
        LogWriter(LogSettings(output=output), file="gatekeeper.yaml")
    assert str(caught.value).startswith("gatekeeper.yaml: log.output: ")
    assert words in str(caught.value) and repr(output) in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """As an error of the log that names path, key and cause; the records go on."""
    writer = LogWriter(LogSettings(output="/dev/full"))
    for _ in range(3):
        writer.write(_line("WARN"))
    writer.close()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1 and "/dev/full (log.output): No space left on device" in told[0]
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 3


def test_a_line_that_is_cut_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A write that took a part of the line is a line lost; nobody who listens to nothing is told."""

    class Short(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(bytes(data)[:5])

    for told in (1, 0):
        caplog.set_level(logging.ERROR if told else logging.CRITICAL, logger=NAME)
        caplog.clear()
        writer = LogWriter(LogSettings())
        with Short(tmp_path / "log", "a") as file:
            writer._put = partial(_write_file, file)
            writer.write(LINE)
        assert len(caplog.records) == told
        assert all("only a part of it was written" in message for message in caplog.messages)


def test_lines_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    """Each is whole, and times never run backwards."""
    path = tmp_path / "log"
    writers = [LogWriter(LogSettings(output=str(path))) for _ in range(2)]
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait(10)
        for index in range(200):
            writers[0].write(LogLine("INFO", "request", (("who", number), ("index", index), ("filler", "x" * 500))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for writer in writers:
        writer.close()
    lines = path.read_text().splitlines()
    assert len(lines) == 800 and all(line.endswith("filler=" + "x" * 500) for line in lines)
    seen = [tuple(map(int, match)) for line in lines for match in re.findall(r"who=(\d) index=(\d+)", line)]
    assert sorted(seen) == [(who, index) for who in range(4) for index in range(200)]
    times = [line.split(" ", 1)[0] for line in lines]
    assert times == sorted(times)


def test_a_writer_may_be_closed_while_lines_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was wanted and then finds the file closed is dropped, and is no error."""
    path = tmp_path / "log"
    writer = LogWriter(LogSettings(output=str(path)), streams=True)
    monkeypatch.setattr(writer, "wants", lambda level: True)
    writer.write(LINE)
    writer.close()
    writer.write(LINE)
    assert len(path.read_text().splitlines()) == 1 and writer._told == set()


def test_the_file_is_not_inherited(tmp_path: Path) -> None:
    """A subprocess of a test does not hold it open."""
    writer = LogWriter(LogSettings(output=str(tmp_path / "log")))
    assert writer._file is not None and not os.get_inheritable(writer._file.fileno())
    writer.close()


# ------------------------------------------------------------------ in a run of pytest

SUITE = """
import logging, threading
from pytest_gatekeeper._core.logline import connect_line, request_line
from pytest_gatekeeper._core.model import LogSettings
from pytest_gatekeeper.log import LogWriter

def test_it(caplog):
    writer = LogWriter(LogSettings())
    line = connect_line(
        request_id="req_01", host="ws.example.com", port=443, duration=0.001, client_ip="127.0.0.1"
    )
    thread = threading.Thread(target=writer.write, args=(line,))
    thread.start()
    thread.join(10)
    assert len(caplog.records) == 0, "seen"
"""
SHOWN = "msg=request request_id=req_01 http_method=CONNECT http_host=ws.example.com:443"


def test_pytest_shows_the_lines_of_a_failed_test(run_pytest: Callable[..., Finished], tmp_path: Path) -> None:
    """With `--log-level=INFO`, though they were written on another thread; and without it they cost nothing."""
    (tmp_path / "test_it.py").write_text(SUITE)
    done = run_pytest(tmp_path, "-p", "no:gatekeeper", "--log-level=INFO")
    assert done.returncode == 1 and "Captured log call" in done.stdout and SHOWN in done.stdout
    quiet = run_pytest(tmp_path, "-p", "no:gatekeeper")
    assert quiet.returncode == 0 and SHOWN not in quiet.stdout
