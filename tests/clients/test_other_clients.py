"""Clients in a process of their own: tools and other languages, told nothing but the environment of the test.

Tools come from the machine; what `install.py` brings is in `clients/` of the Python environment. What is missing is
skipped with its reason.
"""

from __future__ import annotations

import functools
import importlib.metadata
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from tests.clients.conftest import (
    HOST,
    INSTALL,
    INSTALLED,
    PROCESS_LIMIT,
    TURNS,
    Cell,
    Client,
    Site,
    cells,
    on_path,
)

SECTION = "other"

HERE = Path(__file__).resolve().parent
PACKAGES = INSTALLED / "node" / "node_modules"


@functools.cache
def said_by(*command: str) -> str:
    """What a command prints, on either stream."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_LIMIT, check=True)
    return done.stdout + done.stderr


def program(name: str, *question: str) -> Callable[[], str]:
    """How the version of a program is found: the first number that it prints."""

    def version() -> str:
        found = re.search(r"\d+(\.\d+)+", said_by(on_path(name), *question))
        assert found is not None, f"{name} does not tell its version"
        return found[0]

    return version


# ------------------------------------------------------------------ tools


def with_curl(site: Site) -> str:
    return site.run("curl", "--silent", "--show-error", "--fail", site.url)


def with_wget(site: Site) -> str:
    return site.run("wget", "--quiet", "--output-document=-", "--tries=1", site.url, tool="wget")


def as_git(site: Site) -> None:
    """One branch, named as the word (git's http-protocol, "Smart Server Response")."""
    lines = ("# service=git-upload-pack\n", "", f"{'a' * 40} refs/heads/{site.word}\0\n", "")
    body = "".join(f"{len(line) + 4:04x}{line}" if line else "0000" for line in lines)
    kind = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    site.origin.respond(path="/repository.git/info/refs", headers=kind, body=body)


def with_git(site: Site) -> str:
    return site.run("git", "ls-remote", f"https://{HOST}/repository.git")


def as_index(site: Site) -> None:
    """A simple index with one wheel, whose summary is the word."""
    wheel, info = "tiny-1.0-py3-none-any.whl", "tiny-1.0.dist-info"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nSummary: {site.word}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    page = f'<!DOCTYPE html><html><body><a href="/files/{wheel}">{wheel}</a></body></html>'
    site.origin.respond(path="/simple/tiny/", headers={"Content-Type": "text/html"}, body=page)
    site.origin.respond(path=f"/files/{wheel}", body=content.getvalue())


def with_pip(site: Site) -> str:
    index = ("--index-url", f"https://{HOST}/simple/")
    options = ("--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--retries=0", "--dest=got")
    site.run(sys.executable, "-m", "pip", "download", *options, *index, "tiny")
    (wheel,) = (site.folder / "got").glob("*.whl")
    return zipfile.ZipFile(wheel).read("tiny-1.0.dist-info/METADATA").decode()


def pip_version() -> str:
    try:
        return importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the environment has no pip")


def as_registry(site: Site) -> None:
    """One package, whose description is the word."""
    manifest = {"name": "tiny", "version": "1.0.0", "description": site.word, "dist": {}}
    body = {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": manifest}}
    site.origin.respond(path="/tiny", headers={"Content-Type": "application/json"}, body=body)


def with_npm(site: Site) -> str:
    options = ("--registry", f"https://{HOST}/", "--cache", str(site.folder / "cache"), "--fetch-retries=0")
    return site.run("npm", "view", "tiny", "description", *options)


# ------------------------------------------------------------------ Node


def node_script(name: str) -> Callable[[Site], str]:
    """A script of the folder `node`, run where the packages are."""

    def action(site: Site) -> str:
        command = ("node", "--input-type=module", "-", site.url, site.word)
        return site.run(
            *command, script=HERE / "node" / f"{name}.mjs", cwd=PACKAGES.parent if PACKAGES.exists() else None
        )

    return action


def node_that_reads_the_environment() -> str:
    """Node 22.21, 24 or later."""
    version = program("node", "--version")()
    knows = said_by(on_path("node"), "-p", "process.allowedNodeEnvironmentFlags.has('--use-env-proxy')")
    if int(version.split(".")[0]) < 24 and "true" not in knows:
        pytest.skip(f"Node {version} does not know NODE_USE_ENV_PROXY")
    return version


def package(*names: str) -> Callable[[], str]:
    """How the version of an npm package is found, and that of those beside it."""

    def version() -> str:
        on_path("node")
        manifests = [PACKAGES / name / "package.json" for name in names]
        if not all(manifest.exists() for manifest in manifests):
            pytest.skip(INSTALL)
        return " / ".join(json.loads(manifest.read_text(encoding="utf-8"))["version"] for manifest in manifests)

    return version


def with_wscat(site: Site) -> str:
    """With no wait it says goodbye at once, and the echo comes before the goodbye of the other side."""
    wscat = PACKAGES / "wscat" / "bin" / "wscat"
    command = 'exec node "$0" --proxy "$HTTPS_PROXY" --connect "$1" --execute "$2" --wait 0'
    return site.run("sh", "-c", command, str(wscat), site.url, site.word)


# ------------------------------------------------------------------ Java, Go


def java_version() -> str:
    """A JDK's: the script is compiled as it is run."""
    on_path("javac")
    if not hasattr(pkcs12, "serialize_java_truststore"):
        pytest.skip("this cryptography is too old to write a Java trust store")
    return program("java", "-version")()


def with_java(site: Site) -> str:
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
    return site.run("java", *quick, str(HERE / "java" / "Talk.java"), site.url, site.word, tool="java")


def go_version() -> str:
    """That of the toolchain that built the program."""
    if not (INSTALLED / "go" / "fetch").exists():
        pytest.skip(INSTALL if shutil.which("go") else "this machine has no go")
    return program("go", "version")()


def with_go(site: Site) -> str:
    return site.run(str(INSTALLED / "go" / "fetch"), site.url)


# ------------------------------------------------------------------ the roster

AGENT = "`agent: new HttpsProxyAgent(process.env.HTTPS_PROXY)`"
DISPATCHER = "`setGlobalDispatcher(new EnvHttpProxyAgent())`"

CLIENTS = [
    Client("curl", program("curl", "--version"), with_curl),
    Client("wget", program("wget", "--version"), with_wget, needs='`proxy.env_with("wget")`'),
    Client("git ls-remote", program("git", "--version"), with_git, answer=as_git),
    Client("pip download", pip_version, with_pip, answer=as_index, times=2),
    Client("npm view", program("npm", "--version"), with_npm, answer=as_registry),
    Client(
        "Node (its own fetch and WebSocket)", node_that_reads_the_environment, node_script("fetch"),
        node_script("websocket"), needs="Node 22.21, or 24 and later",
    ),
    Client(
        "Node (undici)", package("undici"), node_script("undici-fetch"), node_script("undici-websocket"),
        needs=DISPATCHER,
    ),
    Client(
        "Node (https and ws with https-proxy-agent)", package("https-proxy-agent", "ws"), node_script("agent-https"),
        node_script("agent-ws"), needs=AGENT,
    ),
    Client("wscat", package("wscat"), wss=with_wscat, needs="`--proxy $HTTPS_PROXY`"),
    Client("Java HttpClient", java_version, with_java, with_java, needs='`proxy.env_with("java")`'),
    Client("Go net/http", go_version, with_go),
]  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("cell", cells(SECTION, CLIENTS), indirect=True)
def test_a_client_of_its_own_process_needs_what_the_table_says(
    cell: Cell, turn: str, converse: Callable[[str], None]
) -> None:
    """It reaches a name that does not resolve, what comes back is the upstream's, and the credential was added."""
    converse(turn)


def test_the_table_has_these_clients(rows: Callable[..., Any]) -> None:
    """It names each with its schemes and needs, no other, and says that all work: the tests above are the proof."""
    told, shown = rows(SECTION, CLIENTS)
    assert told == shown
