"""What the models of settings are made of: a section, and the types of its fields as people write them."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from oddaemon.domain.types import Bytes, Seconds
from oddaemon.domain.units import parse_duration, parse_size, split_list


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


class Section(BaseModel):
    """Unknown keys are mistakes; a value never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
