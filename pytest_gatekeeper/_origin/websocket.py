"""WebSockets (RFC 6455): accepting an upgrade, echoing messages.

wsproto reads and writes frames and negotiates permessage-deflate (RFC 7692); where it falls short of that standard the
extension is corrected by overriding its public methods. HTTP and prepared answers are `http`'s.
"""

from __future__ import annotations

from base64 import b64encode

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits
from wsproto.utilities import RemoteProtocolError

from pytest_gatekeeper._core.headers import values_of
from pytest_gatekeeper._core.model import RequestHead
from pytest_gatekeeper._origin.journal import Journal, Received
from pytest_gatekeeper._proxy.stream import Stream

__all__ = ["MAX_MESSAGE", "BadUpgrade", "accept", "echo", "is_upgrade"]

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes (or characters) of one message; a longer one is answered with close code 1009."""

_HANDSHAKE = frozenset((
    "connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol",
    "sec-websocket-extensions",
))  # fmt: skip


_KEY = "sec-websocket-key"
_OTHER_KEY = b64encode(b"gatekeeper fault")


class BadUpgrade(ValueError):
    """An upgrade that is no WebSocket handshake; the text is fit for the answer's body, `status` is its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _tokens(head: RequestHead, name: str) -> set[str]:
    return {token.strip().lower() for value in values_of(head.headers, name) for token in value.split(",")}


def is_upgrade(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455 section 4.2.1)."""
    return (
        head.method == "GET"
        and head.version == "1.1"
        and "websocket" in _tokens(head, "upgrade")
        and "upgrade" in _tokens(head, "connection")
    )


def accept(head: RequestHead, *, badly: bool = False) -> tuple[WSConnection, bytes]:
    """Accept an upgrade: the connection, and the 101 to send. The first subprotocol offered is taken.

    The Sec-WebSocket-Accept of one that is accepted `badly` belongs to another key. Raises BadUpgrade.
    """
    connection = WSConnection(ConnectionType.SERVER)
    fields = [(b"Host", b"origin")]  # wsproto decodes the real one, and need not
    fields += [
        (name.encode("latin-1"), _OTHER_KEY if badly and name.lower() == _KEY else value.encode("latin-1"))
        for name, value in head.headers
        if name.lower() in _HANDSHAKE
    ]  # fmt: skip
    try:
        connection.initiate_upgrade_connection(fields, "/")
        (request,) = connection.events()
        offered = request.subprotocols if isinstance(request, Request) else []
        answer = AcceptConnection(subprotocol=offered[0] if offered else None, extensions=[_Deflate()])
        return connection, connection.send(answer)
    except RemoteProtocolError as error:
        status = getattr(error.event_hint, "status_code", 400)
        raise BadUpgrade(status, "this is no WebSocket handshake that RFC 6455 section 4.2.1 allows") from None
    except ValueError:
        raise BadUpgrade(400, "the WebSocket handshake holds a value that cannot be read (RFC 6455)") from None


async def echo(stream: Stream, connection: WSConnection, received: Received, journal: Journal) -> None:
    """Send every message back until either side closes; pings are answered, the close code and reason returned."""
    session = _Echo(connection, received, journal)
    while data := await stream.receive():
        connection.receive_data(data)
        for event in connection.events():
            answer = session.answer(event)
            if answer:
                await stream.send(answer)
            if session.closed:
                return
    raise ConnectionError("the connection was finished without closing the WebSocket")


class _Echo:
    """One WebSocket: joins what arrives, says what to answer."""

    def __init__(self, connection: WSConnection, received: Received, journal: Journal) -> None:
        self._connection = connection
        self._received = received
        self._journal = journal
        self._text: list[str] = []
        self._bytes: list[bytes] = []
        self._length = 0
        self.closed = False

    def answer(self, event: Event) -> bytes:
        """The bytes to send for an event, noted in the journal first."""
        if isinstance(event, Message):
            return self._joined(event)
        if isinstance(event, Ping):
            return self._connection.send(event.response())
        if isinstance(event, CloseConnection):
            self.closed = True
            if self._connection.state is ConnectionState.REMOTE_CLOSING:
                self._journal.closed(self._received, int(event.code))
            else:  # wsproto's word for a frame that it cannot read
                self._journal.failed(
                    f"a WebSocket was closed with {int(event.code)}: it got a frame that is not allowed"
                )
            return self._connection.send(event.response())
        return b""  # a pong

    def _joined(self, event: Message) -> bytes:  # type: ignore[type-arg]
        self._length += len(event.data)
        if self._length > MAX_MESSAGE:
            self.closed = True
            self._journal.failed(f"a WebSocket was closed with 1009: a message is longer than {MAX_MESSAGE}")
            return self._connection.send(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
        if isinstance(event, TextMessage):
            self._text.append(event.data)
        else:
            self._bytes.append(bytes(event.data))
        if not event.message_finished:
            return b""
        self._length = 0
        if isinstance(event, TextMessage):
            text, self._text = "".join(self._text), []
            self._journal.message(self._received, text)
            return self._connection.send(TextMessage(data=text))
        data, self._bytes = b"".join(self._bytes), []
        self._journal.message(self._received, data)
        return self._connection.send(BytesMessage(data=data))


class _Deflate(PerMessageDeflate):
    """permessage-deflate as RFC 7692 has it, where wsproto's differs.

    Of several offers the first that will do is taken; `server_no_context_takeover` is honoured (section 7.1.1.1); a
    control frame between the fragments of a compressed message does not end its decompression (section 6.1).
    """

    def __init__(self) -> None:
        super().__init__()
        self._control = False

    def accept(self, offer: str) -> bool | str | None:
        if self.enabled():
            return None
        self.client_max_window_bits = self.server_max_window_bits = 15
        parameters = {part.strip() for part in offer.split(";")[1:]}
        self.server_no_context_takeover = "server_no_context_takeover" in parameters
        return super().accept(offer)

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control:
            return CloseReason.PROTOCOL_ERROR if rsv.rsv1 else RsvBits(False, False, False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        return data if self._control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        return None if self._control else super().frame_inbound_complete(proto, fin)
