"""One table of errors: every class, every code, every exit code and every line of the reference hang together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from grpclib.const import Status
from odproto.error_codes import ErrorCode

from odctl.client import errors as client
from oddaemon.domain import errors as domain
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.failure import FailureCode
from oddaemon.wire.errors import MAX_DETAILS, MAX_TEXT, TABLE, mapped, to_message

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
ROOTS = {domain.OpenDebridError: ErrorCode.INTERNAL, domain.CallerError: ErrorCode.INVALID_ARGUMENT}
"""Classes that are not raised themselves, and share a code."""
OWN_CODE_OF_PARENT = {domain.StoreLocked, domain.StoreNewer, domain.StoreDamaged}
"""Seen when the daemon starts, never in an answer."""


def classes(root: type[OpenDebridError] = OpenDebridError) -> Iterator[type[OpenDebridError]]:
    """The tree, as far as the domain defines it."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == domain.__name__:
            yield from classes(child)


def test_every_class_has_a_row_of_its_own() -> None:
    assert set(classes()) - OWN_CODE_OF_PARENT == set(TABLE)
    for cls in OWN_CODE_OF_PARENT:
        assert mapped(cls()).code is ErrorCode.STORE_ERROR


def test_every_code_has_one_class() -> None:
    codes = [row.code for cls, row in TABLE.items() if cls not in ROOTS]
    assert len(codes) == len(set(codes))
    assert {*codes, *ROOTS.values()} == set(ErrorCode)
    for cls, code in ROOTS.items():
        assert TABLE[cls].code is code


@pytest.mark.parametrize("cls", list(TABLE), ids=lambda cls: cls.__name__)
def test_a_row_s_statuses_are_of_one_mind(cls: type[OpenDebridError]) -> None:
    """Whose fault it is, is the same in gRPC, in HTTP and for the exit code."""
    row = TABLE[cls]
    assert HTTPStatus(row.http)
    assert row.grpc is not Status.OK
    exit_code = client.exit_of(str(row.code))
    assert exit_code == client.exit_of("A_CODE_OF_LATER", row.grpc.name)
    assert (exit_code == client.USAGE) == (row.http in (400, 422))
    assert (exit_code == client.NOT_ALLOWED) == (row.http in (401, 403))
    assert (exit_code == client.NOT_FOUND) == (row.http == 404)
    assert (exit_code == client.TIMEOUT) == (row.http == 504)
    assert (exit_code == client.FAILURE) == (row.http == 500)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_odctl_knows_every_code(code: ErrorCode) -> None:
    known = str(code) in client._BY_CODE or str(code) in client._REFUSALS or code.startswith("INVALID_")
    assert known, f"{code} has no exit code of its own"
    assert client.exit_of(str(code)) != client.OK


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_odctl_knows_every_grpc_status(status: Status) -> None:
    assert status.name in client.BY_STATUS
    assert client.exit_of("", status.name) != client.OK


def test_the_reference_names_every_code_and_no_other() -> None:
    text = REFERENCE.read_text().partition("## Of a call")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([A-Z_]+)` \| \S", text, re.MULTILINE) == [str(code) for code in ErrorCode]


@pytest.mark.parametrize("cls", list(classes()), ids=[cls.__name__ for cls in classes()])
def test_an_error_without_words_has_its_class_s(cls: type[OpenDebridError]) -> None:
    error = cls()
    assert re.fullmatch(r"[A-Z][^\n]*\.", error.message)
    message = to_message(error, "abc123")
    if mapped(error).code is ErrorCode.INTERNAL:
        assert (message.code, "abc123" in message.message) == ("INTERNAL", True)
    else:
        assert (message.code, message.message) == (str(mapped(error).code), error.message)


def test_what_is_not_ours_tells_nothing() -> None:
    for error in (RuntimeError("password=hunter2"), OSError(2, "no", "/etc/shadow"), KeyError("x"), TimeoutError()):
        message = to_message(error, "abc123")
        assert message.code == "INTERNAL"
        assert "hunter2" not in str(message)
        assert "shadow" not in str(message)
        assert "abc123" in message.message


def test_an_error_s_words_are_fit_for_a_terminal_and_for_a_header() -> None:
    evil = "\x1b[2J\u202e\ud800\n" + "x" * 100_000
    error = domain.InvalidArgument(evil, hint=evil, field="source", given=[evil, {evil: evil}], number=float("nan"))
    message = to_message(error)
    for text in (message.message, message.hint):
        assert text.isprintable()
        assert len(text) <= MAX_TEXT
    assert len(message.details) <= MAX_DETAILS
    assert len(bytes(message)) < 32_768
    assert "NaN" not in to_message(domain.InvalidArgument("x", number=float("nan"))).details


def test_failure_codes_are_no_error_codes_by_accident() -> None:
    """Where a failure of a download and a failed call share a name, they mean the same."""
    assert {str(code) for code in FailureCode} & {str(code) for code in ErrorCode} == {"NO_SPACE", "UNSUPPORTED"}
