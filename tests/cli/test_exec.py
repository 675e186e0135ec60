"""Facts about `exec`: any command, led to the proxy by its environment alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import row

Finished = subprocess.CompletedProcess[str]
Gatekeeper = Callable[..., Finished]

HOSTS = ("--origin", "api.example.com", "--origin", "cdn.example.com")
FETCH = (
    sys.executable, "-c",
    "import sys, urllib.request\n"
    "for url in sys.argv[1:]: print(urllib.request.urlopen(url, timeout=20).read().decode())",
)  # fmt: skip


def test_the_command_gets_its_credential_and_the_table_ends_it(gatekeeper: Gatekeeper, config: Path) -> None:
    """The upstream saw the key from one host's request alone; stdout is the command's own, the table is on stderr."""
    done = gatekeeper(
        "exec", "--config", config, *HOSTS, "--", *FETCH, "https://api.example.com/v1", "https://cdn.example.com/x",
        hides=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    api, cdn = (dict(json.loads(line)["headers"]) for line in done.stdout.splitlines())
    assert api["X-Api-Key"].startswith("k3y-")
    assert "X-Api-Key" not in cdn
    assert row(done.stderr, "api") == ["api.example.com", "X-Api-Key", "api", "api.example.com", "1", "0", "1"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_client_in_another_language_needs_nothing_else(gatekeeper: Gatekeeper, config: Path) -> None:
    """curl through a shell, https and http."""
    script = "curl -sSf https://api.example.com/a && curl -sSf http://api.example.com/b"
    done = gatekeeper("exec", "--config", config, *HOSTS, "--", "sh", "-c", script, hides=False)

    assert done.returncode == 0, done.stderr
    assert row(done.stderr, "api")[-3:] == ["2", "0", "1"]


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_exit_status_is_the_commands(gatekeeper: Gatekeeper, status: int) -> None:
    """Whatever it is."""
    assert gatekeeper("exec", "--", "sh", "-c", f"exit {status}").returncode == status


def test_a_command_that_a_signal_ended_is_told_as_shells_do(gatekeeper: Gatekeeper) -> None:
    """128 + n; the table still comes."""
    done = gatekeeper("exec", "--", "sh", "-c", "kill -KILL $$")
    assert done.returncode == 128 + signal.SIGKILL
    assert "no rules" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_handed_on(environ: dict[str, str], number: signal.Signals) -> None:
    """The command gets it and may end in its own way; so does exec."""
    script = f"trap 'exit 9' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [sys.executable, "-m", "pytest_gatekeeper", "exec", "--", "sh", "-c", script],
        env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            running.send_signal(number)
            _, told = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 9, told
    assert "gatekeeper scope" in told


def test_a_signal_that_does_not_end_the_wait_is_handed_on(
    environ: dict[str, str], unwoken: Callable[[signal.Signals], tuple[str, ...]]
) -> None:
    """One that comes just before exec waits for its command wakes nobody."""
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [*unwoken(signal.SIGTERM), "exec", "--", "sh", "-c", script],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            _, told = running.communicate("now\n", timeout=60)
        finally:
            running.kill()
    assert running.returncode == 9, told


DISPOSITIONS = """
import signal
print(*(signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGHUP, signal.SIGINT)))
"""


@pytest.mark.parametrize(("trap", "told"), [("trap '' HUP INT; ", "True True"), ("", "False False")])
def test_a_signal_that_is_ignored_stays_so(environ: dict[str, str], trap: str, told: str) -> None:
    """Under nohup, or in a script's background: the command ignores it as it would without exec."""
    script = f'{trap}exec "$0" -m pytest_gatekeeper exec -- "$0" -c "$1"'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, DISPOSITIONS],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == f"{told}\n", done.stderr


def test_an_unused_rule_fails_the_run_when_asked_to(gatekeeper: Gatekeeper, config: Path) -> None:
    """Status 1 and a reason; 0 where nobody asked, or the rule was used; a failing command keeps its own status."""
    unused = gatekeeper("exec", "--config", config, "--fail-on", "unused", "--", "true")
    assert unused.returncode == 1
    assert "failed on unused" in unused.stderr
    assert gatekeeper("exec", "--config", config, "--", "true").returncode == 0
    used = gatekeeper(
        "exec", "--config", config, *HOSTS, "--fail-on", "unused", "--", *FETCH, "https://api.example.com/", hides=False
    )
    assert used.returncode == 0, used.stderr
    assert gatekeeper("exec", "--config", config, "--fail-on", "unused", "--", "false", "x").returncode == 1


def test_a_violation_fails_the_run_unless_told_otherwise(gatekeeper: Gatekeeper, config: Path) -> None:
    """An inner Host that names another host is a violation; `none` lets it pass."""
    script = "curl -sS -H 'Host: evil.example.com' https://api.example.com/"
    failed = gatekeeper("exec", "--config", config, *HOSTS, "--", "sh", "-c", script)
    assert failed.returncode == 1, failed.stderr
    assert "failed on violation" in failed.stderr
    assert "evil.example.com" in failed.stderr
    passed = gatekeeper("exec", "--config", config, *HOSTS, "--fail-on", "none", "--", "sh", "-c", script)
    assert passed.returncode == 0, passed.stderr


def test_routes_and_another_authority(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    """A name led to a server of one's own, whose certificate another authority vouches for; without it, 502."""
    from pytest_gatekeeper import Origin

    with Origin() as origin:
        pem = tmp_path / "ca.pem"
        pem.write_bytes(origin.ca_pem)
        route = f"*.example.org={origin.url}"
        command = ("--", "curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "https://a.example.org/")
        trusted = gatekeeper("exec", "--route", route, "--trust", pem, *command)
        untrusted = gatekeeper("exec", "--route", route, *command)
    assert (trusted.stdout, untrusted.stdout) == ("200", "502"), trusted.stderr
    assert "certificate" in untrusted.stderr


def test_what_the_shell_had_set_does_not_reach_the_command(gatekeeper: Gatekeeper) -> None:
    """NO_PROXY in any case, and a proxy of another tool, are gone."""
    script = "import os; print(os.environ.get('NO_PROXY'), os.environ.get('No_Proxy'), os.environ['https_proxy'])"
    done = gatekeeper(
        "exec", "--", sys.executable, "-c", script, NO_PROXY="*", No_Proxy="*", https_proxy="http://corp.invalid:1"
    )
    upper, odd, proxy = done.stdout.split()
    assert (upper, odd) == ("None", "None")
    assert proxy.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("exec",), "exec needs a command"),
        (("exec", "--"), "exec needs a command"),
        (("exec", "--", "/nonexistent/command"), "/nonexistent/command: No such file or directory"),
        (("exec", "--config", "nope.yaml", "--", "true"), "nope.yaml: there is no such file"),
        (("exec", "--route", "x", "--", "true"), "'x' is not HOST=URL"),
        (("exec", "--route", "a.example=ftp://b", "--", "true"), "must begin with http://"),
        (("exec", "--trust", "nope.pem", "--", "true"), "nope.pem cannot be read"),
        (("exec", "--fail-on", "leek", "--", "true"), "'leek' must be a list of leak"),
        (("exec", "--idle-timeout", "0", "--", "true"), "'0' is no number of seconds above 0"),
        (("exec", "--secrets", "some", "--", "true"), "invalid choice: 'some'"),
        (("frobnicate",), "invalid choice: 'frobnicate'"),
        ((), "required: COMMAND"),
    ],
)
def test_misuse_is_told_in_a_line(gatekeeper: Gatekeeper, arguments: tuple[str, ...], text: str) -> None:
    """Status 2, the words that name the way out, no traceback."""
    done = gatekeeper(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_silence_is_told(gatekeeper: Gatekeeper, config: Path) -> None:
    """A command whose clients do not use the proxy would else look like one that needed no credential."""
    said = "no request reached the proxy: does the client read HTTPS_PROXY?"
    assert said in gatekeeper("exec", "--config", config, "--", "true").stderr
    done = gatekeeper("exec", *HOSTS, "--", *FETCH, "http://cdn.example.com/")
    assert said not in done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_what_failed_is_told_with_its_cause(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    """Each cause once, with how often, also where the log goes to a file and the command says nothing."""
    from pytest_gatekeeper import Origin

    quiet = tmp_path / "quiet.yaml"
    quiet.write_text("log: {output: gate.log}\n", encoding="utf-8")
    pem = tmp_path / "other.pem"
    pem.write_bytes(Origin().ca_pem)
    script = "curl -so /dev/null https://no.example.com/a https://no.example.com/b ; curl -s --cacert other.pem $1 ; :"
    done = gatekeeper("exec", "--config", quiet, *HOSTS, "--", "sh", "-c", script, "-", "https://api.example.com/")

    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "failed: GET https://no.example.com/a, 2 times: no.example.com has no route, and the network is clo" in told
    assert told.count("has no route") == 1
    assert "failed: CONNECT api.example.com:443: the client does not trust the proxy's CA" in told


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_what_policy_denied_is_told_with_the_way_out(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    """Each host once, with how often, also where the log goes to a file; without a denial nothing is told."""
    strict = tmp_path / "strict.yaml"
    strict.write_text(
        "network: {policy: strict, allow: [api.example.com]}\nlog: {output: gate.log}\n", encoding="utf-8"
    )
    urls = "curl -s https://no.example.com/ ; curl -s https://no.example.com/ ; curl -s http://no.example.com/x ;"
    done = gatekeeper("exec", "--config", strict, *HOSTS[:2], "--", "sh", "-c", f"{urls} true", hides=False)

    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "denied: CONNECT no.example.com:443, 2 times: no.example.com is not allowed by the network policy" in told
    assert 'add "no.example.com" to network.allow' in told
    assert "denied: GET http://no.example.com/x: no.example.com is not allowed by the network policy" in told
    many = " ".join(f"http://no.example.com/{number}" for number in range(12))
    more = gatekeeper("exec", "--config", strict, "--", "sh", "-c", f"curl -s {many}; true", hides=False)
    assert "denied: GET http://no.example.com/9: " in more.stderr
    assert "denied: … and 2 more" in more.stderr
    fine = gatekeeper("exec", "--config", strict, *HOSTS[:2], "--", "curl", "-s", "http://api.example.com", hides=False)
    assert "denied" not in fine.stderr


def shell(script: str, folder: Path, environ: dict[str, str]) -> Finished:
    """A script, `$GK` in which runs the command line."""
    environ = {**environ, "GK": f"{sys.executable} -m pytest_gatekeeper"}
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&1 >/dev/null | true"])
@pytest.mark.parametrize("status", [0, 5])
def test_nobody_has_to_read_what_it_says(
    config: Path, environ: dict[str, str], tmp_path: Path, closed: str, status: int
) -> None:
    """The command runs and its status counts, also where standard streams are closed, or their reader has left."""
    inner = f"$GK exec --config {config} -- sh -c 'touch ran; exit {status}'"
    done = shell(f"{{ {inner}; echo $? > status; }} {closed}", tmp_path, environ)
    assert (tmp_path / "ran").exists()
    assert (tmp_path / "status").read_text().split() == [str(status)]
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert ("gatekeeper scope" in done.stderr) is (closed in ("", ">&-"))
