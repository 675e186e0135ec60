"""Facts about the values of all credentials: modes, shared fetches, failures, refreshing."""

from __future__ import annotations

import base64
import json
import os
import queue
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from pytest_gatekeeper._core.model import Credential, Rule, SourceSpec
from pytest_gatekeeper._core.secret import Secret
from pytest_gatekeeper._sources.vault import SecretsMode, Vault, count_real, is_real
from pytest_gatekeeper.config import Config
from pytest_gatekeeper.errors import ConfigError, SourceError

PATH = {"PATH": os.environ.get("PATH", os.defpath)}
LIMIT = 20.0


def static(host: str, value: str, line: int | None = None, header: str = "Authorization") -> Credential:
    return Credential(host, SourceSpec("static", (), (("value", Secret(value)),)), header, line=line)


def variable(host: str, name: str, line: int | None = None) -> Credential:
    return Credential(host, SourceSpec("env", (("var", name),)), line=line)


def command(host: str, text: str, ttl: str = "") -> Credential:
    return Credential(host, SourceSpec("process", (("command", text), *([("ttl", ttl)] if ttl else []))))


def values(vault: Vault) -> list[str]:
    return [rule.secret.reveal() for rule in vault.rules]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gatekeeper-secrets"]


MIXED = (
    static("s.example", "s3cret-static"),
    variable("e.example", "A_TOKEN"),
    variable("u.example", "UNSET"),
    command("p.example", "echo s3cret-process"),
    Credential("g.example", SourceSpec("github-app")),
)
ENVIRON = {**PATH, "A_TOKEN": "s3cret-env"}


# ------------------------------------------------------------------ modes


@pytest.mark.parametrize(
    ("mode", "real"),
    [("auto", [True, True, False, False, False]), ("real", [True] * 5), ("canary", [False] * 5)],
)
def test_the_mode_says_what_is_real(mode: SecretsMode, real: list[bool]) -> None:
    """In auto a static value and a variable that is set, in real everything, in canary nothing."""
    assert [is_real(credential, mode, ENVIRON) for credential in MIXED] == real
    assert count_real(MIXED, mode, ENVIRON) == sum(real)


def test_an_empty_variable_is_not_set() -> None:
    """In auto it gets a canary."""
    assert not is_real(variable("e.example", "A_TOKEN"), "auto", {"A_TOKEN": ""})


def test_auto_takes_what_is_at_hand() -> None:
    """The rest is made up, in the shape of its kind; no thread is needed."""
    vault = Vault(MIXED, mode="auto", environ=ENVIRON, salt="test_it")
    assert values(vault)[:2] == ["s3cret-static", "s3cret-env"]
    assert [rule.canary for rule in vault.rules] == [False, False, True, True, True]
    assert all(value.startswith("gatekeeper-canary-") for value in values(vault)[2:4])
    assert values(vault)[4].startswith("ghs_")
    assert [rule.id for rule in vault.rules] == [f"credentials[{index}]" for index in range(5)]
    assert len(set(values(vault))) == 5
    assert threads() == []
    vault.close()


def test_canary_reads_nothing(tmp_path: Path) -> None:
    """No variable and no command; values differ from test to test and stay the same within one."""
    touched = tmp_path / "touched"
    credentials = (*MIXED, command("t.example", f"touch {touched}; echo x"))
    vault = Vault(credentials, mode="canary", environ=ENVIRON, salt="test_one")
    again = Vault(credentials, mode="canary", environ={}, salt="test_one")
    other = Vault(credentials, mode="canary", environ=ENVIRON, salt="test_two")
    assert all(rule.canary for rule in vault.rules)
    assert not any("s3cret" in value for value in values(vault))
    assert values(vault) == values(again)
    assert set(values(vault)).isdisjoint(values(other))
    assert not touched.exists()


def test_real_fetches_everything() -> None:
    """And makes rules of it."""
    vault = Vault(MIXED[:2] + MIXED[3:4], mode="real", environ=ENVIRON, salt="")
    try:
        assert [rule.header_value.reveal() for rule in vault.rules] == [
            "Bearer s3cret-static", "Bearer s3cret-env", "Bearer s3cret-process"
        ]  # fmt: skip
        assert not any(rule.canary for rule in vault.rules)
    finally:
        vault.close()


def test_a_vault_without_credentials_is_empty() -> None:
    """And can be closed, twice."""
    vault = Vault((), mode="real", environ={}, salt="")
    assert vault.rules == ()
    vault.close()
    vault.close()


def test_equal_sources_share_one_fetch(tmp_path: Path) -> None:
    """Whatever else differs between the credentials."""
    log = tmp_path / "log"
    text = f"echo run >> {log}; wc -l < {log}"
    credentials = (command("a.example", text), command("b.example", text), command("c.example", text, "9m"))
    vault = Vault(credentials, mode="real", environ=PATH, salt="")
    vault.close()
    assert values(vault) == ["1", "1", "2"]


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("credential", "said"),
    [
        (variable("e.example", "UNSET", line=7), "the environment variable UNSET is not set; export it"),
        (command("e.example", "echo s3cret; echo oops >&2; exit 3"), "the command ended with status 3: oops"),
        (
            Credential("e.example", SourceSpec("aws-secretsmanager")),
            "fetching from aws-secretsmanager is not built yet",
        ),
    ],
)
def test_what_cannot_be_fetched_is_an_error(credential: Credential, said: str) -> None:
    """It names place, rule and host; the one before it was no problem."""
    with pytest.raises(SourceError) as raised:
        Vault((MIXED[0], credential), mode="real", environ=PATH, salt="", file="gatekeeper.yaml")
    place = "gatekeeper.yaml:7" if credential.line else "gatekeeper.yaml"
    assert str(raised.value).startswith(f"{place}: credentials[1]: the credential for e.example: {said}")
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


KNOWN = {
    "a variable": "env-s3cret_0b1c2d3e",
    "a key's variable": "k3y-s3cret/7f8e9d",
    "a static value": 'st4tic/"s3cr+t&f9',
    "a client's secret": "cl1ent-s3cret.5566",
    "an output": "proc3ss~s3cret:77ab",
    "the proxy's token": "t0ken-s3cret-a1b2",
}
TELLING = (
    variable("e.example", "A_TOKEN"),
    static("s.example", KNOWN["a static value"]),
    command("p.example", f"echo '{KNOWN['an output']}'"),
)
LATER = (
    Credential("g.example", SourceSpec("github-app", (("private_key_env", "A_KEY"),))),
    Credential("x.example", SourceSpec("token-exchange", (), (("client_secret", Secret(KNOWN["a client's secret"])),))),
)


@pytest.mark.parametrize("form", ["value", "base64", "hexadecimal", "percent", "JSON"])
def test_what_a_command_says_tells_no_other_secret(form: str) -> None:
    """Those of other sources, fetched or not, and the proxy's own, in every encoding; what is no secret is shown."""
    writers: dict[str, Callable[[str], str]] = {
        "value": str,
        "base64": lambda text: base64.b64encode(text.encode()).decode(),
        "hexadecimal": lambda text: text.encode().hex(),
        "percent": lambda text: quote(text, safe=""),
        "JSON": json.dumps,
    }
    written = writers[form]
    environ = {**PATH, "A_TOKEN": KNOWN["a variable"], "A_KEY": KNOWN["a key's variable"]}
    for value in KNOWN.values():
        said = f"printf '%s\\n' {shlex.quote(written(value))} harmless >&2; exit 3"
        with pytest.raises(SourceError) as raised:
            Vault((*TELLING, command("f.example", said), *LATER), mode="real", environ=environ, salt="",
                  secrets=[Secret(KNOWN["the proxy's token"])])  # fmt: skip
        text = str(raised.value)
        assert "status 3: " in text and text.endswith("harmless")
        assert written(value) not in text
        assert f"{Secret(value)}" in text


def test_a_secret_is_blanked_before_what_a_command_says_is_cut() -> None:
    """Not even the beginning of one is left at the end of what is shown, nor behind very much of nothing."""
    environ = {**PATH, "A_TOKEN": KNOWN["a variable"]}
    for lead in ("printf %0250d 7", "printf '%5000s' ''"):
        said = f'{{ {lead}; printf %s "$A_TOKEN"; }} >&2; exit 3'
        with pytest.raises(SourceError) as raised:
            Vault((TELLING[0], command("f.example", said)), mode="real", environ=environ, salt="")
        assert "env-" not in str(raised.value)
        assert "<sec" in str(raised.value)


def test_without_a_file_an_error_has_no_place() -> None:
    """It begins with the rule; where there is a line, it is one of a text."""
    with pytest.raises(SourceError, match=r"^credentials\[0\]: the credential for e.example: "):
        Vault([variable("e.example", "UNSET")], mode="real", environ={}, salt="")
    with pytest.raises(SourceError, match=r"^<string>:7: credentials\[0\]: the credential for e.example: "):
        Vault([variable("e.example", "UNSET", line=7)], mode="real", environ={}, salt="")


def test_what_cannot_be_sent_is_an_error() -> None:
    """It names file, line, rule, character and position, never the value; with a clean value all is well."""
    credentials = [static("s.example", "x"), variable("e.example", "A_TOKEN", line=7)]
    with pytest.raises(ConfigError, match=r"U\+000A, at position 7") as raised:
        Vault(credentials, mode="real", environ={"A_TOKEN": "s3cret\n"}, salt="", file="gatekeeper.yaml")
    error = raised.value
    assert (error.file, error.line, error.key) == ("gatekeeper.yaml", 7, "credentials[1]")
    assert "s3cret" not in str(error)
    assert error.__cause__ is None
    assert len(Vault(credentials, mode="real", environ={"A_TOKEN": "s3cret"}, salt="").rules) == 2


def test_rules_of_a_file_are_in_its_order() -> None:
    """Header, grant and pattern are the entry's."""
    text = """\
credentials:
  - {host: b.example, grant: g, source: {type: static, value: ghp_abc}}
  - {host: "*.example", header: X-Key, source: {type: static, value: abc}}
"""
    vault = Vault(Config.parse(text).credentials, mode="auto", environ={}, salt="")
    assert vault.rules == (
        Rule("credentials[0]", "b.example", "Authorization", "g", Secret("ghp_abc"), Secret("token ghp_abc")),
        Rule("credentials[1]", "*.example", "X-Key", "", Secret("abc"), Secret("abc")),
    )


def test_a_vault_does_not_show_its_values() -> None:
    """Its rules have fingerprints."""
    vault = Vault(MIXED, mode="auto", environ=ENVIRON, salt="")
    assert "s3cret" not in repr(vault) + repr(vault.rules)


# ------------------------------------------------------------------ refreshing


class GatedClock:
    """Time that a test lets pass: each `pass_on` ends one wait."""

    def __init__(self) -> None:
        self.waits: queue.Queue[float] = queue.Queue()
        self._gates: queue.Queue[bool] = queue.Queue()
        self._now = 0.0
        self.stopped = False

    def now(self) -> float:
        """Seconds so far."""
        return self._now

    def wait(self, seconds: float) -> bool:
        """What `Clock` asks for."""
        self.waits.put(seconds)
        stopped = self._gates.get(timeout=LIMIT)
        self._now += seconds
        return stopped

    def pass_on(self) -> float:
        """Let one wait end; gives how long it was to be."""
        seconds = self.waits.get(timeout=LIMIT)
        self._gates.put(False)
        return seconds

    def stop(self) -> None:
        """What `Clock` asks for."""
        self.stopped = True
        self._gates.put(True)

    def jitter(self) -> float:
        """None."""
        return 0.0


@pytest.fixture
def clock() -> Iterator[GatedClock]:
    """A clock that is stopped in the end, whatever the test did."""
    clock = GatedClock()
    yield clock
    clock.stop()


class Source:
    """A command whose output a test sets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "value"
        self.text = f"cat {self.path}"

    def say(self, value: str) -> None:
        """Let the command print this from now on."""
        self.path.write_text(value, encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A command that says `one`."""
    source = Source(tmp_path)
    source.say("one")
    return source


def test_what_expires_is_fetched_again(clock: GatedClock, source: Source) -> None:
    """At three quarters of its time; all rules of the source change at once, and are handed on."""
    changes: queue.Queue[tuple[Rule, ...]] = queue.Queue()
    credentials = (command("a.example", source.text), static("s.example", "x"), command("b.example", source.text))
    vault = Vault(credentials, mode="real", environ=PATH, salt="", on_change=changes.put, clock=clock)
    before = vault.rules
    assert len(threads()) == 1
    assert clock.pass_on() == 225
    assert clock.waits.get(timeout=LIMIT) == 225  # the same value: nothing is handed on
    assert changes.empty()
    assert vault.rules is before

    source.say("two")
    clock._gates.put(False)
    rules = changes.get(timeout=LIMIT)
    assert [rule.secret.reveal() for rule in rules] == ["two", "x", "two"]
    assert vault.rules is rules
    assert [rule.id for rule in rules] == [rule.id for rule in before]
    vault.close()
    assert threads() == []


@pytest.mark.parametrize("bad", ["", "\x01"])
def test_after_a_failure_the_old_value_stays(clock: GatedClock, source: Source, bad: str) -> None:
    """It is tried again after a second, then after two; a success ends that."""
    changes: queue.Queue[tuple[Rule, ...]] = queue.Queue()
    credentials = [command("a.example", source.text, "400s")]
    vault = Vault(credentials, mode="real", environ=PATH, salt="", on_change=changes.put, clock=clock)
    source.say(bad)
    assert [clock.pass_on(), clock.pass_on()] == [300, 1]
    assert clock.waits.get(timeout=LIMIT) == 2
    assert values(vault) == ["one"]
    assert changes.empty()

    source.say("two")
    clock._gates.put(False)
    assert [rule.secret.reveal() for rule in changes.get(timeout=LIMIT)] == ["two"]
    assert clock.waits.get(timeout=LIMIT) == 300
    vault.close()


def test_whatever_fails_does_not_end_the_fetching(
    clock: GatedClock, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody expects counts as a failure, and is logged by its kind alone; then it goes on."""
    changes: queue.Queue[tuple[Rule, ...]] = queue.Queue()

    def refuse_two(rules: tuple[Rule, ...]) -> None:
        if rules[0].secret == "two":
            raise RuntimeError("cannot take two")
        changes.put(rules)

    vault = Vault(
        [command("a.example", source.text)], mode="real", environ=PATH, salt="", on_change=refuse_two, clock=clock
    )
    source.say("two")
    assert clock.pass_on() == 225
    assert clock.waits.get(timeout=LIMIT) == 1
    assert [record.getMessage() for record in caplog.records] == ["a credential was not refreshed: RuntimeError"]
    source.say("three")
    clock._gates.put(False)
    assert [rule.secret.reveal() for rule in changes.get(timeout=LIMIT)] == ["three"]
    assert clock.waits.get(timeout=LIMIT) == 225
    vault.close()


def test_without_a_listener_the_rules_change_all_the_same(clock: GatedClock, source: Source) -> None:
    """Whoever asks gets the newest."""
    vault = Vault([command("a.example", source.text)], mode="real", environ=PATH, salt="", clock=clock)
    source.say("two")
    clock.pass_on()
    assert clock.waits.get(timeout=LIMIT) == 225
    assert values(vault) == ["two"]
    vault.close()


def test_what_is_fetched_after_the_end_is_thrown_away(clock: GatedClock, source: Source) -> None:
    """Rules do not change any more, and nobody is told."""
    changes: list[tuple[Rule, ...]] = []
    vault = Vault(
        [command("a.example", source.text)], mode="real", environ=PATH, salt="", on_change=changes.append, clock=clock
    )
    vault.close()
    source.say("two")
    clock.stopped = False  # as if the command had ended before it was told to
    assert vault._refresh(vault._credentials[0].source) == (True, 300.0)
    assert values(vault) == ["one"]
    assert changes == []


def test_closing_ends_a_command_that_runs(clock: GatedClock, tmp_path: Path) -> None:
    """The vault is closed in a moment, although the command would take a minute."""
    started = tmp_path / "started"
    os.mkfifo(started)
    text = f"test -e {tmp_path}/first || {{ touch {tmp_path}/first; echo one; exit; }}; echo > {started}; sleep 60"
    vault = Vault([command("a.example", text)], mode="real", environ=PATH, salt="", clock=clock)
    clock.pass_on()
    started.read_text(encoding="utf-8")  # until the command has begun
    vault.close()
    assert threads() == []
    assert values(vault) == ["one"]


def test_canaries_do_not_expire() -> None:
    """There is nothing to fetch again."""
    vault = Vault([command("a.example", "echo one")], mode="auto", environ=PATH, salt="")
    assert threads() == []
    vault.close()
