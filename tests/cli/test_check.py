"""Facts about `check`: what a shell is told of a configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Finished = subprocess.CompletedProcess[str]
Gatekeeper = Callable[..., Finished]

ROOT = Path(__file__).resolve().parent.parent.parent
BROKEN = {
    "denied": (1, ["denied", "port"]),
    "dropped-host": (2, ["invalid"]),
    "equal-rules": (1, ["equal-rules", "host-case"]),
    "never-matches": (1, ["never-matches"] * 3),
    "not-yaml": (2, ["invalid"]),
    "public-suffix": (1, ["public-suffix"] * 3),
    "shadowed": (1, ["shadowed"] * 2),
    "two-documents": (1, ["allow-ignored", "several-documents"]),
    "unknown-keys": (1, ["unknown-key"] * 3),
    "written-secret": (1, ["auth-token", "static-secret", "env-name"]),
}
SECRETS = ("correct-horse", "battery-staple")


@pytest.mark.parametrize("example", sorted(ROOT.glob("examples/*/gatekeeper.yaml")), ids=lambda path: path.parent.name)
def test_the_examples_are_clean(gatekeeper: Gatekeeper, example: Path) -> None:
    """Status 0, and a line that says what was read."""
    done = gatekeeper("check", example)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{example}: ")
    assert done.stdout.endswith(": no findings\n")
    assert json.loads(gatekeeper("check", "--format", "json", example).stdout) == {
        "file": str(example), "errors": [], "findings": [],
    }  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_as_text_and_as_json(gatekeeper: Gatekeeper, name: str) -> None:
    """The same facts both ways, with file, line and code; no line beyond the terminal, no secret."""
    status, codes = BROKEN[name]
    file = ROOT / "tests" / "data" / "broken" / f"{name}.yaml"
    text = gatekeeper("check", file, COLUMNS="100")
    told = gatekeeper("check", "--format=json", file)
    assert (text.returncode, told.returncode, text.stderr, told.stderr) == (status, status, "", "")

    facts = json.loads(told.stdout)
    assert facts["file"] == str(file)
    assert (facts["errors"] == []) == (status == 1)
    assert [fact["code"] for fact in facts["errors"] + facts["findings"]] == codes
    flat = " ".join(text.stdout.split())
    for fact in facts["errors"] + facts["findings"]:
        key = f"{fact['key']}: " if fact["key"] else ""
        assert f"{file}:{fact['line']}: {key}{fact['problem']} [{fact['code']}]" in flat
    assert [line for line in text.stdout.replace(str(file), "x").splitlines() if len(line) > 100] == []
    assert [secret for secret in SECRETS if secret in text.stdout + told.stdout] == []


def test_there_are_ten_of_them() -> None:
    """And each is expected to be told of."""
    assert sorted(path.stem for path in (ROOT / "tests/data/broken").iterdir()) == sorted(BROKEN)
    assert len(BROKEN) == 10
    text = (ROOT / "tests/data/broken/written-secret.yaml").read_text(encoding="utf-8")
    assert all(secret in text for secret in SECRETS)


def test_text_is_as_wide_as_the_terminal(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    """Within what reads well: 60 to 100 columns; lines that follow are indented."""
    (tmp_path / "g.yaml").write_text("credentials:\n- {host: a.example, source: {type: static, value: s3cret}}\n")
    assert gatekeeper("check", "g.yaml", COLUMNS="72").stdout == (
        "g.yaml:2: credentials[0].source.value: a secret is written in the file;\n"
        "    write 'source: {type: env, var: NAME}' and export it [static-secret]\n"
        "g.yaml: 1 rule, policy permissive: 1 finding\n"
    )
    for columns, width in (("20", 60), ("300", 100)):
        lines = gatekeeper("check", "g.yaml", COLUMNS=columns).stdout.splitlines()
        assert width - 20 < max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"network: {policy: STRICT}", "g.yaml:1: network.policy: there is no such policy"),
        (b"a: [", "g.yaml:2: is no YAML: "),
        (b"\xff", "g.yaml:1: is no UTF-8 text"),
        (b"proxy: {port: x}", "g.yaml:1: proxy.port: must be a whole number"),
        (b"- a", "g.yaml:1: a configuration is a mapping"),
    ],
)
def test_what_cannot_be_read_is_an_error(gatekeeper: Gatekeeper, tmp_path: Path, text: bytes, told: str) -> None:
    """Status 2, with place, key and problem."""
    (tmp_path / "g.yaml").write_bytes(text)
    done = gatekeeper("check", "g.yaml")
    assert done.returncode == 2
    assert done.stdout.startswith(told)
    assert done.stdout.endswith("[invalid]\ng.yaml: cannot be used\n")
    facts = json.loads(gatekeeper("check", "g.yaml", "--format", "json").stdout)
    assert [fact["code"] for fact in facts["errors"]] == ["invalid"]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("nope.yaml", "nope.yaml: there is no such file; check the path [unreadable]\n"),
        (".", ".: is a directory; name the file in it [unreadable]\n"),
    ],
)
def test_a_file_that_is_none_is_an_error(gatekeeper: Gatekeeper, file: str, told: str) -> None:
    """Status 2; a program sees no line and no key."""
    done = gatekeeper("check", file)
    assert (done.returncode, done.stdout) == (2, f"{told}{file}: cannot be used\n")
    (fact,) = json.loads(gatekeeper("check", "--format=json", file).stdout)["errors"]
    assert (fact["file"], fact["line"], fact["key"], fact["code"]) == (file, None, None, "unreadable")


def test_a_pipe_is_read_once(environ: dict[str, str]) -> None:
    """As a shell's process substitution gives it; credentials still have lines."""
    command = [sys.executable, "-m", "pytest_gatekeeper", "check", "/dev/stdin"]
    done = subprocess.run(
        command, input="credentials:\n- {host: '*.com', source: {type: env, var: A}}\n", env=environ,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("/dev/stdin:2: credentials[0].host: ")


def test_routes_are_held_against_policy(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    """As they are given to exec, or without the URL; under strict the port has to be allowed."""
    (tmp_path / "g.yaml").write_text("network: {policy: strict, allow: [api.example.com, '*.example.org:8443']}\n")

    def codes(*routes: str) -> list[str]:
        arguments = [argument for route in routes for argument in ("--route", route)]
        done = gatekeeper("check", "--format=json", "g.yaml", *arguments)
        return [fact["code"] for fact in json.loads(done.stdout)["findings"]]

    assert codes("api.example.com=http://127.0.0.1:8000", "*.example.org", "b.example.org:8443=ws://127.0.0.1:1") == []
    assert codes("api.example.com:8443=http://127.0.0.1:8443") == ["port"]
    assert codes("ws.example.com", "*.example.net:99=https://[::1]:9") == ["denied", "denied"]


def test_kinds_can_be_left_out(gatekeeper: Gatekeeper) -> None:
    """What is ignored is neither told nor makes the status 1; errors cannot be."""
    file = ROOT / "tests/data/broken/written-secret.yaml"
    some = gatekeeper("check", file, "--ignore", "auth-token,env-name")
    assert some.returncode == 1
    assert "static-secret" in some.stdout
    assert "auth-token" not in some.stdout
    every = gatekeeper("check", file, "--ignore", "auth-token, env-name", "--ignore", "static-secret")
    assert every.returncode == 0
    assert every.stdout == f"{file}: 2 rules, policy permissive: no findings\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "the following arguments are required: FILE"),
        (("g.yaml", "--format", "xml"), "invalid choice: 'xml'"),
        (("g.yaml", "--ignore", "all"), "'all' is no comma list of denied, port, "),
        (("g.yaml", "--ignore", ","), "is no comma list of"),
        (("g.yaml", "--route", "https://a.example"), "a route begins with a host"),
        (("g.yaml", "--route", "=http://a.example"), "a route begins with a host"),
        (("g.yaml", "--route", "a.example:0"), "a route begins with a host"),
    ],
)
def test_misuse_is_told_in_a_line(gatekeeper: Gatekeeper, arguments: tuple[str, ...], text: str) -> None:
    """Status 2, nothing on standard output, no traceback."""
    done = gatekeeper("check", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "status"), [("unknown-keys", 1), ("not-yaml", 2)])
def test_nobody_has_to_read_what_it_says(environ: dict[str, str], tmp_path: Path, name: str, status: int) -> None:
    """The status tells what was found, also where standard output is closed, or its reader has left."""
    file = ROOT / "tests" / "data" / "broken" / f"{name}.yaml"
    for where in ("> told", ">&-", "| true"):
        script = f"{{ {sys.executable} -m pytest_gatekeeper check {file}; echo $? > status; }} {where}"
        done = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert ((tmp_path / "status").read_text().split(), done.stderr) == ([str(status)], "")
    assert (tmp_path / "told").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_result_that_cannot_be_written_is_an_error(environ: dict[str, str], config: Path) -> None:
    """Status 2 and a line that says so, for nobody would know otherwise."""
    command = [sys.executable, "-m", "pytest_gatekeeper", "check", str(config)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("gatekeeper: standard output cannot be written: ")
    assert done.stderr.count("\n") == 1
