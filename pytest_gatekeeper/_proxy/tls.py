"""TLS over a stream, by `ssl.MemoryBIO`.

One read of the stream below a wake-up, one write a batch, half-close included. It gives the same port as what it
stands on, so nobody above needs to know. No certificates are made or chosen here (see `ca`, `trust`).
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

from pytest_gatekeeper._proxy.stream import READ_SIZE, Stream

__all__ = ["TlsFailure", "TlsStream"]

RECORD_SIZE = 16384  # RFC 8446 section 5.1


class TlsFailure(ConnectionError):
    """A TLS handshake or record failed; `reason` is OpenSSL's name for it, such as `TLSV1_ALERT_UNKNOWN_CA`."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason

    @classmethod
    def of(cls, error: ssl.SSLError) -> TlsFailure:
        """The same failure without OpenSSL's file names and line numbers."""
        detail = getattr(error, "verify_message", "") or (error.reason or type(error).__name__)
        return cls(detail, error.reason or type(error).__name__)


class TlsStream:
    """A TLS session as a `Stream`. Call `handshake` first."""

    def __init__(
        self, lower: Stream, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        self._lower = lower
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._returned: list[bytes] = []  # unread
        self._failure: TlsFailure | None = None
        self._ended = False
        self._finished = False
        self.ragged = False

    @property
    def activity(self) -> float:
        """The loop's time (seconds) at which bytes last came in or went out."""
        return self._lower.activity

    @property
    def ended(self) -> bool:
        return self._ended or self._lower.ended

    @property
    def session(self) -> ssl.SSLObject:
        """The session's own object, for what it negotiated."""
        return self._session

    @property
    def version(self) -> str | None:
        """`TLSv1.3` and the like, None before the handshake."""
        return self._session.version()

    async def handshake(self) -> None:
        """Agree on keys. Raises TlsFailure, or the lower stream's error."""
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = await self._lower.receive()
                if not data:
                    raise TlsFailure("the connection was closed during the TLS handshake", "EOF") from None
                self._incoming.write(data)
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert
                raise TlsFailure.of(error) from None
            else:
                self._flush()
                return

    async def receive(self) -> bytes:
        while True:
            data = self.take()
            if data or self._ended:
                return data
            raw = await self._lower.receive()
            if raw:
                self._incoming.write(raw)
            else:
                self._ended = self.ragged = True

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        going = True
        trouble: OSError | None = None

        def decrypt(raw: bytes) -> bool:
            nonlocal going, trouble
            self._incoming.write(raw)
            try:
                while going and (self._incoming.pending or self._session.pending()) and (parts := self._read()):
                    going = into(parts[0] if len(parts) == 1 else b"".join(parts))
            except OSError as error:
                trouble = error
            return going and trouble is None and not self._ended

        while data := self.take():
            if not into(data):
                return False
        if not self._ended and await self._lower.pour(decrypt):
            self._ended = self.ragged = True
        if trouble is not None:
            raise trouble
        return going

    def take(self) -> bytes:
        if self._returned:
            return self._returned.pop()
        if self._ended:
            return b""
        parts = self._read()
        while not parts and not self._ended and (raw := self._lower.take()):
            self._incoming.write(raw)
            parts = self._read()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self) -> list[bytes]:
        """Decrypt what has arrived, at most READ_SIZE bytes."""
        parts: list[bytes] = []
        room = READ_SIZE
        incoming, session = self._incoming, self._session
        try:
            while room > 0 and self._failure is None and (incoming.pending or session.pending()):
                data = session.read(RECORD_SIZE)
                if not data:
                    self._ended = True  # close_notify
                    break
                parts.append(data)
                room -= len(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except ssl.SSLError as error:
            self._failure = TlsFailure.of(error)
        if self._outgoing.pending:  # an answer to a key update
            self._flush()
        if self._failure is not None and not parts:  # what came before it goes first
            raise self._failure
        return parts

    def unread(self, data: bytes) -> None:
        if data:
            self._returned.append(data)

    def write(self, data: bytes) -> None:
        if self._finished:
            raise ConnectionResetError("the connection is closed")
        try:
            if data:
                self._session.write(data)
        except ssl.SSLError as error:
            raise TlsFailure.of(error) from None
        self._flush()

    @property
    def writable(self) -> bool:
        return self._lower.writable

    async def drain(self) -> None:
        await self._lower.drain()

    async def send(self, data: bytes) -> None:
        self.write(data)
        await self._lower.drain()

    async def finish(self) -> None:
        self._say_goodbye()
        await self._lower.finish()

    def close(self) -> None:
        self._say_goodbye()
        self._lower.close()

    def cut(self) -> None:
        self._finished = True
        self._lower.close()

    def abort(self, error: OSError | None = None) -> None:
        self._ended = False  # whoever reads next gets the error, and not an end in good order
        self._returned.clear()
        self._lower.abort(error)

    def on_end(self, callback: Callable[[], None] | None) -> None:
        self._lower.on_end(callback)

    def _say_goodbye(self) -> None:
        """Send close_notify (RFC 8446 section 6.1), once; receiving stays possible."""
        if not self._finished:
            self._finished = True
            with contextlib.suppress(OSError):
                self._keep(self._read_all())
                with contextlib.suppress(ssl.SSLError):
                    self._session.unwrap()
                self._flush()

    def _read_all(self) -> bytes:
        """Everything decrypted so far: OpenSSL refuses to shut down over unread records."""
        parts: list[bytes] = []
        while more := self._read():
            parts += more
        return b"".join(parts)

    def _keep(self, data: bytes) -> None:
        if data:
            self._returned.insert(0, data)

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._lower.write(data)
