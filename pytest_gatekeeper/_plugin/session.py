"""What outlives a test: the configuration, the port, and what tests leave behind.

A `Run` is made in `pytest_configure` and kept under one stash key; it is cheap until a test asks for a proxy. One port
serves all tests of a process, since clients cache a proxy's URL. What tests leave behind is added up in a `Ledger`.
The proxies that fixtures give are `proxies`' matter, what is printed is `report`'s, what travels between processes
`xdist`'s.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._plugin.ledger import Batch, Ledger, batch_of
from pytest_gatekeeper._plugin.marker import Plan
from pytest_gatekeeper._plugin.options import Options, read_options
from pytest_gatekeeper.takings import Follower, Taken

if TYPE_CHECKING:
    from pytest_gatekeeper._core.model import Settings
    from pytest_gatekeeper._plugin.environ import Lent
    from pytest_gatekeeper.config import Config
    from pytest_gatekeeper.gatekeeper import Gatekeeper, Listener
    from pytest_gatekeeper.recorder import Recorder

__all__ = ["RUN", "Run", "begin", "check_sources"]


class Run:
    """One pytest run in one process.

    Attributes:
        options: what the command line and the ini file say.
        config: the configuration that they name, or None.
        ledger: what the tests of the run did; in a worker process it stays empty.
        test: the running test's name, "" between tests.
        followers: of the recorders that the running test may have filled.
        taken: what was taken from them so far.
        failure: by which what was found failed the latest test that it failed.
        verdict: the line on rules that no test used, once the run has ended.
        reports, report_errors: files that were written, and what was wrong with others.
        unfetched: the latest error of the factory for a secret that had to be real.
        warned: what was said of configurations.
        fingerprint_key: of this run, in all its processes (hexadecimal); "" until there are several.
    """

    def __init__(self, options: Options, config: Config | None = None) -> None:
        self.options = options
        self.config = config
        self.ledger = Ledger(detailed=bool(options.report))
        self.test = ""
        self.followers: list[Follower] = []
        self.taken: list[tuple[Follower, Taken]] = []
        self.verdict = ""
        self.reports: list[Path] = []
        self.report_errors: list[str] = []
        self.unfetched: Exception | None = None
        self.failure: BaseException | None = None
        self.warned = {str(finding) for finding in config.findings} if config is not None else set()
        self.fingerprint_key = ""
        self._wide: list[Follower] = []  # of the factory's proxies
        self._listener: tuple[int, Listener] | None = None
        self._lent: Lent | None = None

    # ---- making proxies

    def listener(self) -> Listener:
        """The port of this process, opened at the first call (a forked child opens one of its own)."""
        from pytest_gatekeeper.gatekeeper import open_listener

        if self._listener is None or self._listener[0] != os.getpid():
            self._listener = os.getpid(), open_listener()
        return self._listener[1]

    def make(self, plan: Plan, config: Settings, *, salt: str, listener: Listener | None = None) -> Gatekeeper:
        """A running proxy."""
        from pytest_gatekeeper._core.secret import share_fingerprint_key
        from pytest_gatekeeper.gatekeeper import Gatekeeper

        if self.fingerprint_key:
            share_fingerprint_key(bytes.fromhex(self.fingerprint_key))
        proxy = Gatekeeper(
            config,
            secrets=plan.secrets,
            allow_network=plan.allow_network,
            idle_timeout=plan.idle_timeout,
            upstream_timeout=plan.upstream_timeout,
            no_proxy=plan.no_proxy,
            credentials=plan.credentials,
            listener=listener,
            salt=salt,
            watch_bypass=listener is not None,  # the others leave the environment alone
        )
        proxy.start()
        return proxy

    # ---- the running test

    def begin_test(self, nodeid: str) -> None:
        """A test begins: what wider proxies saw before is not its own."""
        self.test = nodeid
        self.followers = list(self._wide)
        for follower in self._wide:
            follower.begin()

    def follow(self, recorder: Recorder, name: str, fail_on: tuple[str, ...], *, wide: bool = False) -> Follower:
        """A proxy was made that the running test may use; a wide one outlives it."""
        follower = Follower(recorder, name, fail_on, wide=wide, detailed=bool(self.options.report))
        self.followers.append(follower)
        if wide:
            self._wide.append(follower)
        return follower

    def lent(self, lent: Lent) -> None:
        """The running test has the environment."""
        self._lent = lent

    def settle(self) -> None:
        """The running test's last fixture is gone: its environment must be, too."""
        if self._lent is not None:
            self._lent.settle()
            self._lent = None

    def take(self, follower: Follower, *, last: bool = False) -> None:
        """Keep what a recorder gained as facts; the `last` time its proxy is closed."""
        self.taken.append((follower, follower.take(self._label() or follower.name, last=last)))
        if last and follower in self._wide:
            self._wide.remove(follower)

    def take_wide(self) -> None:
        """Keep what the wide proxies' recorders gained during the running test."""
        for follower in self._wide:
            self.take(follower)

    def end_test(self) -> Batch | None:
        """The running test has been reported: what it did, as facts that can travel."""
        batch = batch_of((taken for _, taken in self.taken), self._label())
        self.test, self.followers, self.taken = "", [], []
        return batch

    def _label(self) -> str:
        """The running test's name, without a secret where it is going to be written to a file."""
        name = self.test
        for follower in self.followers if self.options.report else ():
            name = follower.label(name)
        return name

    def close(self) -> None:
        """Give up the port."""
        self.settle()
        if self._listener is not None and self._listener[0] == os.getpid():
            listener, self._listener = self._listener[1], None
            listener.close()


RUN = pytest.StashKey[Run]()
"""Where the run is kept in `config.stash`."""


# ------------------------------------------------------------------ a run begins


def begin(config: pytest.Config) -> Run:
    """Read options and configuration; raises UsageError for what cannot be used, and never shows a secret."""
    options = read_options(config)
    loaded = None
    if options.config is not None:
        loaded = _load(options.config, options.config_source, config.invocation_params.dir)
        if not hasattr(config, "workerinput"):  # the controller has said it
            _warn(config, loaded)
    run = config.stash[RUN] = Run(options, loaded)
    return run


def _load(path: Path, source: str, folder: Path) -> Config:
    from pytest_gatekeeper.config import Config
    from pytest_gatekeeper.errors import ConfigError

    shown = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    try:
        return Config.parse(path.read_bytes(), shown)
    except OSError as error:
        raise pytest.UsageError(f"{source}: cannot read {shown!r}: {error.strerror}") from None
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None


def _warn(config: pytest.Config, loaded: Settings) -> None:
    from pytest_gatekeeper.errors import ConfigWarning

    for finding in loaded.findings:
        try:
            config.issue_config_time_warning(ConfigWarning(str(finding)), stacklevel=2)
        except ConfigWarning as warning:  # -W error
            raise pytest.UsageError(str(warning)) from None


def check_sources(session: pytest.Session) -> None:
    """Before the first test: where all secrets must be real, one that cannot be fetched ends the run."""
    run = session.config.stash[RUN]
    elsewhere = session.config.option.collectonly or hasattr(session.config, "workerinput")
    if run.config is None or run.options.secrets != "real" or elsewhere:
        return
    from pytest_gatekeeper.errors import GatekeeperError
    from pytest_gatekeeper.gatekeeper import Gatekeeper

    try:
        Gatekeeper(run.config, secrets="real").close()  # else it would fetch again what expires
    except GatekeeperError as error:
        raise pytest.UsageError(f"gatekeeper: {error}") from None
