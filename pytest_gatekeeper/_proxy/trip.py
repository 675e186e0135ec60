"""A request on its way: what the steps of one exchange share, and how one of them fails.

`exchange` takes the steps up to the answer, `passing` and `tunnel` those after it. No step is taken here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_gatekeeper._core.framing import Body
from pytest_gatekeeper._core.model import Forward, RequestHead
from pytest_gatekeeper._core.records import Closed, Exchange
from pytest_gatekeeper._core.scan.leaks import LeakScan
from pytest_gatekeeper._proxy.connection import Connection
from pytest_gatekeeper._proxy.relay import Incomplete
from pytest_gatekeeper._proxy.stream import Stream, StreamCut

__all__ = ["Failed", "Trip", "closed_by", "how"]


class Failed(ConnectionError):
    """The exchange cannot be completed: `status` and text are the answer, `closed` is what ended it."""

    def __init__(self, text: str, *, status: int = 502, closed: Closed = "error") -> None:
        super().__init__(text)
        self.status = status
        self.closed = closed


@dataclass
class Trip:
    """One request on its way.

    Attributes:
        connection: the client's; `client` is its stream.
        head: as the client sent it.
        plan: what is sent where.
        body: counts the request's body.
        record: what is told.
        clear: the client's head holds no secret.
        scan: looks for secrets in what passes; None where there is none to look for.
        answered: whether the client has got something of the final answer.
    """

    connection: Connection
    head: RequestHead
    plan: Forward
    body: Body
    record: Exchange
    clear: bool
    client: Stream = field(init=False)
    scan: LeakScan | None = field(init=False)
    answered: bool = False

    def __post_init__(self) -> None:
        self.client = self.connection.stream
        self.scan = self.connection.lease.scan(self.record)

    @property
    def host(self) -> str:
        """Whom the request is for."""
        return self.plan.destination.host


def closed_by(error: OSError, otherwise: Closed) -> Closed:
    """What ended a connection that failed with `error`."""
    return error.why if isinstance(error, StreamCut) else otherwise


def how(error: OSError) -> str:
    """How a connection failed, in words that hold nothing of what was sent."""
    if isinstance(error, Incomplete):
        return str(error)
    return f"the connection broke ({error.strerror or type(error).__name__})"
