"""Names of files: what may be joined to a directory, what may be shown to people, and what a file is.

`SafeRelativePath` is the only type that may join a base directory. Names for people are made from what an
origin said, which is not trusted, and are never used to open anything.
"""

from __future__ import annotations

import mimetypes
import unicodedata
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidArgument

MAX_PATH_BYTES = 4096
"""PATH_MAX of Linux (limits.h)."""
MAX_COMPONENT_BYTES = 255
"""NAME_MAX of every common file system."""
MAX_SHOWN_NAME = 1024
"""Characters. Longer than any name on disk, since a shown name need not be one."""
MAX_SHOWN_PATH = 4096
"""Characters."""

DEFAULT_CONTENT_TYPE = "application/octet-stream"
HTML = frozenset({"text/html", "application/xhtml+xml"})
"""Content types of a page."""

# What can turn a name round or hide a part of it: the bidirectional controls of UAX #9, and the byte-order
# mark. The joiners U+200C and U+200D stay: scripts and emoji need them.
_HIDDEN = frozenset("\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")
_UNSHOWN_CATEGORIES = frozenset({"Cc", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class SafeRelativePath:
    """A path that cannot leave the directory it is joined to. Made only by `parse`."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> SafeRelativePath:
        """Raises InvalidArgument unless `text` is a relative path of ordinary names separated by single
        slashes.

        Refused: the empty path, absolute paths, empty components, `.` and `..`, control characters and NUL,
        more than 4096 bytes in all or 255 in a component, characters that no file system can store, and names
        that would be a traversal or absolute where a backslash separates.
        """
        parts = tuple(text.split("/"))
        for part in parts:
            _check_component(part, text)
        if _byte_length(text, text) > MAX_PATH_BYTES:
            raise _unsafe(text, f"it is longer than {MAX_PATH_BYTES} bytes")
        return cls(parts)

    @property
    def name(self) -> str:
        return self.parts[-1]

    def __str__(self) -> str:
        return "/".join(self.parts)


def display_name(text: str, *, default: str = "unnamed") -> str:
    """One name for people: no control, bidirectional-control or separator characters, no slash, at most 1024
    characters (the extension survives the cut). What else the name holds stays as it is: emoji, CJK, quotes,
    NFD."""
    cleaned = _shown(text).replace("/", "_").strip()
    if cleaned.strip(".") == "":
        return default
    return _shortened(cleaned, MAX_SHOWN_NAME)


def display_path(text: str, *, default: str = "unnamed") -> str:
    """A relative path for people: every component as `display_name`; `.`, `..` and empty ones are left
    out."""
    names = [display_name(part, default="") for part in text.split("/")]
    path = "/".join(name for name in names if name)
    return _shortened(path, MAX_SHOWN_PATH) if path else default


def content_type_of(path: str) -> str:
    """The media type by the name's extension, the same on every machine. A compressed file is what its
    compression makes of it, since it is never sent with a Content-Encoding."""
    name = path.rsplit("/", 1)[-1].lower()
    extension = name.rpartition(".")[2] if "." in name else ""
    if known := _CONTENT_TYPES.get(extension):
        return known
    guessed, encoding = _STANDARD_TYPES.guess_type(f"file.{extension}", strict=True)
    if encoding is not None:
        return DEFAULT_CONTENT_TYPE
    return guessed or DEFAULT_CONTENT_TYPE


def may_be_inline(content_type: str) -> bool:
    """Whether a browser may show it in place of saving it: only what cannot carry script. Never HTML, SVG,
    XML."""
    essence = content_type.partition(";")[0].strip().lower()
    if essence in _INLINE_TYPES:
        return True
    kind, _, subtype = essence.partition("/")
    return kind in {"video", "audio", "image"} and not subtype.endswith("xml")


def _check_component(part: str, text: str) -> None:
    if part in {"", ".", ".."}:
        raise _unsafe(text, "it is empty, absolute, or has an empty, '.' or '..' component")
    if any(unicodedata.category(character) == "Cc" for character in part):
        raise _unsafe(text, "it has a control character")
    if "\\" in part:
        pieces = part.split("\\")
        if any(piece in {"", ".", ".."} for piece in pieces) or (len(pieces[0]) == 2 and pieces[0][1] == ":"):
            raise _unsafe(text, "its backslashes make it a traversal or absolute elsewhere")
    if _byte_length(part, text) > MAX_COMPONENT_BYTES:
        raise _unsafe(text, f"a component is longer than {MAX_COMPONENT_BYTES} bytes")


def _byte_length(part: str, text: str) -> int:
    # surrogateescape is how Python hands over names that are not UTF-8 (PEP 383); other surrogates cannot be
    # stored
    try:
        return len(part.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise _unsafe(text, "it has characters that no file name can hold") from None


def _unsafe(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{display_name(text[:80])!r} is not a safe relative path: {why}", field="path")


def _shown(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            kept.append("\ufffd")
        elif category not in _UNSHOWN_CATEGORIES and character not in _HIDDEN:
            kept.append(character)
    return "".join(kept)


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    stem, dot, extension = text.rpartition(".")
    if dot and stem and len(extension) <= 16 and "/" not in extension:
        return f"{stem[: limit - len(extension) - 2]}….{extension}"
    return text[: limit - 1] + "…"


# Built-in tables only: what /etc/mime.types says differs from machine to machine.
_STANDARD_TYPES = mimetypes.MimeTypes()

_INLINE_TYPES = frozenset({"text/plain", "text/vtt", "application/x-subrip", "application/ogg"})

# What `mimetypes` lacks, or calls differently from one Python version to the next.
_CONTENT_TYPES = {
    # video
    "3g2": "video/3gpp2", "3gp": "video/3gpp", "asf": "video/x-ms-asf", "avi": "video/x-msvideo",
    "divx": "video/x-msvideo", "f4v": "video/mp4", "flv": "video/x-flv", "m2ts": "video/mp2t",
    "m2v": "video/mpeg", "m4v": "video/x-m4v", "mk3d": "video/x-matroska", "mkv": "video/x-matroska",
    "mov": "video/quicktime", "mp4": "video/mp4", "mpeg": "video/mpeg", "mpg": "video/mpeg",
    "mts": "video/mp2t", "ogm": "video/ogg", "ogv": "video/ogg", "rm": "application/vnd.rn-realmedia",
    "rmvb": "application/vnd.rn-realmedia-vbr", "ts": "video/mp2t", "vob": "video/mpeg", "webm": "video/webm",
    "wmv": "video/x-ms-wmv",
    # audio
    "aac": "audio/aac", "ac3": "audio/ac3", "aif": "audio/aiff", "aiff": "audio/aiff", "alac": "audio/mp4",
    "ape": "audio/x-ape", "dts": "audio/vnd.dts", "eac3": "audio/eac3", "flac": "audio/flac",
    "m4a": "audio/mp4", "m4b": "audio/mp4", "mid": "audio/midi", "mka": "audio/x-matroska",
    "mp2": "audio/mpeg", "mp3": "audio/mpeg", "oga": "audio/ogg", "ogg": "audio/ogg", "opus": "audio/ogg",
    "wav": "audio/wav", "weba": "audio/webm", "wma": "audio/x-ms-wma", "wv": "audio/x-wavpack",
    # pictures
    "avif": "image/avif", "bmp": "image/bmp", "gif": "image/gif", "heic": "image/heic", "ico": "image/x-icon",
    "jpeg": "image/jpeg", "jpg": "image/jpeg", "jxl": "image/jxl", "png": "image/png", "svg": "image/svg+xml",
    "tif": "image/tiff", "tiff": "image/tiff", "webp": "image/webp",
    # subtitles and playlists
    "ass": "text/x-ssa", "idx": "text/plain", "lrc": "text/plain", "m3u": "audio/x-mpegurl",
    "m3u8": "application/vnd.apple.mpegurl", "mks": "video/x-matroska", "srt": "application/x-subrip",
    "ssa": "text/x-ssa", "sub": "text/plain", "sup": "application/octet-stream", "vtt": "text/vtt",
    # archives and images of disks
    "7z": "application/x-7z-compressed", "bz2": "application/x-bzip2",
    "deb": "application/vnd.debian.binary-package", "dmg": "application/x-apple-diskimage",
    "gz": "application/gzip", "img": "application/octet-stream", "iso": "application/x-iso9660-image",
    "lz4": "application/x-lz4", "rar": "application/vnd.rar", "rpm": "application/x-rpm",
    "tar": "application/x-tar", "tbz2": "application/x-bzip2", "tgz": "application/gzip",
    "txz": "application/x-xz", "xz": "application/x-xz", "zip": "application/zip", "zst": "application/zstd",
    # books and documents
    "azw3": "application/vnd.amazon.ebook", "cb7": "application/x-cb7",
    "cbr": "application/vnd.comicbook-rar", "cbz": "application/vnd.comicbook+zip", "djvu": "image/vnd.djvu",
    "epub": "application/epub+zip", "fb2": "application/x-fictionbook+xml", "log": "text/plain",
    "md": "text/markdown", "mobi": "application/x-mobipocket-ebook", "nfo": "text/plain",
    "pdf": "application/pdf", "txt": "text/plain",
    # others
    "apk": "application/vnd.android.package-archive", "exe": "application/vnd.microsoft.portable-executable",
    "js": "text/javascript", "mjs": "text/javascript", "json": "application/json", "msi": "application/x-msi",
    "sfv": "text/plain", "torrent": "application/x-bittorrent", "wasm": "application/wasm",
    "xml": "application/xml",
}  # fmt: skip
