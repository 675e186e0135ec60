"""TLS over streams in memory: whatever pieces its bytes come in, however it ends, and what its failures say."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gatekeeper._proxy.ca import CertificateAuthority
from pytest_gatekeeper._proxy.stream import READ_SIZE, Stream, StreamCut
from pytest_gatekeeper._proxy.tls import RECORD_SIZE, TlsFailure, TlsStream

MemoryPair = Callable[[int | None], tuple[Stream, Stream]]

LIMIT = 60.0
HOST = "api.example.com"
GLUED = 0
SIZES = [1, 2, 3, 5, 7, 64, 1000, None, GLUED]  # None: as written; GLUED: all that is there at once
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MUCH = 3 * 1024 * 1024 + 5

every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
every_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: {None: "written", GLUED: "glued"}.get(size, size))


@pytest.fixture(scope="module")
def tls_authority() -> CertificateAuthority:
    """One authority for all these tests."""
    return CertificateAuthority()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine, for a minute at most."""
    asyncio.run(asyncio.wait_for(work, LIMIT))


def pattern(size: int) -> bytes:
    """Bytes that show when some are lost, doubled or moved."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


class Ends:
    """Makes sessions between a client and a server in memory."""

    def __init__(
        self, authority: CertificateAuthority, pair: MemoryPair, version: ssl.TLSVersion | None = None
    ) -> None:
        self.authority = authority
        self.pair = pair
        self.version = version
        self.lower: tuple[Stream, Stream]

    def raw(
        self, size: int | None = None, *, client: ssl.SSLContext | None = None, name: str = HOST
    ) -> tuple[TlsStream, TlsStream]:
        """Client and server before their handshake."""
        context = client or self.authority.ssl_context()
        if self.version is not None:
            context.minimum_version = context.maximum_version = self.version
        self.lower = self.pair(size)
        return (
            TlsStream(self.lower[0], context, server_side=False, server_hostname=name),
            TlsStream(self.lower[1], self.authority.server_context(HOST), server_side=True),
        )

    @contextlib.asynccontextmanager
    async def agreed(self, size: int | None = None) -> AsyncIterator[tuple[TlsStream, TlsStream]]:
        """Client and server after their handshake."""
        client, server = self.raw(size)
        await asyncio.gather(client.handshake(), server.handshake())
        yield client, server


@pytest.fixture
def ends(tls_authority: CertificateAuthority, memory_pair: MemoryPair) -> Ends:
    """Sessions of whatever version both like best."""
    return Ends(tls_authority, memory_pair)


async def receive_all(stream: Stream) -> bytes:
    """Everything until the peer finishes."""
    parts = []
    while part := await stream.receive():
        parts.append(part)
    return b"".join(parts)


async def receive_exactly(stream: Stream, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        part = await stream.receive()
        assert part, "the stream ended"
        data += part
    assert len(data) == size
    return data


# ------------------------------------------------------------------ pieces


@every_version
@every_size
def test_bytes_arrive_whatever_pieces_records_come_in(
    version: ssl.TLSVersion, size: int | None, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """Handshake, data both ways and the end, from byte by byte to all at once."""

    async def work() -> None:
        async with Ends(tls_authority, memory_pair, version).agreed(size) as (client, server):
            assert client.version == server.version == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
            assert client.session.selected_alpn_protocol() == "http/1.1"
            for number in range(3):
                client.write(b"request %d" % number)
                assert await receive_exactly(server, 9) == b"request %d" % number
                await server.send(b"answer %d" % number)
                assert await receive_exactly(client, 8) == b"answer %d" % number
            await client.finish()
            assert await receive_all(server) == b""
            server.close()
            assert await receive_all(client) == b""
            assert not client.ragged and not server.ragged

    run(work())


@every_version
@pytest.mark.parametrize("size", [1000, 70_001, None, GLUED])
def test_much_arrives_both_ways_at_once(
    version: ssl.TLSVersion, size: int | None, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """More than three records, buffers and reads hold, written in one go."""

    async def work() -> None:
        async with Ends(tls_authority, memory_pair, version).agreed(size) as (client, server):
            up, down = pattern(MUCH), pattern(MUCH)[::-1]
            client.write(up)
            server.write(down)
            await asyncio.gather(client.finish(), server.finish())
            received = await asyncio.gather(receive_all(server), receive_all(client))
            assert received[0] == up and received[1] == down

    run(work())


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 40_000), min_size=1, max_size=8), step=st.integers(1, 50_000))
def test_any_writes_in_any_pieces_are_one_stream(
    sizes: list[int], step: int, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """Where a writer cuts and where the network cuts changes nothing."""

    async def work() -> None:
        async with Ends(tls_authority, memory_pair).agreed(max(step, sum(sizes) // 500)) as (client, server):
            data = pattern(sum(sizes))
            at = 0
            for size in sizes:
                client.write(data[at : at + size])
                at += size
            await client.finish()
            assert await receive_all(server) == data

    run(work())


async def poured(stream: Stream, most: int) -> tuple[bytes, bool]:
    """What is handed over until `most` bytes are there, and whether the peer has finished."""
    got = bytearray()

    def into(data: bytes) -> bool:
        got.extend(data)
        return len(got) < most

    ended = await stream.pour(into)
    return bytes(got), ended


@every_version
@every_size
def test_pouring_gives_what_receiving_gives(
    version: ssl.TLSVersion, size: int | None, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """What was put back first; what is refused waits, and the end is told, in whatever pieces records come."""

    async def work() -> None:
        async with Ends(tls_authority, memory_pair, version).agreed(size) as (client, server):
            client.write(b"first")
            server.unread(await server.receive())
            client.write(b"second")
            assert await poured(server, 1) == (b"first", False)
            assert await poured(server, 6) == (b"second", False)
            pouring = asyncio.ensure_future(poured(server, 99))
            await asyncio.sleep(0)
            client.write(b"third")
            await client.finish()
            assert await pouring == (b"third", True)
            assert not server.ragged
            assert await poured(server, 1) == (b"", True)
            server.write(b"and back")
            server.cut()
            assert await poured(client, 99) == (b"and back", True)
            assert client.ragged

    run(work())


@every_size
def test_pouring_ends_with_a_failure(ends: Ends, size: int | None) -> None:
    """A record that is none is a TlsFailure, after what came before it."""

    async def work() -> None:
        async with ends.agreed(size) as (client, server):
            client.write(b"good")
            ends.lower[0].write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            got: list[bytes] = []

            def into(data: bytes) -> bool:
                got.append(data)
                return True

            with pytest.raises(TlsFailure):
                await server.pour(into)
            assert b"".join(got) == b"good"

    run(work())


def test_one_read_is_bounded(ends: Ends) -> None:
    """About 256 KiB come at once at most, several records among them."""

    async def work() -> None:
        async with ends.agreed(GLUED) as (client, server):
            client.write(pattern(MUCH))
            parts = [await server.receive()]
            while sum(map(len, parts)) < MUCH:
                parts.append(await server.receive())
            assert max(map(len, parts)) < READ_SIZE + RECORD_SIZE
            assert len(parts[0]) > 2 * RECORD_SIZE

    run(work())


@pytest.mark.parametrize("size", [1, 10, None, GLUED])
def test_take_gives_what_is_there(ends: Ends, size: int | None) -> None:
    """A record that has arrived in pieces can be had without waiting; half a record is nothing yet."""

    async def work() -> None:
        async with ends.agreed(size) as (client, server):
            assert server.take() == b""
            client.write(b"hello")
            assert server.take() == b"hello"
            assert server.take() == b""
            half, rest = _half_a_record(client, ends)
            assert server.take() == b""
            ends.lower[1].unread(half)
            assert server.take() == b""
            ends.lower[1].unread(rest)
            assert server.take() == b"world"

    run(work())


def _half_a_record(client: TlsStream, ends: Ends) -> tuple[bytes, bytes]:
    """Write `world`, and take its record from the server before it can read it."""
    client.write(b"world")
    record = b""
    while piece := ends.lower[1].take():
        record += piece
    return record[:9], record[9:]


def test_data_glued_to_the_handshake_is_not_lost(ends: Ends) -> None:
    """A client may send with its last flight."""

    async def work() -> None:
        client, server = ends.raw(GLUED)
        serving = asyncio.ensure_future(server.handshake())
        await client.handshake()
        client.write(b"early")
        await serving
        assert server.take() == b"early"

    run(work())


def test_unread_bytes_come_first(ends: Ends) -> None:
    """The last put back is the next received, before records that wait, also after the end."""

    async def work() -> None:
        async with ends.agreed() as (client, server):
            client.write(b"ef")
            server.unread(b"cd")
            server.unread(b"")
            server.unread(b"ab")
            assert await server.receive() == b"ab"
            assert server.take() == b"cd"
            assert await server.receive() == b"ef"
            await client.finish()
            assert await server.receive() == b""
            server.unread(b"gh")
            assert await server.receive() == b"gh"
            assert await server.receive() == b""

    run(work())


# ------------------------------------------------------------------ ends


@every_version
@pytest.mark.parametrize("size", [1, None, GLUED])
def test_a_peer_that_finished_can_still_be_sent_to(
    version: ssl.TLSVersion, size: int | None, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """Half-close: close_notify ends one direction only (RFC 8446 section 6.1), and is no ragged end."""

    async def work() -> None:
        async with Ends(tls_authority, memory_pair, version).agreed(size) as (client, server):
            client.write(b"last words")
            await client.finish()
            await client.finish()
            assert await receive_all(server) == b"last words"
            assert [await server.receive() for _ in range(2)] == [b"", b""]
            server.write(pattern(100_000))
            await server.finish()
            assert await receive_all(client) == pattern(100_000)
            assert not client.ragged and not server.ragged

    run(work())


@every_version
def test_finishing_keeps_what_had_arrived(
    version: ssl.TLSVersion, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """Records that nobody has read yet, and bytes put back, are received after it, in order."""

    async def work() -> None:
        async with Ends(tls_authority, memory_pair, version).agreed() as (client, server):
            client.write(b"0abc")
            assert await server.receive() == b"0abc"
            server.unread(b"abc")
            client.write(b"def")
            client.write(b"ghi")
            await server.finish()
            assert await client.receive() == b""
            client.write(b"jkl")
            await client.finish()
            assert await receive_all(server) == b"abcdefghijkl"

    run(work())


@every_version
@pytest.mark.parametrize("how", ["cut", "lower end", "in a record"])
def test_an_end_without_close_notify_is_ragged(
    version: ssl.TLSVersion, how: str, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """The bytes before it are received, then the end, and it can be told from a proper one."""

    async def work() -> None:
        ends = Ends(tls_authority, memory_pair, version)
        async with ends.agreed() as (client, server):
            client.write(b"half a mess")
            if how == "in a record":
                half, _ = _half_a_record(client, ends)
                ends.lower[1].unread(half)
            if how == "cut":
                client.cut()
            else:
                ends.lower[0].close()
            assert await receive_all(server) == (b"" if how == "in a record" else b"half a mess")
            assert server.ragged
            assert await server.receive() == b""

    run(work())


def test_writing_after_the_end_is_an_os_error(ends: Ends) -> None:
    """Like every error of a stream; writing nothing at all before is none."""

    async def work() -> None:
        for end in ("finish", "close"):
            async with ends.agreed() as (client, _):
                client.write(b"")
                if end == "finish":
                    await client.finish()
                else:
                    client.close()
                with pytest.raises(ConnectionResetError):
                    client.write(b"x")
                with pytest.raises(ConnectionResetError):
                    await client.send(b"x")

    run(work())


def test_closing_a_connection_that_is_gone_is_quiet(ends: Ends) -> None:
    """There is nobody left to say goodbye to."""

    async def work() -> None:
        async with ends.agreed() as (client, server):
            ends.lower[1].close()
            server.close()
            server.close()
            assert await receive_all(client) == b""

    run(work())


def test_a_cut_reaches_who_receives(ends: Ends) -> None:
    """What was put back is dropped, and the error is the one given."""

    async def work() -> None:
        async with ends.agreed() as (client, server):
            server.unread(b"x")
            receiving = asyncio.ensure_future(client.receive())
            await asyncio.sleep(0)
            server.abort(StreamCut("idle"))
            with pytest.raises(StreamCut, match="idle"):
                await server.receive()
            with pytest.raises(ConnectionResetError):
                await receiving

    run(work())


def test_a_cut_reaches_who_receives_after_the_peers_end(ends: Ends) -> None:
    """An end that was seen before does not hide it."""

    async def work() -> None:
        async with ends.agreed() as (client, server):
            await client.finish()
            assert await server.receive() == b""
            server.abort(StreamCut("idle"))
            with pytest.raises(StreamCut, match="idle"):
                await server.receive()

    run(work())


def test_the_lower_streams_end_is_told(ends: Ends) -> None:
    """`on_end` is the connection's; `ended` and `activity` are known here, too."""

    async def work() -> None:
        async with ends.agreed() as (client, server):
            told: list[bool] = []
            server.on_end(lambda: told.append(True))
            seen = [server.ended]
            assert told == []
            client.close()
            seen.append(server.ended)
            assert seen == [False, True]
            assert told == [True]
            assert server.activity == ends.lower[1].activity

    run(work())


# ------------------------------------------------------------------ failures


async def _failures(client: TlsStream, server: TlsStream) -> tuple[object, object]:
    """How both ends of a handshake that fails see it; who hears first ends the connection."""

    async def shake(stream: TlsStream) -> object:
        try:
            await stream.handshake()
            await stream.receive()
        except OSError as error:
            return error
        finally:
            stream._lower.close()
        return None

    found = await asyncio.gather(shake(client), shake(server))
    return found[0], found[1]


@every_version
@every_size
def test_a_client_that_does_not_trust_us_says_so(
    version: ssl.TLSVersion, size: int | None, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """Its alert arrives with its name, from which a cure can be told, without OpenSSL's file names."""

    async def work() -> None:
        stranger = CertificateAuthority().ssl_context()
        ours, theirs = await _failures(*Ends(tls_authority, memory_pair, version).raw(size, client=stranger))
        assert isinstance(ours, TlsFailure) and isinstance(theirs, TlsFailure)
        assert ours.reason == "CERTIFICATE_VERIFY_FAILED" and "certificate" in str(ours)
        assert theirs.reason == "TLSV1_ALERT_UNKNOWN_CA"
        assert "_ssl.c" not in str(ours) + str(theirs)

    run(work())


def test_a_wrong_name_says_so(ends: Ends) -> None:
    """The leaf is for another host than the client asked for; for the right one all is well."""

    async def work() -> None:
        ours, theirs = await _failures(*ends.raw(name="other.example"))
        assert isinstance(ours, TlsFailure) and isinstance(theirs, TlsFailure)
        assert ours.reason == "CERTIFICATE_VERIFY_FAILED" and "other.example" in str(ours)
        async with ends.agreed() as (client, _):
            assert client.session.getpeercert()

    run(work())


def test_versions_that_do_not_meet_fail(ends: Ends) -> None:
    """Both ends are told, by name."""

    async def work() -> None:
        _, server = ends.raw()
        server.session.context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            old = ends.authority.ssl_context()
            old.maximum_version = ssl.TLSVersion.TLSv1_2
            ours, theirs = await _failures(*ends.raw(client=old))
        finally:
            server.session.context.minimum_version = ssl.TLSVersion.TLSv1_2
        assert isinstance(ours, TlsFailure) and ours.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
        assert isinstance(theirs, TlsFailure) and theirs.reason == "UNSUPPORTED_PROTOCOL"

    run(work())


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff" + bytes(9)]
)
def test_what_is_no_tls_fails(scripted_stream: Callable[..., Stream], ends: Ends, start: bytes) -> None:
    """Plain HTTP where a ClientHello should be; an error of the stream's family, with a reason."""

    async def work() -> None:
        server = TlsStream(scripted_stream(start), ends.authority.server_context(HOST), server_side=True)
        with pytest.raises(TlsFailure) as caught:
            await server.handshake()
        assert caught.value.reason and isinstance(caught.value, OSError)

    run(work())


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_peer_that_leaves_during_the_handshake(scripted_stream: Callable[..., Stream], ends: Ends, cut: int) -> None:
    """Has failed it; so has one that resets the connection, with the stream's own error."""

    async def work() -> None:
        client, _ = ends.raw()
        with contextlib.suppress(ssl.SSLWantReadError):
            client.session.do_handshake()
        hello = client._outgoing.read()[:cut]
        context = ends.authority.server_context(HOST)
        pieces = [hello] if hello else []
        with pytest.raises(TlsFailure, match="closed during the TLS handshake") as caught:
            await TlsStream(scripted_stream(*pieces), context, server_side=True).handshake()
        assert caught.value.reason == "EOF"
        _, server = ends.raw()
        ends.lower[0].abort()
        with pytest.raises(ConnectionResetError):
            await server.handshake()

    run(work())


@every_version
@pytest.mark.parametrize("glued", [False, True])
def test_a_broken_record_is_a_failure(
    version: ssl.TLSVersion, glued: bool, tls_authority: CertificateAuthority, memory_pair: MemoryPair
) -> None:
    """What came before it is received, then the failure, again and again; never an end."""

    async def work() -> None:
        ends = Ends(tls_authority, memory_pair, version)
        async with ends.agreed(GLUED if glued else None) as (client, server):
            client.write(b"good")
            good = ends.lower[1].take()
            client.write(b"bad")
            bad = bytearray(ends.lower[1].take())
            bad[-1] ^= 1
            for piece in [good + bytes(bad)] if glued else [bytes(bad), good]:
                ends.lower[1].unread(piece)
            assert await server.receive() == b"good"
            for _ in range(2):
                with pytest.raises(TlsFailure) as caught:
                    await asyncio.wait_for(server.receive(), LIMIT)
                assert "BAD_RECORD_MAC" in caught.value.reason
            with pytest.raises(TlsFailure, match="ALERT_BAD_RECORD_MAC"):
                await client.receive()

    run(work())


def test_a_failure_names_openssls_reason_without_its_places() -> None:
    """Where OpenSSL gives no reason, the kind of error stands in."""
    error = ssl.SSLEOFError(8, "[SSL] (_ssl.c:1006)")
    error.reason = None  # type: ignore[assignment] # typeshed has no None here, OpenSSL has
    assert (TlsFailure.of(error).reason, str(TlsFailure.of(error))) == ("SSLEOFError", "SSLEOFError")
    error.reason = "NO_SHARED_CIPHER"
    assert (TlsFailure.of(error).reason, str(TlsFailure.of(error))) == ("NO_SHARED_CIPHER", "NO_SHARED_CIPHER")
