"""`_core.cures`: the client on a stack, and what leads it to the proxy."""

from __future__ import annotations

import pytest

from pytest_gatekeeper._core import cures
from pytest_gatekeeper._core.cures import Call, find_client, guess_client, until_turn


def stack(text: str) -> list[Call]:
    """Calls from `module:function`, innermost first."""
    return [Call(*call.partition(":")[::2]) for call in text.split()]


@pytest.mark.parametrize(
    ("calls", "name"),
    [
        ("socket:create_connection http.client:connect test_it:test_it", "http.client"),
        ("socket urllib3.util.connection urllib3.connection http.client urllib3.poolmanager test_it", "urllib3"),
        ("socket urllib3.connection http.client urllib3 requests.adapters requests.api test_it", "requests"),
        ("socket urllib3.connection botocore.httpsession botocore.client test_it", "boto3"),
        ("socket urllib3.connection elastic_transport._node elasticsearch test_it", "elasticsearch"),
        ("socket http.client urllib.request:do_open urllib.request:urlopen test_it", "urllib.request"),
        ("socket http.client urllib.request slack_sdk.web.client test_it", "slack_sdk"),
        ("socket httpcore._backends.sync httpcore httpx._client test_it", "httpx"),
        ("asyncio.base_events anyio._core._sockets httpcore httpx openai._base_client test_it", "openai"),
        ("socket websocket._http websocket._core test_it", "websocket-client"),
        ("asyncio.base_events websockets.asyncio.client test_it", "websockets"),
        ("asyncio.base_events aiohappyeyeballs.impl", "aiohttp"),
        ("asyncio.base_events aiohttp.connector aiohttp.client socketio.async_client test_it", "python-socketio"),
        ("socket urllib3 sentry_sdk.transport sentry_sdk.worker threading", "sentry_sdk"),
    ],
)
def test_the_client_is_the_library_that_the_user_knows(calls: str, name: str) -> None:
    """The outermost known library below the user's code, whatever it is built on; its cure begins with its name."""
    found = find_client(stack(calls))
    assert found is not None and found.name == name and not found.guessed
    assert found.cure.startswith(f"{name}: ")


def test_what_is_further_out_than_the_users_code_did_not_do_it() -> None:
    """A handler of an aiohttp server that uses http.client is http.client at work."""
    found = find_client(stack("socket http.client:connect shop.handlers:pay aiohttp.web_protocol:start"))
    assert found is not None and found.name == "http.client"


def test_what_only_stands_in_between_is_not_the_client() -> None:
    """An instrumentation on the stack, or around a task, is not blamed; without it the stack tells the same."""
    bare = find_client(stack("socket urllib3.connection requests.sessions requests.api test_it"))
    wrapped = "socket urllib3.connection requests.sessions opentelemetry.instrumentation wrapt requests.api test_it"
    assert bare is not None and find_client(stack(wrapped)) == bare
    around = find_client(stack("socket httpcore httpx._client sentry_sdk.integrations.asyncio test_it"))
    assert around is not None and around.name == "httpx"


def test_where_no_library_is_known_the_first_strange_function_did_it() -> None:
    """It is named with its module, and its cure names the values that any client can be given."""
    found = find_client(stack("socket:create_connection redis.connection:connect redis.client:ping test_it:test_it"))
    assert found is not None and found.name == "redis.connection.connect"
    for way_out in ("proxy.url", "proxy.connect(host, port)", "no_proxy="):
        assert way_out in found.cure


def test_plumbing_alone_shows_no_client() -> None:
    """A worker thread of the standard library, or of anyio, says nothing; a known module further in does."""
    plumbing = "socket concurrent.futures.thread:run threading:run anyio._backends._asyncio"
    assert find_client(stack(plumbing)) is None
    assert find_client(stack(f"httpx._client {plumbing}")) is not None


def test_a_stack_ends_where_an_event_loop_took_its_step() -> None:
    """Whoever runs the loop did not ask for it; what is inside the step remains."""
    calls = stack("asyncio.selector_events:sock_connect asyncio.events:_run asyncio.runners:run test_it:test_it")
    assert find_client(calls) is None
    assert until_turn(calls) == calls[:1]
    assert until_turn(calls[2:]) == calls[2:]


@pytest.mark.parametrize(
    ("calls", "loaded", "name"),
    [
        ("socket threading:run", {"httpx", "aiohttp", "requests"}, "probably aiohttp"),
        ("socket threading:run", {"httpx", "requests"}, "probably httpx"),
        ("socket trio._threads threading:run", {"httpx", "aiohttp"}, "probably httpx"),
        ("socket trio._threads threading:run", {"trio_websocket", "aiohttp"}, "probably trio-websocket"),
        ("socket threading:run", {"requests"}, ""),
    ],
)
def test_a_guess_names_what_is_loaded(calls: str, loaded: set[str], name: str) -> None:
    """Of the clients that work in threads of their own; it says that it is a guess, and has a cure all the same."""
    guess = guess_client(stack(calls), loaded)
    assert guess.name == name and guess.guessed
    assert guess.cure


def test_each_known_module_has_a_cure() -> None:
    """The two tables belong together: no module without a cure, no cure without a module."""
    assert set(cures._MODULES.values()) == set(cures._CURES)
    assert set(cures._SUSPECTS) | set(cures._TRIO_SUSPECTS) <= set(cures._MODULES)


def test_the_cure_of_aiohttp_is_its_argument() -> None:
    """The text that users search for."""
    found = find_client(stack("asyncio.base_events aiohttp.connector aiohttp.client test_it"))
    assert found is not None and found.cure == "aiohttp: ClientSession(trust_env=True)"
