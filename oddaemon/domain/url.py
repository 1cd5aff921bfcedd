"""URLs: parsing that says what is wrong and where, the normal form of RFC 3986 section 6, masking."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set
from dataclasses import dataclass
from urllib.parse import unquote

from oddaemon.domain.errors import InvalidSource

SCHEMES = frozenset({"http", "https", "ftp"})
MAX_URL = 8 * 1024
"""Characters. Servers refuse longer ones (RFC 9110 section 4.1 asks them to take 8,000)."""

MASK = "***"

_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21}
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SUB_DELIMS = "!$&'()*+,;="
_PATH = _UNRESERVED | set(_SUB_DELIMS + ":@/")
_QUERY = _PATH | set("?[]")
"""`[` and `]` do not belong there by the letter of RFC 3986; `a[]=1` is everywhere and servers want it so."""

_BAD = re.compile(r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060-\u206f\u3000\ufeff\ud800-\udfff]")
"""Control characters, blanks, what cannot be seen, and lone surrogates."""
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_SMUGGLE = "__youtubedl_smuggle"
"""yt-dlp reads instructions to its extractors (headers among them) out of such a fragment."""

_SECRET_NAMES = frozenset(
    {"key", "sig", "auth", "authorization", "pass", "pwd", "sid", "session", "jwt", "hmac", "pk", "st"}
)
_SECRET_PARTS = (
    "token", "passw", "passkey", "secret", "signature", "apikey", "authkey", "rsskey", "credential",
    "sessionid", "keypair", "torrentpass", "accesskey", "privatekey", "policy",
)  # fmt: skip
_PASSKEY = re.compile(r"(?=[^/]*[0-9])[0-9A-Za-z_-]{16,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """A URL that was understood."""

    scheme: str
    host: str
    """Lower case, punycode; an IPv6 address in brackets."""
    port: int | None
    """None: the scheme's own."""
    path: str
    """Percent-encoded; at least `/`."""
    query: str | None
    fragment: str | None
    username: str | None
    password: str | None
    userinfo: str | None
    """As given."""

    @property
    def authority(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        """Without credentials, otherwise as given but for what had to be percent-encoded."""
        return self._join(self.authority, self.fragment)

    @property
    def with_userinfo(self) -> str:
        authority = self.authority if self.userinfo is None else f"{self.userinfo}@{self.authority}"
        return self._join(authority, self.fragment)

    @property
    def normalised(self) -> str:
        """RFC 3986 sections 6.2.2 and 6.2.3, without credentials and fragment."""
        query = "" if self.query is None else "?" + _normal_escapes(self.query)
        return f"{self.scheme}://{self.authority}{_without_dots(_normal_escapes(self.path))}{query}"

    def _join(self, authority: str, fragment: str | None) -> str:
        query = "" if self.query is None else f"?{self.query}"
        tail = "" if fragment is None else f"#{fragment}"
        return f"{self.scheme}://{authority}{self.path}{query}{tail}"


def parse_url(text: str, *, schemes: Set[str] = SCHEMES) -> Url:
    """Raises InvalidSource with the position (in characters, from 0) and the reason."""
    if len(text) > MAX_URL:
        raise InvalidSource(f"the URL has {len(text)} characters; the most that is taken is {MAX_URL}",
                            position=MAX_URL)  # fmt: skip
    bad = _BAD.search(text)
    if bad:
        what = "a blank" if bad.group().isspace() and bad.group() > "\x1f" else "a control character"
        raise InvalidSource(
            f"the URL holds {what} ({bad.group()!a})",
            position=bad.start(),
            hint="percent-encode it (a blank is %20), or put the URL in quotes if it was cut",
        )
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in schemes:
        raise InvalidSource(f"{scheme[:40]!r} is not a scheme that is taken", position=0)
    if not rest.startswith("//"):
        raise InvalidSource(f"a URL goes on with '//' after '{scheme}:'", position=len(scheme) + 1)
    start = len(scheme) + 3
    end = min((i for i in (text.find(c, start) for c in "/?#") if i >= 0), default=len(text))
    userinfo, host, port = _authority(text[start:end], start, scheme)
    remainder, hash_sign, fragment = text[end:].partition("#")
    path, question, query = remainder.partition("?")
    path = _escaped(path or "/", _PATH)
    if scheme == "ftp" and re.search(r"%(00|0[aAdD])", path):
        raise InvalidSource("an ftp path holds no line ends: they would be commands", position=end)
    username, password = _credentials(userinfo, start)
    return Url(
        scheme=scheme,
        host=host,
        port=port,
        path=path,
        query=_escaped(query, _QUERY) if question else None,
        fragment=_escaped(fragment, _QUERY) if hash_sign and _SMUGGLE not in unquote(fragment) else None,
        username=username,
        password=password,
        userinfo=None if userinfo is None else _escaped(userinfo, _PATH - {"/", "@"}),
    )


def normalise_url(text: str) -> str:
    """The normal form: equal for URLs that are the same by RFC 3986 section 6. Raises InvalidSource."""
    return parse_url(text).normalised


def mask_url(text: str, *, credentials: bool = False) -> str:
    """`text` (a URL) with user:password, and the values of query parameters that look like secrets, as `***`.

    `credentials`: there were some, and they have been taken out of `text` before.
    """
    before, hash_sign, fragment = text.partition("#")
    before, question, query = before.partition("?")
    scheme, separator, rest = before.partition("://")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    if credentials or host != authority:
        host = f"{MASK}@{host}"
    masked = f"{scheme}{separator}{host}{slash}{path}"
    if question:
        masked += "?" + _mask_pairs(query)
    return masked + ("#" + _mask_pairs(fragment) if hash_sign else "")


def mask_tracker(text: str) -> str:
    """As `mask_url`, and parts of the path that look like a passkey too."""
    before, question, query = mask_url(text).partition("?")
    scheme, separator, rest = before.partition("://")
    authority, slash, path = rest.partition("/")
    path = "/".join(MASK if _PASSKEY.fullmatch(part) else part for part in path.split("/"))
    return f"{scheme}{separator}{authority}{slash}{path}{question}{query}"


def _mask_pairs(query: str) -> str:
    return re.sub(r"([^&;=]+)=([^&;]*)", _mask_pair, query)


def _mask_pair(pair: re.Match[str]) -> str:
    name = re.sub(r"[^a-z0-9]", "", unquote(pair.group(1)).lower())
    secret = name in _SECRET_NAMES or any(part in name for part in _SECRET_PARTS)
    return f"{pair.group(1)}={MASK}" if secret and pair.group(2) else pair.group()


def _authority(text: str, start: int, scheme: str) -> tuple[str | None, str, int | None]:
    userinfo, at, host_port = text.rpartition("@")
    host_at = start + len(userinfo) + len(at)
    if "\\" in text:
        raise InvalidSource("a backslash does not belong into a host", position=start + text.index("\\"))
    if host_port.startswith("["):
        host, bracket, after = host_port.partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise InvalidSource("the IPv6 address has no end", position=host_at)
        host, port_text, port_at = host[1:], after[1:], host_at + len(host) + 2
        name = _ipv6(host, host_at + 1)
    else:
        host, _, port_text = host_port.partition(":")
        port_at = host_at + len(host) + 1
        name = _host(host, host_at)
    return (userinfo if at else None), name, _port(port_text, port_at, scheme)


def _ipv6(text: str, position: int) -> str:
    try:
        if "%" in text:  # a zone (RFC 6874) means something on one machine only
            raise ValueError
        return f"[{ipaddress.IPv6Address(text).compressed}]"
    except ValueError:
        raise InvalidSource("this is not an IPv6 address", position=position) from None


def _host(text: str, position: int) -> str:
    if not text:
        raise InvalidSource("the URL has no host", position=position)
    if len(text) > 255:
        raise InvalidSource("the host is longer than a host can be", position=position)
    try:
        # unquote: RFC 3986 section 3.2.2 allows percent-encoded hosts; idna: RFC 3490, lower-case punycode
        host = unquote(text, errors="strict").encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise InvalidSource("this is not a host name", position=position) from None
    labels = host.removesuffix(".").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > 254:
        raise InvalidSource("this is not a host name", position=position)
    return host


def _port(text: str, position: int, scheme: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise InvalidSource("the port is a number from 1 to 65535", position=position)
    return None if int(text) == _DEFAULT_PORTS.get(scheme) else int(text)


def _credentials(userinfo: str | None, position: int) -> tuple[str | None, str | None]:
    if userinfo is None:
        return None, None
    username, colon, password = userinfo.partition(":")
    decoded = unquote(username), unquote(password)
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for part in decoded for c in part):
        raise InvalidSource("the user name or password holds a control character", position=position)
    return decoded[0], decoded[1] if colon else None


def _escaped(text: str, allowed: Set[str]) -> str:
    """Percent-encodes what may not stand there (RFC 3987 section 3.1), and a `%` that begins no escape."""
    out: list[str] = []
    for i, c in enumerate(text):
        if c in allowed or (c == "%" and _ESCAPE.match(text, i)):
            out.append(c)
        else:
            out.extend(f"%{byte:02X}" for byte in c.encode())
    return "".join(out)


def _normal_escapes(text: str) -> str:
    """Escapes of unreserved characters decoded, the others in upper case (sections 6.2.2.1 and 6.2.2.2)."""

    def normal(escape: re.Match[str]) -> str:
        c = chr(int(escape.group(1), 16))
        return c if c in _UNRESERVED else escape.group().upper()

    return _ESCAPE.sub(normal, text)


def _without_dots(path: str) -> str:
    """Section 5.2.4, for a path that begins with `/`."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for i, segment in enumerate(segments):
        last = i == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
            if last:
                kept.append("")
        elif segment == ".":
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/" + "/".join(kept)
