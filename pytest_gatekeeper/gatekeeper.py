"""The door for people: `Gatekeeper` joins a configuration, the proxy and a recorder.

It can be used without pytest. All proxies of a process share one thread and one certificate authority; each has a port
of its own, or holds one that is shared for a while. What a request meets is decided in `_core` and carried by `_proxy`;
here these are only put together.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal
from urllib.parse import quote

from pytest_gatekeeper import clients
from pytest_gatekeeper._bypass import Watching, watch
from pytest_gatekeeper._core.hosts import join_authority
from pytest_gatekeeper._core.model import Rule, Settings
from pytest_gatekeeper._core.records import LogLine, Record
from pytest_gatekeeper._core.secret import Secret, frameless
from pytest_gatekeeper._core.variables import proxy_variables
from pytest_gatekeeper._proxy.ca import CertificateAuthority, process_authority
from pytest_gatekeeper._proxy.lease import Lease, Limits
from pytest_gatekeeper._proxy.port import Listener, open_listener
from pytest_gatekeeper._proxy.routes import Routes
from pytest_gatekeeper._proxy.running import Running
from pytest_gatekeeper._proxy.thread import proxy_thread
from pytest_gatekeeper._proxy.trust import Trusted, pem_of, remember_roots
from pytest_gatekeeper.config import Config
from pytest_gatekeeper.errors import ProxyError
from pytest_gatekeeper.inforce import InForce, SecretsMode
from pytest_gatekeeper.log import LogWriter
from pytest_gatekeeper.recorder import Recorder
from pytest_gatekeeper.toolfiles import tool_variables

__all__ = ["Gatekeeper", "Listener", "open_listener"]


class Gatekeeper(Running):
    """A proxy that injects credentials by host, and a recorder of what went through it.

    A context manager, sync and async; leaving it takes 2 s at most, and what had to be cut is recorded.

    Args:
        config: a `Config` or the path of a gatekeeper.yaml; without one there are no rules.
        secrets: which sources are read: `auto`, `real` or `canary`.
        allow_network: whether upstreams that are neither routed nor loopback may be dialled.
        idle_timeout: seconds of silence after which a connection or a tunnel is closed.
        upstream_timeout: seconds for dial, handshake and response head together.
        no_proxy: hosts that clients shall reach directly (for `env`).
        credentials: mappings as under `credentials` in the file, in addition to those of the configuration.
        listener: a shared port to hold; a free one of its own without.
        port: the port to listen on, where there is no listener.
        salt: makes canaries differ from those of other proxies (a test's name).
        watch_bypass: whether connections of this process past the proxy are recorded while it runs.
        log_streams: write log lines to the stream that the configuration names, and not to Python's logger.

    Raises:
        ConfigError: the configuration cannot be used.
        SourceError: a credential cannot be fetched that has to be real.
        TypeError: `config` or `no_proxy` is of another type.
        ValueError: a time is not above 0, or `secrets` is another word.
    """

    @frameless
    def __init__(
        self,
        config: Settings | str | os.PathLike[str] | None = None,
        *,
        secrets: SecretsMode = "auto",
        allow_network: bool = False,
        idle_timeout: float = 120.0,
        upstream_timeout: float = 60.0,
        no_proxy: Iterable[str] = (),
        credentials: Sequence[Mapping[str, Any]] = (),
        listener: Listener | None = None,
        port: int = 0,
        salt: str = "",
        watch_bypass: bool = True,
        log_streams: bool = False,
    ) -> None:
        settings = _settings(config)
        if isinstance(no_proxy, str):
            raise TypeError("no_proxy is a list of host names, not one text")
        self.config: Settings = settings
        self._state: Literal["new", "running", "closed"] = "new"
        self._no_proxy = tuple(no_proxy)
        self._shared = listener
        self._listener: Listener | None = None
        self._port = port
        self._salt = salt
        self._watch_bypass = watch_bypass
        self._watching: Watching | None = None
        self._log_streams = log_streams
        self._routes = Routes(allow_network=allow_network)
        self._limits = Limits(idle=_positive("idle_timeout", idle_timeout),
                              upstream=_positive("upstream_timeout", upstream_timeout))  # fmt: skip
        self._in_force = InForce(settings, credentials, secrets, salt)
        self._lease: Lease | None = None
        self._log: LogWriter | None = None

    def __repr__(self) -> str:
        return f"<Gatekeeper {self.url if self._state == 'running' else self._state}>"

    # ---- life

    def start(self) -> None:
        """Listen.

        Raises:
            ProxyError: it has been started before, or the port cannot be had; it is closed then.
            ConfigError: `log.output` cannot be written.
        """
        if self._state != "new":
            raise ProxyError(f"this Gatekeeper is {self._state}; make another one")
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        remember_roots()
        self._log = log = LogWriter(self.config.log, streams=self._log_streams, file=self.config.file)
        lease = self._in_force.hold(
            lambda terms, redactor, watchlist: Lease(
                terms,
                self._routes,
                redactor,
                process_authority(),
                self._accept,
                watchlist=watchlist,
                label=self._salt,
                wants=log.wants,
                limits=self._limits,
                proxy_protocol=self.config.proxy.proxy_protocol,
            )
        )
        listener = self._shared or open_listener(port=self._port)
        listener.hold(lease)
        self._listener, self._lease, self._state = listener, lease, "running"
        if self._watch_bypass:
            thread = proxy_thread()
            self._watching = watch(self._accept, own_thread=lambda: thread.ident, exempt=self._no_proxy)

    def close(self) -> None:
        """Cut every connection and give up the port, in 2 s at most. The recorder stays; twice is no error."""
        running, self._state = self._state == "running", "closed"
        with ExitStack() as stack:  # from the last to the first, whatever fails
            stack.callback(self._in_force.close)
            if self._log is not None:
                stack.callback(self._log.close)
            if running and self._listener is not None and self._lease is not None:
                if self._shared is None:
                    stack.callback(self._listener.close)
                stack.callback(self._listener.release, self._lease)
            if running and self._watching is not None:
                stack.callback(self._watching.stop)

    # ---- where it is

    @property
    def host(self) -> str:
        """The address it listens on. Raises ProxyError before `start`."""
        return self._listening.host

    @property
    def port(self) -> int:
        """The port it listens on. Raises ProxyError before `start`."""
        return self._listening.port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, for HTTPS_PROXY. Raises ProxyError before `start`."""
        return f"http://{join_authority(self.host, self.port)}"

    @property
    def url_with_auth(self) -> str:
        """The URL with the proxy's own token where the configuration asks for one (`proxy.auth_token`)."""
        token = self.config.proxy.auth_token
        if not token:
            return self.url
        return f"http://gatekeeper:{quote(token.reveal(), safe='')}@{join_authority(self.host, self.port)}"

    @property
    def _listening(self) -> Listener:
        listener = self._listener or self._shared
        if listener is None:
            raise ProxyError("this Gatekeeper has not been started; use it as a context manager or call start()")
        return listener

    @property
    def ca(self) -> CertificateAuthority:
        """The authority that clients have to trust; one a process."""
        return process_authority()

    @property
    def env(self) -> dict[str, str]:
        """Every variable that a client under test, or a subprocess, needs. Raises ProxyError before `start`."""
        ca = self.ca
        bundle = ca.bundle_path if self._no_proxy else None
        return proxy_variables(self.url_with_auth, ca.cert_path, bundle, self._no_proxy)

    def env_with(self, *tools: str) -> dict[str, str]:
        """`env`, and what tools need that read nothing of it; files that they read are made on demand.

        Args:
            tools: `java` (JAVA_TOOL_OPTIONS with a trust store; a JVM says so on standard error) and `wget` (WGETRC,
                for one that is built with GnuTLS).

        Raises:
            ValueError: a tool that is not known.
            ProxyError: the trust store cannot be made.
        """
        return tool_variables(tools, self, self.ca.write, dict(os.environ), self._no_proxy)

    def connect(self, host: str, port: int = 443, *, timeout: float = 10.0) -> socket.socket:
        """A TCP connection on which the proxy has answered CONNECT, for clients that take a socket.

        What it carries is still to be encrypted, with `ca.ssl_context()` and `host` as server name.

        Raises:
            ValueError: `host` and `port` are no place to connect to.
            ProxyError: the proxy refused, with its own words, or could not be reached within `timeout` seconds.
        """
        token = self.config.proxy.auth_token
        return clients.connect(self.host, self.port, host, port, timeout=timeout, token=token)

    def kwargs(self, client: str) -> dict[str, Any]:
        """The arguments that lead a client to the proxy which reads no variable.

        Args:
            client: httpx, aiohttp, requests, urllib3, websocket-client, boto3 or grpc.

        Raises:
            ValueError: a client that is not known.
            ImportError: aiohttp, boto3 or grpc is asked for and not installed.
            ProxyError: the proxy has not been started.
        """
        return clients.client_kwargs(client, self)

    @property
    def recorder(self) -> Recorder:
        """What went through."""
        return self._in_force.recorder

    # ---- what applies

    @frameless
    def route(self, host: str, url: str, *, ca: Trusted | None = None, verify: bool = True) -> None:
        """Lead a name to a URL; it takes the place of an earlier route of the same name and port.

        Args:
            host: `name` or `*.suffix`, either with `:port`; IPv6 in brackets.
            url: `http`, `https`, `ws` or `wss`, with host and port.
            ca: the authority of the upstream's certificate.
            verify: False switches the check of its certificate off; exchanges show that (`upstream_verified`).

        Raises ProxyError for a host or a URL that cannot be read.
        """
        self._routes.add(host, url, ca=b"" if ca is None else pem_of(ca), verify=verify)

    def trust(self, ca: Trusted) -> None:
        """Trust another authority for all upstreams. Raises ProxyError where there is no certificate."""
        self._routes.trust(pem_of(ca))

    @frameless
    def add_credential(
        self,
        host: str,
        value: str | Secret,
        *,
        header: str = "Authorization",
        grant: str = "",
        prefix: str = "",
        format: Literal["", "basic"] = "",
    ) -> Rule:
        """One more rule, from now on: requests to `host` (a name or `*.suffix`) get `value` in `header`.

        Raises ConfigError, which never shows the value, for a host or a header that could never match or be sent, and
        TypeError for what is no text.
        """
        return self._in_force.add(host, value, header, grant, prefix, format)

    # ---- inside

    def _accept(self, record: Record) -> None:
        """The sink of the proxy."""
        if isinstance(record, LogLine):
            if self._log is not None:
                self._log.write(record)
        else:
            self.recorder.accept(record)


def _settings(config: Settings | str | os.PathLike[str] | None) -> Settings:
    if config is None:
        return Config()
    if not isinstance(config, (Settings, str, os.PathLike)):
        raise TypeError(
            f"config is a Config or a path, not {type(config).__name__}; YAML text is read by Config.parse(text)"
        )
    return config if isinstance(config, Settings) else Config.load(config)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} is a number of seconds above 0")
    return value
