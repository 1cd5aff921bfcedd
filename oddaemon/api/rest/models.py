"""What every model of a request or an answer has in common; forms with files; the pages of lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

MAX_PER_PAGE = 200
MAX_PAGE = 1_000_000


class Model(BaseModel):
    """Unknown fields are mistakes, in a request as in an answer. Built when first used: the daemon starts sooner."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, defer_build=True, hide_input_in_errors=True, allow_inf_nan=False,
        ser_json_inf_nan="null",
    )  # fmt: skip


class Nothing(Model):
    """For a route without parameters of that kind."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    name: str
    data: bytes


def _is_upload(value: object) -> Upload:
    if not isinstance(value, Upload):
        raise ValueError("has to be a file")
    return value


_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
File = Annotated[Upload, PlainValidator(_is_upload), WithJsonSchema(_FILE)]


class Form(Model):
    """A body that is read as multipart/form-data. A field of the type `File` is a file; one that is given several times
    is a list, where the model has one."""


class IfMatch(Model):
    """A header of routes that change what has an ETag."""

    tags: str | None = Field(
        default=None, alias="If-Match", description="Only what still has one of these ETags is changed, or `*`: any."
    )


class PageQuery(Model):
    """Which part of a list."""

    page: int = Field(default=1, ge=1, le=MAX_PAGE, description="The first page is 1.")
    per_page: int = Field(default=20, ge=1, le=MAX_PER_PAGE, description="Rows on a page.")

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page


class Meta(Model):
    """Where in a list a page is."""

    page: int
    per_page: int
    total: int = Field(description="Of all rows that match.")


class Problem(Model):
    """Why a request was refused."""

    code: str = Field(description="Stable; docs/reference/errors.md lists them.")
    message: str = Field(description="One sentence, for people.")
    hint: str = Field(description="What to do next; may be empty.")
    field: str | None = Field(description="The field that is wrong, where it is one.")
    details: dict[str, object] = Field(description="Facts, by name.")
