"""CARRY: bytes between a client and its upstream.

The ideas of this room: everything above the sockets talks to a small stream port (`stream.Stream`: receive, send,
finish, close) and never to a transport of asyncio's; heads are parsed and written in `wire` alone; bodies and tunnels
are counted through, never re-serialised; a `Lease` is the time during which one test holds the proxy, and every
connection belongs to the lease it was accepted in. What happens to a request is settled by `_core.decide`, what
happened is told to a sink. Nothing here knows pytest.
"""
