"""The proxies that fixtures give: one for each test, and those of the factory.

Each has a proxy object and a recorder of its own, made as the markers and the configuration say, and is closed with its
test or with the run. Errors of this package are shown without its frames: their texts are finished, and frames could
show credentials. What outlives a test is `session`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_gatekeeper._core.secret import frameless
from pytest_gatekeeper._plugin.configs import networked, settings_of, warn_of
from pytest_gatekeeper._plugin.marker import KEYWORDS, Plan, make_plan, plan_of
from pytest_gatekeeper._plugin.session import Run

if TYPE_CHECKING:
    from pytest_gatekeeper.gatekeeper import Gatekeeper, Listener

__all__ = ["factory", "hold", "stop_where_unfetched"]


@contextmanager
def hold(run: Run, item: pytest.Item, config: object) -> Iterator[Gatekeeper]:
    """The proxy of one test, with the environment that leads clients to it.

    The environment goes back first, whatever closing the proxy does.

    Args:
        run: of the process.
        item: the test.
        config: what the fixture `gatekeeper_config` gave.
    """
    from pytest_gatekeeper._plugin.environ import at_begin_of, lend
    from pytest_gatekeeper._plugin.repairs import repaired
    from pytest_gatekeeper.errors import SourceError

    __tracebackhide__ = True
    plan = plan_of(item, run.options)
    folders = (item.path.parent, item.config.rootpath)
    try:
        proxy = _made(lambda: _proxy(run, plan, config, folders, item.nodeid, run.listener))
    except SourceError as error:
        if plan.secrets == "real":
            item.session.shouldstop = f"gatekeeper: {error}"
        raise
    follower = run.follow(proxy.recorder, "gatekeeper_proxy", plan.fail_on)
    try:
        variables = proxy.env
        with repaired(variables["SSL_CERT_FILE"]), lend(variables, at_begin_of(item)) as lent:
            run.lent(lent)
            yield proxy
    finally:
        try:
            proxy.close()
        finally:
            run.take(follower, last=True)


@contextmanager
def factory(run: Run, session: pytest.Session, config: object) -> Iterator[Callable[..., Gatekeeper]]:
    """A function that makes running proxies on ports of their own; they are closed at the end of the block."""
    from pytest_gatekeeper.errors import SourceError

    with ExitStack() as stack:
        made = 0

        @frameless
        def make(*positional: object, **keywords: object) -> Gatekeeper:
            """A running proxy that leaves the environment alone. Takes the marker's keywords; closed with the run."""
            nonlocal made
            if positional:
                raise TypeError(f"gatekeeper_proxy_factory() takes keywords only: {KEYWORDS}")
            made += 1
            label = f"gatekeeper_proxy_factory[{made}]"
            plan = make_plan(run.options, [keywords], "gatekeeper_proxy_factory()")
            try:
                proxy = _made(lambda: _proxy(run, plan, config, (session.config.rootpath,), label, None))
            except SourceError as error:
                run.unfetched = error if plan.secrets == "real" else None
                raise
            follower = run.follow(proxy.recorder, label, plan.fail_on, wide=True)
            stack.callback(run.take, follower, last=True)
            stack.callback(proxy.close)
            return proxy

        yield make


def stop_where_unfetched(run: Run, session: pytest.Session, call: pytest.CallInfo[None]) -> None:
    """End the run where a fixture failed by a proxy of the factory whose secrets had to be real; a test just fails."""
    if call.when == "setup" and call.excinfo is not None and call.excinfo.value is run.unfetched:
        session.shouldstop = f"gatekeeper: {run.unfetched}"


def _made(make: Callable[[], Gatekeeper]) -> Gatekeeper:
    """Make a proxy. Errors come without the frames in which they arose: these hold values."""
    from pytest_gatekeeper.errors import GatekeeperError, GatekeeperWarning

    __tracebackhide__ = True
    try:
        return make()
    except (GatekeeperError, GatekeeperWarning) as error:  # a warning: with -W error
        raise error.with_traceback(None) from None


def _proxy(
    run: Run,
    plan: Plan,
    config: object,
    folders: tuple[Path, ...],
    label: str,
    listener: Callable[[], Listener] | None,
) -> Gatekeeper:
    from pytest_gatekeeper._core.credentials import read_credential
    from pytest_gatekeeper.errors import ConfigError

    settings = settings_of(config if plan.config is None else plan.config, folders)
    warn_of(settings, run.warned)
    settings = networked(plan, settings)
    try:
        return run.make(plan, settings, salt=label, listener=listener() if listener else None)
    except ConfigError:
        who = f"the gatekeeper marker of {label}" if listener else "gatekeeper_proxy_factory()"
        for index, mapping in enumerate(plan.credentials):  # whether one of these is at fault, and not the file
            read_credential(mapping, f"{who}: credentials[{index}]")
        raise
