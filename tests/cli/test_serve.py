"""Facts about `serve`: the proxy in the foreground, for a second shell."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]
FETCH = "import urllib.request; print(urllib.request.urlopen('https://api.example.com/', timeout=20).status)"


@pytest.fixture
def serving(tmp_path: Path, config: Path, environ: dict[str, str]) -> Callable[..., object]:
    """`serve` in the background; gives the process and the file that its standard output goes to."""

    @contextmanager
    def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        exports = tmp_path / "exports.sh"
        command = [sys.executable, "-m", "pytest_gatekeeper", "serve", "--config", str(config), *arguments]
        with exports.open("w") as out, subprocess.Popen(
            command, cwd=tmp_path, env=environ, stdout=out, stderr=subprocess.PIPE, text=True
        ) as running:  # fmt: skip
            try:
                assert running.stderr is not None
                line = ""
                while "listening on" not in line:
                    line = running.stderr.readline()
                    assert line, "serve ended"
                yield running, exports
            finally:
                running.kill()

    return serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_shell_sources_what_it_prints(
    serving: Callable[..., object], environ: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """The client of that shell gets its answer through the proxy; log lines and the table are on stderr."""
    with serving("--origin", "api.example.com") as (running, exports):  # type: ignore[attr-defined]
        done = subprocess.run(
            ["sh", "-c", f'. "{exports}" && exec "{sys.executable}" -c "{FETCH}"'],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout == "200\n", done.stderr
        running.send_signal(number)
        _, told = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "http_method=GET http_host=api.example.com" in told
    assert "credential_injected=true injected_headers=x-api-key grants=api" in told
    assert "gatekeeper scope" in told
    assert environ["API_KEY"] not in told + exports.read_text()


def test_a_signal_that_does_not_end_the_wait_ends_it(
    environ: dict[str, str], unwoken: Callable[[signal.Signals], tuple[str, ...]]
) -> None:
    """One that comes just before serve begins to wait wakes nobody."""
    with subprocess.Popen(
        [*unwoken(signal.SIGTERM), "serve"],
        env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stderr is not None
            assert "listening on" in running.stderr.readline()
            _, told = running.communicate("now\n", timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0, told


def test_port_and_certificate_are_as_asked(serving: Callable[..., object], tmp_path: Path) -> None:
    """The certificate alone is written, and can be loaded; the port is the one that was named."""
    with serving("--ca-out", "ca.pem") as (running, exports):  # type: ignore[attr-defined]
        pem = (tmp_path / "ca.pem").read_text()
        text = exports.read_text()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    ssl.create_default_context(cadata=pem)
    assert "PRIVATE" not in pem
    port = next(line.rpartition(":")[2] for line in text.splitlines() if line.startswith("export HTTPS_PROXY="))
    with serving("--port", port) as (running, exports):  # type: ignore[attr-defined]
        assert f"export HTTPS_PROXY=http://127.0.0.1:{port}\n" in exports.read_text()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--port", "70000"), "'70000' is no port"),
        (("--ca-out", "/nonexistent/ca.pem"), "--ca-out /nonexistent/ca.pem: cannot be written"),
        (("--config", "nope.yaml"), "nope.yaml: there is no such file"),
    ],
)
def test_misuse_is_told_in_a_line(gatekeeper: Callable[..., Finished], arguments: tuple[str, ...], text: str) -> None:
    """Status 2 and no traceback."""
    done = gatekeeper("serve", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
