"""Every setting of the daemon: one frozen model per section, every field with its meaning, unit and default.

What is read from where, and which source wins, is `load_settings`. Components never get these objects: the composition
root hands each the few values that it needs.
"""

from __future__ import annotations

import os
import re
import socket
from ipaddress import ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from oddaemon.app.units import parse_duration, parse_size, split_list
from oddaemon.domain.link import LONGEST_LINK
from oddaemon.domain.types import Bytes, Seconds


def absolute(value: str) -> str:
    if not value:
        return value
    if "\0" in value:
        raise ValueError("a path holds no NUL")
    path = os.path.expanduser(value)
    if not os.path.isabs(path):
        raise ValueError("give an absolute path: a service has no current folder to count from")
    return os.path.normpath(path)


Size = Annotated[Bytes, BeforeValidator(parse_size)]
Duration = Annotated[Seconds, BeforeValidator(parse_duration)]
TextList = Annotated[tuple[str, ...], BeforeValidator(split_list)]
AbsolutePath = Annotated[str, AfterValidator(absolute)]
"""Empty, or an absolute path; a leading ~ is the user's home."""
Port = Annotated[int, Field(ge=0, le=65535)]

LIVE: dict[str, Any] = {"live": True}
"""Marks a field that `odctl settings set` and a reload change while the daemon runs."""


_NODE_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_MODE = re.compile(r"0?[0-7]{3}")
_HOST_NAME = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_ORIGIN = re.compile(r"https?://[^/?#@\s]+")
MIB = 2**20


class Section(BaseModel):
    """Unknown keys are mistakes; a value never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


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
    file_referers: TextList = Field(
        default=(),
        description="Host names that may embed links: a request whose Referer names another is refused. Empty: all "
        "may. In the environment separated by commas.",
    )

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


class LimitSettings(Section):
    """What may not be exceeded. Where 0 means "no limit" the description says so."""

    min_disk_free: Size = Field(
        default=Bytes(2**30),
        description="The reserve: free space that downloads leave on the download disk.",
        json_schema_extra=LIVE,
    )
    resume_free: Size = Field(
        default=Bytes(0),
        description="How far above the reserve the free space has to come before downloads that a full disk stopped go "
        "on. 0: a quarter of the reserve.",
        json_schema_extra=LIVE,
    )
    per_user_concurrent: int = Field(
        default=5,
        ge=1,
        le=100_000,
        description="Jobs of one user that run at the same time; a job that joined a running download counts, too.",
        json_schema_extra=LIVE,
    )
    per_node_concurrent: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="Downloads that run at the same time on one node.",
        json_schema_extra=LIVE,
    )
    jobs_per_user: int = Field(
        default=0,
        ge=0,
        description="Unfinished jobs that one user may have. 0: no limit.",
        json_schema_extra=LIVE,
    )
    max_download_size: Size = Field(
        default=Bytes(0), description="Largest download, wanted files together. 0: no limit.", json_schema_extra=LIVE
    )
    storage_per_user: Size = Field(
        default=Bytes(0),
        description="What one user's jobs may take on the download disks. An add that would take more is refused, a "
        "download that turns out to waits; nothing is deleted. 0: no limit.",
        json_schema_extra=LIVE,
    )
    storage_shared: Literal["full", "split"] = Field(
        default="full",
        description="How content that several users have is charged: full, to each of them; split, among those who "
        "have the same file.",
        json_schema_extra=LIVE,
    )
    served_per_day: Size = Field(
        default=Bytes(0),
        description="What the links of one user may give on one day, which begins at 00:00 UTC. When it is used up "
        "they answer 429 until the next one, and what is being fetched ends within seconds. 0: no limit.",
        json_schema_extra=LIVE,
    )
    requests_per_minute: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Requests of one user in any 60 seconds, over REST and the control API together; the operator on "
        "the control socket is never refused. 0: no limit.",
        json_schema_extra=LIVE,
    )
    link_expiry: Duration = Field(
        default=Seconds(3600), gt=0, description="How long a link works by default.", json_schema_extra=LIVE
    )
    link_expiry_max: Duration = Field(
        default=LONGEST_LINK,
        ge=1,
        le=LONGEST_LINK,
        description="The longest that a link may be made for, by default too; at most 365 days.",
        json_schema_extra=LIVE,
    )
    retries: int = Field(
        default=8,
        ge=0,
        le=1000,
        description="How often a passing failure is tried again without a byte of progress in between.",
        json_schema_extra=LIVE,
    )
    retry_wait: Duration = Field(
        default=Seconds(5),
        gt=0,
        description="Wait before the first of those tries; doubles with each.",
        json_schema_extra=LIVE,
    )
    no_progress_timeout: Duration = Field(
        default=Seconds(7 * 86400),
        gt=0,
        description="A download without a new byte for so long fails.",
        json_schema_extra=LIVE,
    )
    stall_yield: Duration = Field(
        default=Seconds(600),
        gt=0,
        description="A download without one new byte for so long leaves its slot to one that waits.",
        json_schema_extra=LIVE,
    )
    lru_enabled: bool = Field(
        default=False, description="Whether content that nobody claims is removed by itself.", json_schema_extra=LIVE
    )
    lru_max_age: Duration = Field(
        default=Seconds(30 * 86400),
        description="With lru_enabled: content unused for so long is removed. 0: never for its age.",
        json_schema_extra=LIVE,
    )
    lru_until_free: Size = Field(
        default=Bytes(0),
        description="With lru_enabled: the least recently used is removed until so much is free. 0: never for space.",
        json_schema_extra=LIVE,
    )

    @property
    def resume_margin(self) -> Bytes:
        """`resume_free` with its default filled in; never 0, so that downloads do not flap."""
        return self.resume_free or Bytes(max(self.min_disk_free // 4, MIB))


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

    grpc_endpoint: str = Field(default="", description="host:port of the controller.")
    auth_token: SecretStr = Field(
        default=SecretStr(""), description="The join token that the controller's operator made."
    )


class Settings(Section):
    """All of it but the plug-ins' own sections (`[engines.aria2]` and the like), which `load_settings` reads into each
    plug-in's settings type."""

    server: ServerSettings = ServerSettings()
    control: ControlSettings = ControlSettings()
    paths: PathSettings = PathSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    node: NodeSettings = NodeSettings()
    storage: StorageSettings = StorageSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    limits: LimitSettings = LimitSettings()
    events: EventSettings = EventSettings()
    logging: LoggingSettings = LoggingSettings()
    controller: ControllerSettings = ControllerSettings()

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


REFUSED: dict[str, str] = {
    "engines.aria2.rpc_url": "the daemon starts an aria2c of its own, on a port that the system chooses",
    "engines.aria2.rpc_secret": "the daemon makes a new secret for each start of its own aria2c",
    "engines.aria2.download_dir": "all engines share node.download_dir",
    "engines.ytdlp.binary": "yt-dlp is a library that the daemon brings along, not a program on PATH",
    "engines.ytdlp.download_dir": "all engines share node.download_dir",
    "auth.admin_password": "the operator is admin through the control socket and needs no password",
    "node.worker_auth_token": "workers join with a token that is made for each of them",
}
"""Keys of earlier plans that do not exist, and why."""

ALIASES: dict[str, str] = {
    "database.url": "DATABASE_URL",
    "controller.grpc_endpoint": "CONTROLLER_URL",
    "controller.auth_token": "CONTROLLER_TOKEN",
}
"""Keys whose variable has a name without prefix; the one with prefix does not exist: one name per key."""


def field_kind(annotation: Any) -> str:
    """The type of a setting as faces show it: bool, int, size, duration, enum, list or text."""
    text = str(annotation)
    if annotation is bool:
        return "bool"
    if "Bytes" in text:
        return "size"
    if "Seconds" in text:
        return "duration"
    if annotation in (int, float):
        return "int" if annotation is int else "number"
    if "Literal" in text:
        return "enum"
    return "list" if "tuple" in text or "list" in text else "text"
