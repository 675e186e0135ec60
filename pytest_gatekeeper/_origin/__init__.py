"""The stub upstream's inside: what `origin.Origin` puts together.

Its few ideas: a `Script` says what to do, asked once for each connection (which certificate) and once for each request
(which answer), and which of them is to go wrong; a `Journal` keeps what arrived and what went wrong, noted before
anything is answered; a `Reception` takes connections in and sees that each of them ends. Streams and heads are
`_proxy`'s, framing is `_core`'s, frames are wsproto's. Nothing here knows the proxy itself, or pytest.
"""
