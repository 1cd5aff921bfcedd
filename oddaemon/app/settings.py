"""Every setting of the daemon: one frozen model per section, every field with its meaning, unit and default.

What is read from where, and which source wins, is `load_settings`. Components never get these objects: the composition
root hands each the few values that it needs.
"""

from __future__ import annotations

import re
import socket
from ipaddress import ip_network
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from oddaemon.app.limit_settings import LimitSettings
from oddaemon.app.setting_fields import LIVE, AbsolutePath, Duration, Port, Section, TextList
from oddaemon.domain.address import parse_address
from oddaemon.domain.labels import parse_labels
from oddaemon.domain.types import Seconds

_NODE_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_MODE = re.compile(r"0?[0-7]{3}")
_HOST_NAME = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
DEFAULT_NODES_PORT = 9090
_ORIGIN = re.compile(r"https?://[^/?#@\s]+")


class ServerSettings(Section):
    """The controller's HTTP listener."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address that the HTTP listener binds. 0.0.0.0: every one of IPv4; ::: every one.",
    )
    port: Port = Field(default=8080, description="TCP port of the HTTP listener. 0: chosen by the system.")
    tls_cert: AbsolutePath = Field(
        default="",
        description="Absolute path of a PEM file with the HTTP listener's certificate and its chain; read again on a "
        "reload. Empty: no TLS.",
    )
    tls_key: AbsolutePath = Field(
        default="", description="Absolute path of a PEM file with that certificate's key. Empty: no TLS."
    )
    metrics_public: bool = Field(
        default=True,
        description="Whether anybody who reaches the listener may read /metrics, which tells no names; false: admins.",
        json_schema_extra=LIVE,
    )
    allowed_hosts: TextList = Field(
        default=(),
        description="Names by which the server is reached, beside localhost, the machine's own name and addresses: a "
        "request for another host is refused. *.example.org: every name below; *: any. In the environment separated "
        "by commas.",
        json_schema_extra=LIVE,
    )
    trusted_proxies: TextList = Field(
        default=(),
        description="Addresses and networks (192.168.1.5, 10.0.0.0/8) of reverse proxies: what they say in "
        "X-Forwarded-For, -Proto and -Host counts. Empty: nobody's. In the environment separated by commas.",
        json_schema_extra=LIVE,
    )
    cors_origins: TextList = Field(
        default=(),
        description="Origins (https://app.example.org) whose pages may use the API from a browser. *: all. Empty: only "
        "our own. In the environment separated by commas.",
        json_schema_extra=LIVE,
    )
    grpc_port: Port = Field(
        default=0,
        description="TCP port of the control API with TLS. 0: none. This release serves the control socket only.",
    )

    @model_validator(mode="after")
    def _pair(self) -> ServerSettings:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("server.tls_cert and server.tls_key belong together: set both, or neither")
        return self

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name: give one without scheme and port, such as nas.example.org")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError as error:
                raise ValueError(f"{text!r} is no address or network, such as 192.168.1.5 or 10.0.0.0/8") from error
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: give scheme, host and port, such as https://app.example.org")
        return value


class ControlSettings(Section):
    """The Unix socket that odctl speaks to."""

    socket_path: AbsolutePath = Field(
        default="", description="The control socket's absolute path. Empty: control.sock in paths.runtime_dir."
    )
    socket_mode: str = Field(
        default="", description="Its permissions in octal. Empty: 0600, or 0660 when control.socket_group is set."
    )
    socket_group: str = Field(
        default="",
        description="The group that may open the socket. A group gives access, not a role. Empty: nobody else.",
    )

    @field_validator("socket_mode")
    @classmethod
    def _octal(cls, value: str) -> str:
        if value and not _MODE.fullmatch(value):
            raise ValueError('give the permissions in octal, such as "0660"')
        return value


class PathSettings(Section):
    """Where the daemon keeps what is its own."""

    data_dir: AbsolutePath = Field(
        default="",
        description="Store, secrets and the engines' state. Empty: $STATE_DIRECTORY under systemd, /var/lib/opendebrid "
        "for root, else opendebrid in the user's data directory ($XDG_DATA_HOME).",
    )
    runtime_dir: AbsolutePath = Field(
        default="",
        description="The control socket and its lock. Empty: /run/opendebrid for root, else "
        "$XDG_RUNTIME_DIR/opendebrid, /run/user/<uid>/opendebrid or /tmp/opendebrid-<uid>.",
    )


class DatabaseSettings(Section):
    """Where jobs, users and all else that must not be lost are stored."""

    url: SecretStr = Field(
        default=SecretStr(""),
        description="postgresql://user:password@host/name, or sqlite:////absolute/path. Empty: SQLite in the data "
        "directory.",
    )
    max_connections: int = Field(
        default=25,
        ge=2,
        le=1000,
        description="Connections to PostgreSQL, at most. One writes and holds the store's lock; up to 8 others read.",
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        scheme = urlsplit(text).scheme.partition("+")[0] if text else "sqlite"
        if scheme not in ("sqlite", "postgres", "postgresql"):
            raise ValueError("give a URL that begins with postgresql:// or sqlite:///")
        return value


_PLACEHOLDER = re.compile(r"secret|change.?(me|this)|default|example|insecure|signing|password|opendebrid", re.I)
"""In no random text of any length that people use, and in what they copy from somewhere."""


class AuthSettings(Section):
    """Who may do what."""

    jwt_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Key that signs access tokens, at least 32 characters. Empty: made at the first start and kept in "
        "the store.",
    )
    jwt_expiry: Duration = Field(
        default=Seconds(3600),
        gt=0,
        le=86400,
        description="How long an access token is valid; a refresh token, which gives the next one, is for 24 hours.",
        json_schema_extra=LIVE,
    )
    admin_username: str = Field(
        default="admin",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="The operator's account, made at the first start.",
    )
    registration_enabled: bool = Field(
        default=False,
        description="Whether anybody may make an account over HTTP. Off: only with an invitation that an admin made.",
        json_schema_extra=LIVE,
    )
    unix_autoprovision: bool = Field(
        default=False,
        description="Whether a local user who is linked to no account gets one at the first call on the control "
        "socket. Off: such users are refused.",
        json_schema_extra=LIVE,
    )

    tell_availability: bool = Field(
        default=False,
        description="Whether `/api/v1/availability`, probes and dry runs tell users of content that only others have. "
        "Off: of what they have themselves. An add finds what is there either way.",
        json_schema_extra=LIVE,
    )

    @field_validator("jwt_secret")
    @classmethod
    def _not_guessable(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (len(text) < 32 or len(set(text)) < 8 or _PLACEHOLDER.search(text)):
            raise ValueError("a signing key has at least 32 characters and is random; leave it out to have one made")
        return value


class NodeSettings(Section):
    """This machine as a node: its name, its downloads and its file server."""

    id: str = Field(default="", description="Unique among all nodes, and never changed. Empty: the host name.")
    name: str = Field(default="", max_length=128, description="The name that people see. Empty: node.id.")
    labels: TextList = Field(
        default=(),
        description="What this node says of itself, as room=attic: downloads may ask for it. An admin's labels go "
        "before them. In the environment separated by commas.",
    )
    download_dir: AbsolutePath = Field(
        default="",
        description="Absolute path of the folder that holds the downloads. Empty: downloads in the data directory.",
    )
    file_server_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address that the file server binds. 0.0.0.0: every one."
    )
    file_server_port: Port = Field(default=8081, description="TCP port of the file server. 0: chosen by the system.")
    file_server_processes: int = Field(
        default=1, ge=1, le=64, description="Processes that serve files and share the port."
    )
    file_endpoint: str = Field(
        default="",
        max_length=255,
        description="What links begin with, when a proxy or another name leads to the file server: "
        "https://files.example.org. Empty: http://, the address and the port above.",
    )
    serve_unheard: Duration = Field(
        default=Seconds(600),
        ge=10,
        le=86_400,
        description="For how long a worker serves links after the last word of its controller: what is revoked "
        "meanwhile works there no longer than that.",
    )
    file_referers: TextList = Field(
        default=(),
        description="Host names that may embed links: a request whose Referer names another is refused. Empty: all "
        "may. In the environment separated by commas.",
    )

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_labels(value)
        return value

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if value and not _NODE_ID.fullmatch(value):
            raise ValueError("a node's id has 1 to 64 letters, digits, dots, dashes and underscores")
        return value

    @field_validator("file_endpoint")
    @classmethod
    def _http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("give a URL such as https://files.example.org, without a query")
        if parts.username or parts.password:
            raise ValueError("links are handed to others: the URL must not hold a user or password")
        return value.rstrip("/")


class NodesSettings(Section):
    """Other machines that work for this controller."""

    host: str = Field(default="", description="Address that the port for workers binds. Empty: every one.")
    port: Port = Field(
        default=DEFAULT_NODES_PORT,
        description="TCP port that workers come to; opened when the first join token is made. 0: chosen by the system.",
    )
    address: str = Field(
        default="",
        max_length=255,
        description="host or host:port that workers are told to come to. Empty: this machine's name, and the port.",
    )
    tls_cert: AbsolutePath = Field(
        default="",
        description="Absolute path of a PEM file with the certificate that workers know this controller by. Empty: one "
        "is made, and kept in the data directory. Another one shuts out every worker that joined.",
    )
    tls_key: AbsolutePath = Field(
        default="", description="Absolute path of a PEM file with that certificate's key. Empty: one is made."
    )
    heartbeat_every: Duration = Field(
        default=Seconds(5),
        ge=1,
        le=3600,
        description="How often a worker tells how it is. After three that did not come it is offline.",
        json_schema_extra=LIVE,
    )
    grace: Duration = Field(
        default=Seconds(600),
        ge=0,
        description="For how long an offline node's downloads wait for it, before they are placed elsewhere.",
        json_schema_extra=LIVE,
    )

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        try:
            parts = urlsplit(f"//{value}")
            fits = parts.netloc == value and bool(parts.hostname) and parts.port != 0 and "@" not in value
        except ValueError:
            fits = False
        if value and not fits:
            raise ValueError("give a host, or host:port, such as nas.example.org:9090")
        return value

    @model_validator(mode="after")
    def _pair(self) -> NodesSettings:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("nodes.tls_cert and nodes.tls_key belong together: set both, or neither")
        return self


class LocalStorageSettings(Section):
    """Files on a disk of this machine."""

    base_path: AbsolutePath = Field(
        default="", description="Another name for node.download_dir. Empty: node.download_dir."
    )


class StorageSettings(Section):
    """Which provider keeps the files. Another provider's own settings are `[storage.<name>]`."""

    provider: str = Field(default="local", min_length=1, description="Name of the storage provider.")
    local: LocalStorageSettings = LocalStorageSettings()


class SchedulerSettings(Section):
    """Which node takes a download."""

    adapter: str = Field(
        default="round-robin",
        min_length=1,
        description="Load balancer: round-robin, least-loaded, most-free, or a plug-in's.",
        json_schema_extra=LIVE,
    )
    paused: bool = Field(
        default=False,
        description="Whether the queue is paused: what runs finishes, nothing new starts.",
        json_schema_extra=LIVE,
    )


class EventSettings(Section):
    """The record of what happened."""

    keep: Duration = Field(
        default=Seconds(30 * 86400), gt=0, description="How long events are kept.", json_schema_extra=LIVE
    )


class LoggingSettings(Section):
    """What the daemon says of itself, on standard error and for `odctl logs`."""

    level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="The least that is logged: debug, info, warn or error.", json_schema_extra=LIVE
    )
    format: Literal["pretty", "json"] = Field(
        default="pretty", description="pretty: for people; json: one JSON object a line."
    )
    file: AbsolutePath = Field(
        default="",
        description="Absolute path of a file to log to as well; opened anew when it was moved away. Empty: none.",
    )


class ControllerSettings(Section):
    """For `oddaemon worker` only: whom to join."""

    grpc_endpoint: str = Field(
        default="", description="host:port of the controller. Once joined: where it is now, if it has moved."
    )
    auth_token: SecretStr = Field(
        default=SecretStr(""),
        description="The join token that the controller's operator made. Not needed any more once joined.",
    )

    @field_validator("grpc_endpoint")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if value:
            parse_address(value, DEFAULT_NODES_PORT)
        return value


class TransportSettings(Section):
    """How a controller and its workers reach each other. An adapter's own settings are `[transport.<name>]`."""

    adapter: str = Field(default="grpc", min_length=1, description="Name of the transport: the same on both.")


class Settings(Section):
    """All of it but the plug-ins' own sections (`[engines.aria2]` and the like), which `load_settings` reads into each
    plug-in's settings type."""

    server: ServerSettings = ServerSettings()
    control: ControlSettings = ControlSettings()
    paths: PathSettings = PathSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    node: NodeSettings = NodeSettings()
    nodes: NodesSettings = NodesSettings()
    storage: StorageSettings = StorageSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    limits: LimitSettings = LimitSettings()
    events: EventSettings = EventSettings()
    logging: LoggingSettings = LoggingSettings()
    controller: ControllerSettings = ControllerSettings()
    transport: TransportSettings = TransportSettings()

    @model_validator(mode="after")
    def _apart(self) -> Settings:
        if self.server.port and (self.server.port, self.server.host) == (
            self.node.file_server_port,
            self.node.file_server_host,
        ):
            raise ValueError("server.port and node.file_server_port may not be the same")
        base, downloads = self.storage.local.base_path, self.node.download_dir
        if base and downloads and base != downloads:
            raise ValueError("storage.local.base_path and node.download_dir name different folders: set one of them")
        return self

    @property
    def node_id(self) -> str:
        return self.node.id or host_id()

    @property
    def node_name(self) -> str:
        return self.node.name or self.node_id


def host_id() -> str:
    """The host name, as far as an id may hold it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:64].strip("._-")
    return plain or "node"
