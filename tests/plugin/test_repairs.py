"""`_plugin.repairs`: what clients read at their import is set right while a test runs, and put back."""

from __future__ import annotations

import functools
import ssl
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import aiohttp
import aiohttp.connector
import pytest
import requests.adapters

from pytest_gatekeeper import Gatekeeper
from pytest_gatekeeper._plugin.environ import lend
from pytest_gatekeeper._plugin.repairs import repaired
from pytest_gatekeeper.origin import Origin
from tests.conftest import run_aiohttp, stand_in

NAME = "api.nowhere.invalid"
URL = f"https://{NAME}/"
LIMIT = 30.0


@pytest.fixture(scope="module")
def ca_path() -> str:
    """A CA file."""
    with Gatekeeper() as proxy:
        return proxy.ca.cert_path


@pytest.fixture
def httplib2(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What of httplib2 matters here."""
    return stand_in(
        monkeypatch, "httplib2", CA_CERTS="from the import", certs=SimpleNamespace(where=lambda: "from now")
    )


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What of aiohttp.connector matters here, since version 3.10.2."""
    made = ssl.create_default_context()
    return stand_in(monkeypatch, "aiohttp.connector", _SSL_CONTEXT_VERIFIED=made)


def trusted(context: object) -> int:
    """How many authorities a context trusts."""
    assert isinstance(context, ssl.SSLContext)
    return len(context.get_ca_certs())


# ------------------------------------------------------------------ the places


def test_aiohttp_trusts_the_file_alone(ca_path: str, connector: ModuleType) -> None:
    """Its context is another one, which trusts one authority and verifies; afterwards it is the old object."""
    before = connector._SSL_CONTEXT_VERIFIED
    with repaired(ca_path):
        assert connector._SSL_CONTEXT_VERIFIED is not before
        assert trusted(connector._SSL_CONTEXT_VERIFIED) == 1
        assert connector._SSL_CONTEXT_VERIFIED.verify_mode is ssl.CERT_REQUIRED
    assert connector._SSL_CONTEXT_VERIFIED is before


def test_httplib2_and_requests_get_the_path(ca_path: str, httplib2: ModuleType) -> None:
    """Both keep a path; each gets its own back."""
    before = requests.adapters.DEFAULT_CA_BUNDLE_PATH
    with repaired(ca_path):
        assert httplib2.CA_CERTS == requests.adapters.DEFAULT_CA_BUNDLE_PATH == ca_path
    assert httplib2.CA_CERTS == "from the import"
    assert requests.adapters.DEFAULT_CA_BUNDLE_PATH is before


@pytest.mark.parametrize("preloaded", [None, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)], ids=["unused", "used"])
def test_a_context_that_requests_made_at_its_import_is_replaced(
    monkeypatch: pytest.MonkeyPatch, ca_path: str, preloaded: ssl.SSLContext | None
) -> None:
    """Where there is one; None means that requests does not use it, and stays."""
    adapters = stand_in(monkeypatch, "requests.adapters", _preloaded_ssl_context=preloaded)
    with repaired(ca_path):
        if preloaded is None:
            assert adapters._preloaded_ssl_context is None
        else:
            assert trusted(adapters._preloaded_ssl_context) == 1
    assert adapters._preloaded_ssl_context is preloaded


def opener() -> object:
    """The one that `urlopen` uses."""
    return vars(urllib.request)["_opener"]


def test_urllib_makes_a_new_opener(ca_path: str) -> None:
    """The first `urlopen` decides the proxy for all; the user's own opener comes back."""
    own = urllib.request.build_opener()
    urllib.request.install_opener(own)
    try:
        with repaired(ca_path):
            assert opener() is None
            urllib.request.install_opener(urllib.request.build_opener())
        assert opener() is own
    finally:
        urllib.request.install_opener(None)
    with repaired(ca_path):
        urllib.request.install_opener(own)
    assert opener() is None


def test_caches_are_emptied_on_both_ends(monkeypatch: pytest.MonkeyPatch, ca_path: str) -> None:
    """niquests and old versions of aiohttp read once; they read again in the block and after it."""
    reads: list[str] = []

    def cached(name: str) -> Callable[[], None]:
        return functools.cache(lambda: reads.append(name))

    niquests = stand_in(
        monkeypatch, "niquests.utils", getproxies=cached("proxies"), getproxies_environment=cached("environment")
    )
    connector = SimpleNamespace(_make_ssl_context=cached("context"))
    stand_in(monkeypatch, "aiohttp.connector", TCPConnector=connector)

    def use() -> list[str]:
        for function in (niquests.getproxies, niquests.getproxies_environment, connector._make_ssl_context):
            function()
            function()
        told = reads[:]
        reads.clear()
        return told

    every = ["proxies", "environment", "context"]
    assert use() == every
    assert use() == []
    with repaired(ca_path):
        assert use() == every
        assert use() == []
    assert use() == every


# ------------------------------------------------------------------ what is not there


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> list[ModuleType]:
    """Modules of versions that have nothing to repair, and one that must not be imported."""
    monkeypatch.setitem(sys.modules, "httplib2", None)
    names = ("aiohttp.connector", "niquests.utils", "requests.adapters")
    return [stand_in(monkeypatch, name) for name in names]


def test_a_version_without_the_place_is_left_alone(ca_path: str, bare: list[ModuleType]) -> None:
    """It gets no attribute that it did not have, neither in the block nor after it."""
    before = [set(vars(module)) for module in bare]
    with repaired(ca_path):
        assert [set(vars(module)) for module in bare] == before
    assert [set(vars(module)) for module in bare] == before


def test_nothing_is_imported(monkeypatch: pytest.MonkeyPatch, ca_path: str) -> None:
    """A module that is not loaded is not loaded afterwards either."""
    for name in ("aiohttp.connector", "httplib2", "niquests.utils", "requests.adapters"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    loaded = set(sys.modules)
    with repaired(ca_path):
        assert set(sys.modules) == loaded
    assert set(sys.modules) == loaded


def test_a_client_that_is_imported_in_the_block_reads_again(monkeypatch: pytest.MonkeyPatch, ca_path: str) -> None:
    """It read the test's environment; afterwards it must not trust what the test trusted."""
    monkeypatch.delitem(sys.modules, "httplib2", raising=False)
    monkeypatch.delitem(sys.modules, "aiohttp.connector", raising=False)
    with repaired(ca_path):
        late = stand_in(monkeypatch, "httplib2", CA_CERTS=ca_path, certs=SimpleNamespace(where=lambda: "from now"))
        sick = stand_in(monkeypatch, "aiohttp.connector", _SSL_CONTEXT_VERIFIED="kept")  # makes no context
        assert ca_path == late.CA_CERTS
    assert late.CA_CERTS == "from now"
    assert sick._SSL_CONTEXT_VERIFIED == "kept"


# ------------------------------------------------------------------ however the block ends


@pytest.mark.parametrize("ending", [AssertionError, KeyboardInterrupt, pytest.exit.Exception, GeneratorExit])
def test_all_is_put_back_however_the_block_ends(
    ca_path: str, httplib2: ModuleType, connector: ModuleType, ending: type[BaseException]
) -> None:
    """A failing test, Control-C, pytest.exit."""
    context = connector._SSL_CONTEXT_VERIFIED
    during = []

    def block() -> None:
        with repaired(ca_path):
            during.append(httplib2.CA_CERTS)
            raise ending("over")

    with pytest.raises(ending):
        block()
    assert during == [ca_path]
    assert httplib2.CA_CERTS == "from the import"
    assert connector._SSL_CONTEXT_VERIFIED is context


def test_a_file_that_cannot_be_read_changes_nothing(
    tmp_path: Path, httplib2: ModuleType, connector: ModuleType
) -> None:
    """The error says so, and what was done before it is undone."""
    context = connector._SSL_CONTEXT_VERIFIED
    with pytest.raises(FileNotFoundError), repaired(str(tmp_path / "none.pem")):
        raise AssertionError("unreachable")
    assert connector._SSL_CONTEXT_VERIFIED is context
    assert httplib2.CA_CERTS == "from the import"


def test_blocks_nest(tmp_path: Path, ca_path: str, httplib2: ModuleType) -> None:
    """The inner one gives back what the outer one had set."""
    other = tmp_path / "other.pem"
    other.write_bytes(Path(ca_path).read_bytes())
    with repaired(ca_path):
        with repaired(str(other)):
            assert str(other) == httplib2.CA_CERTS
        assert ca_path == httplib2.CA_CERTS
    assert httplib2.CA_CERTS == "from the import"


# ------------------------------------------------------------------ real clients


@pytest.fixture
def proxy() -> Iterator[Gatekeeper]:
    """A proxy that leads one name to a stub."""
    with Gatekeeper() as running, Origin() as origin:
        running.route(NAME, origin.url, ca=origin.ca_pem)
        yield running


async def fetched() -> int:
    limit = aiohttp.ClientTimeout(LIMIT)
    async with aiohttp.ClientSession(trust_env=True, timeout=limit) as session, session.get(URL) as answer:
        return answer.status


@pytest.mark.skipif(
    not hasattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED"), reason="this aiohttp makes its context at the first use"
)
def test_aiohttp_that_was_imported_before_gets_through(proxy: Gatekeeper) -> None:
    """With the environment alone it does not trust the proxy."""
    with repaired(proxy.ca.cert_path), lend(proxy.env):
        assert run_aiohttp(fetched()) == 200
    with lend(proxy.env), pytest.raises(aiohttp.ClientConnectorCertificateError):
        run_aiohttp(fetched())


def test_urlopen_reaches_the_proxy_of_each_test(proxy: Gatekeeper) -> None:
    """Two proxies one after the other, and the process's opener decided anew for each."""
    for _ in range(2):
        with Gatekeeper() as other, Origin() as origin:
            other.route(NAME, origin.url, ca=origin.ca_pem)
            with repaired(other.ca.cert_path), lend(other.env), urllib.request.urlopen(URL, timeout=LIMIT) as answer:
                assert answer.status == 200
            assert len(other.recorder.exchanges) == 1
    assert proxy.recorder.exchanges == ()
