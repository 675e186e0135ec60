"""The door for pytest: hooks and fixtures, one call each.

This module is loaded in every run of every user who has the package installed. It imports pytest, the standard library
and the light half of `_plugin`; the proxy and all it needs wait until a test asks for a fixture. Logic lives in
`_plugin`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._plugin import environ, judge, marker, options, report, xdist
from pytest_gatekeeper._plugin.proxies import factory, hold, stop_where_unfetched
from pytest_gatekeeper._plugin.session import RUN, begin, check_sources

if TYPE_CHECKING:
    from pytest_gatekeeper._proxy.ca import CertificateAuthority
    from pytest_gatekeeper.config import Config
    from pytest_gatekeeper.gatekeeper import Gatekeeper
    from pytest_gatekeeper.origin import Origin
    from pytest_gatekeeper.recorder import Recorder

# ------------------------------------------------------------------ hooks: a run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini keys."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read every option once; what is wrong ends the run before anything is collected."""
    config.addinivalue_line("markers", marker.LINE)
    run = begin(config)
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        xdist.receive(run, workerinput)
    else:
        config.pluginmanager.register(xdist.Intake(run), "gatekeeper-intake")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give up the port."""
    run = config.stash.get(RUN, None)
    if run is not None:
        run.close()


def pytest_report_header(config: pytest.Config) -> str | None:
    """The line on the configuration."""
    return report.header(config.stash[RUN])


def pytest_sessionstart(session: pytest.Session) -> None:
    """A report that could not be written ends the run before anything is collected."""
    report.prepare(session)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """A part of a suite does not show which rules are used."""
    if items:
        items[0].config.stash[RUN].ledger.deselected += len(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """With secrets that must be real: fetch them before the first test."""
    check_sources(session)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: leave what is left for the controller. Elsewhere: judge the run, and write the reports."""
    workeroutput = getattr(session.config, "workeroutput", None)
    if workeroutput is not None:
        xdist.hand_over(session.config.stash[RUN], workeroutput)
    else:
        report.finish(session)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The scope table."""
    report.print_scope(config.stash[RUN], terminalreporter)


# ------------------------------------------------------------------ hooks: workers of pytest-xdist


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: xdist.WorkerNode) -> None:
    """Controller: a worker is about to start."""
    xdist.equip(node.config.stash[RUN], node.workerinput)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: xdist.WorkerNode) -> None:
    """Controller: a worker has ended."""
    xdist.take_over(node.config.stash[RUN], node.gateway.id, getattr(node, "workeroutput", None))


# ------------------------------------------------------------------ hooks: a test


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a misused marker, also on a test that does not use the proxy."""
    __tracebackhide__ = True
    run = item.config.stash[RUN]
    run.begin_test(item.nodeid)
    environ.note(item)
    marker.plan_of(item, run.options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """After the last fixture: see that the environment is as it was, and what was found in the test."""
    run = item.config.stash[RUN]
    try:
        result = yield
    finally:
        run.settle()
        run.take_wide()
        judge.add_properties(run, item)
    judge.judge_test(run, item)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after all others have had their say
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The section *Captured gatekeeper* of a failed test; with the last report go the test's facts."""
    made = yield
    run = item.config.stash[RUN]
    stop_where_unfetched(run, item.session, call)
    judge.insist(run, call, made)
    report.add_section(run, made)
    if call.when == "teardown":
        xdist.put(made, run)
    return made


# ------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def gatekeeper_config(pytestconfig: pytest.Config) -> Config:
    """The configuration in force: the one that --gatekeeper-config or the ini file names, else an empty one.

    Made to be overridden: a fixture of this name, in session scope, may return a `Config` or a path.
    """
    from pytest_gatekeeper.config import Config

    return pytestconfig.stash[RUN].config or Config()


@pytest.fixture
def _gatekeeper_upstreams() -> Iterator[ExitStack]:
    """What ends after the test's proxy: else the stub's end, and not the test's, would be what cut a connection."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def gatekeeper_proxy(
    request: pytest.FixtureRequest, gatekeeper_config: Config, _gatekeeper_upstreams: ExitStack
) -> Iterator[Gatekeeper]:
    """A running `Gatekeeper` for this test, with the environment that leads clients and subprocesses to it.

    Its port and its CA file are the same in all tests of a process, its recorder is this test's own. The marker
    `gatekeeper` changes it. The environment is restored exactly when the test ends.
    """
    __tracebackhide__ = True
    with hold(request.config.stash[RUN], request.node, gatekeeper_config) as proxy:
        yield proxy


@pytest.fixture
def gatekeeper_recorder(gatekeeper_proxy: Gatekeeper) -> Recorder:
    """What went through this test's proxy: `gatekeeper_proxy.recorder`, with its queries and assertions."""
    return gatekeeper_proxy.recorder


@pytest.fixture
def gatekeeper_origin(gatekeeper_proxy: Gatekeeper, _gatekeeper_upstreams: ExitStack) -> Origin:
    """A stub upstream whose certificates the proxy already trusts: `gatekeeper_origin.serve("api.example.com")`.

    It echoes HTTP as JSON and WebSocket messages as they are, until told otherwise.
    """
    from pytest_gatekeeper.origin import Origin

    origin = Origin(lambda host, url, ca: gatekeeper_proxy.route(host, url, ca=ca))
    gatekeeper_proxy.trust(origin.ca_pem)
    return _gatekeeper_upstreams.enter_context(origin)


@pytest.fixture(scope="session")
def gatekeeper_ca() -> CertificateAuthority:
    """The ephemeral CA that clients under test trust: `.pem`, `.cert_path`, `.bundle_path`, `.ssl_context()`."""
    from pytest_gatekeeper._proxy.ca import process_authority

    return process_authority()


@pytest.fixture(scope="session")
def gatekeeper_proxy_factory(
    request: pytest.FixtureRequest, gatekeeper_config: Config
) -> Iterator[Callable[..., Gatekeeper]]:
    """`make(config=…, …)`: running proxies on ports of their own, for several at once or for wider scopes.

    Takes the keywords of the marker `gatekeeper`. They leave the environment alone (hand out `proxy.env`), and are
    closed at the end of the run.
    """
    with factory(request.config.stash[RUN], request.session, gatekeeper_config) as make:
        yield make
