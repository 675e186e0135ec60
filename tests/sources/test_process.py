"""Facts about commands whose output is a credential."""

from __future__ import annotations

import _thread
import os
import select
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._core.model import SourceSpec
from pytest_gatekeeper._sources import process
from pytest_gatekeeper._sources.fetched import Fetched, Request
from pytest_gatekeeper.errors import SourceError

LIMIT = 30.0
PATH = {"PATH": os.environ.get("PATH", os.defpath)}


def request_of(command: str, ttl: str = "", **environ: str) -> Request:
    fields = (("command", command), *([("ttl", ttl)] if ttl else []))
    return Request(SourceSpec("process", fields), {**PATH, **environ})


def fetch(command: str, ttl: str = "", limit: float = LIMIT, **environ: str) -> Fetched:
    return process.fetch(request_of(command, ttl, **environ), limit=limit)


def refused(command: str, limit: float = LIMIT, **environ: str) -> str:
    with pytest.raises(SourceError) as raised:
        fetch(command, limit=limit, **environ)
    assert raised.value.__cause__ is None
    return str(raised.value)


def secret_free(text: str) -> bool:
    """Whether a fingerprint stands where `s3cret-token` was, in any form."""
    forms = ("s3cret", b"s3cret-token".hex(), "czNjcmV0LXRva2Vu")
    return "<secret " in text and not any(form in text for form in forms)


# ------------------------------------------------------------------ output


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("printf tok", "tok"),
        ("echo tok", "tok"),
        (r"printf '  tok  \n\n'", "tok"),
        (r"printf 'a\001b\tc\177d\r\n'", "ab\tcd"),
        (r"printf 'one\ntwo\n'", "onetwo"),
        (r"printf '\303\266'", "ö"),
        (r"printf 'a\377b'", "a\udcffb"),
        ("echo noise >&2; echo tok", "tok"),
        ('printf %s "$A_VARIABLE"', "from the environment"),
        ("cat; echo no input", "no input"),
        ("echo tok; exec >&- 2>&-", "tok"),
        ("head -c 900000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2", "x" * 900_000),
    ],
)
def test_the_output_is_the_value(command: str, value: str) -> None:
    """Without control characters and white space at the ends; the command has the variables given and no input."""
    found = fetch(command, A_VARIABLE="from the environment")
    assert found.value == value
    assert found.lifetime == 300.0


def test_a_ttl_is_how_long_it_is_good() -> None:
    """In Go's notation."""
    assert fetch("echo tok", "1h30m").lifetime == 5400.0


def test_a_command_gets_no_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process itself has is not handed on."""
    monkeypatch.setenv("A_VARIABLE", "of this process")
    assert fetch('echo "[$A_VARIABLE]"').value == "[]"


# ------------------------------------------------------------------ failure


def test_a_failure_tells_what_the_command_said() -> None:
    """Its status and its errors, trimmed."""
    assert refused("echo '  oops ' >&2; exit 3") == "the command ended with status 3: oops"
    assert refused("exit 7") == "the command ended with status 7"


def test_a_failure_never_tells_the_output() -> None:
    """Also where the command repeats it among its errors, and neither does it tell the command."""
    assert "s3cret" not in refused("echo s3cret-token; exit 1")
    said = refused("echo s3cret-token; echo bad s3cret-token >&2; exit 1")
    assert said == "the command ended with status 1: bad …"
    for again in ("base64", "od -An -tx1 | tr -d ' '"):
        assert secret_free(refused(f"printf s3cret-token; printf s3cret-token | {again} >&2; exit 1"))
    assert secret_free(refused("printf 'a line\\ns3cret-token\\n'; echo bad s3cret-token >&2; exit 1"))


def test_long_errors_are_cut() -> None:
    """After 256 characters; what would have been shown half is blanked first."""
    assert refused("printf %0256d 7 >&2; exit 1") == "the command ended with status 1: " + "7".rjust(256, "0")
    assert refused("printf %0257d 7 >&2; exit 1") == "the command ended with status 1: " + "0" * 256 + "…"
    assert "s3c" not in refused("echo s3cret-token; printf %0250ds3cret-token 7 >&2; exit 1")


@pytest.mark.parametrize("command", ["true", "echo", r"printf '\001\n '", "echo noise >&2"])
def test_no_output_is_an_error(command: str) -> None:
    """White space and control characters are none."""
    assert refused(command).startswith("the command printed nothing")


def test_a_command_that_is_not_there_is_an_error() -> None:
    """The shell says so; a missing shell and a null character do, too."""
    assert "status 127" in refused("no-such-command-anywhere")
    assert refused("echo a\0b") == "the command cannot be run: it holds a null character"
    with pytest.raises(SourceError, match="cannot be run: No such file or directory"):
        process.fetch(Request(SourceSpec("process", (("command", "true"),)), {"PATH": "/nowhere"}))


@pytest.mark.parametrize(
    "command", ["sleep 600", "sleep 600 & wait", "exec >&- 2>&-; sleep 600", "echo tok; sleep 600 & exit 0"]
)
def test_a_command_that_is_late_is_killed_with_all_it_started(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its whole process group; the message names the limit."""
    life = tmp_path / "life"  # its writing end is open in each process of the group
    os.mkfifo(life)
    reader = os.open(life, os.O_RDONLY | os.O_NONBLOCK)

    def monotonic() -> float:
        """An hour later as soon as the command runs."""
        return time.monotonic() + 3600 * bool(select.select([reader], [], [], 0)[0])

    monkeypatch.setattr(process, "time", SimpleNamespace(monotonic=monotonic))
    try:
        said = refused(f"exec 3> {life}; echo >&3; {command}", limit=60)
        assert said == "the command did not end within 60 s; make it quicker"
        assert os.read(reader, 1) == b"\n"
        assert select.select([reader], [], [], LIMIT)[0] == [reader]
        assert os.read(reader, 1) == b""  # nobody has it open any more
    finally:
        os.close(reader)


def test_endless_output_is_refused() -> None:
    """A credential is smaller than a mebibyte."""
    assert refused("yes s3cret") == "the command prints more than 1 MiB, which no credential is"


def test_a_command_that_is_being_started_ends_with_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when the process is there, and whoever starts it does not know yet: none is left."""
    started: list[int] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *command: Any, **options: Any) -> None:
            super().__init__(*command, **options)
            started.append(self.pid)
            _thread.interrupt_main()
            time.sleep(0)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("exec sleep 60")
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], signal.SIGKILL)


def test_nobody_waits_for_a_command_that_is_stopped() -> None:
    """It is ended as soon as the request says so."""
    request = request_of("sleep 60")._replace(stopped=lambda: True)
    with pytest.raises(SourceError, match="nobody waits for it any more"):
        process.fetch(request)


# ------------------------------------------------------------------ expiry


def printed(expiration: str, *, version: str = "Version", key: str = "AccessKeyId", name: str = "Expiration") -> str:
    return f'echo \'{{"{version}": 1, "{key}": "A", "{name}": {expiration}}}\''


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.123456789Z", "%Y-%m-%dT%H:%M:%S+00:00"])
def test_credentials_of_aws_say_when_they_expire(form: str) -> None:
    """RFC 3339, with fractions and offsets; a ttl does not count then."""
    expires = datetime.now(timezone.utc) + timedelta(hours=1)
    found = fetch(printed(f'"{expires.strftime(form)}"'), "5m")
    assert found.lifetime is not None
    assert 3500 < found.lifetime <= 3601


def test_an_offset_counts() -> None:
    """Two hours east is two hours earlier."""
    expires = datetime.now(timezone(timedelta(hours=2))) + timedelta(hours=1)
    lifetime = fetch(printed(f'"{expires.isoformat(timespec="seconds")}"')).lifetime
    assert lifetime is not None
    assert 3500 < lifetime <= 3601


def test_credentials_that_have_expired_are_an_error() -> None:
    """The message tells when, and not what."""
    said = refused('echo \'{"Version":1,"AccessKeyId":"s3cret","Expiration":"2020-01-01T00:00:00Z"}\'')
    assert said == "the command printed credentials that expired at 2020-01-01T00:00:00+00:00; log in again"


@pytest.mark.parametrize(
    "command",
    [
        printed('"2020-01-01T00:00:00Z"', version="version"),
        printed('"2020-01-01T00:00:00Z"', key="accessKeyId"),
        printed('"2020-01-01T00:00:00Z"', name="expiration"),
        printed("5"),
        printed('"yesterday"'),
        printed('"2020-13-01T00:00:00Z"'),
        printed('"2020-01-01 00:00:00Z"'),
        printed('"2020-01-01T00:00:00"'),
        "echo '[1]'",
        "echo '{'",
        'echo \'{"AccessKeyId": "A"}\'',
    ],
)
def test_other_json_is_a_value_like_any_other(command: str) -> None:
    """Other keys, other case, no time of RFC 3339."""
    assert fetch(command, "90s").lifetime == 90.0


@settings(deadline=None)
@given(st.text(max_size=40) | st.sampled_from(["{" * 9, "[" * 9, '{"a":' * 9]).map(lambda text: text * 5000))
def test_any_value_has_an_expiry_or_none(value: str) -> None:
    """Nothing is raised, however deep it nests."""
    assert process._expiration(value) is None
