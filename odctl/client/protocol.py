"""The generated messages, imported without pydantic. Everything of odctl that speaks the protocol gets them here.

betterproto2 looks for pydantic when it is imported, and imports most of it with the first message, to see whether that
is one of pydantic's dataclasses. None of ours is; a run of odctl would pay a quarter of its time for the question.
betterproto2 is made to work where pydantic is not installed, and that is what it is told, for that one import.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

__all__ = ("Message", "common", "wire")


def _import_betterproto2() -> None:
    if "betterproto2" in sys.modules or "pydantic" in sys.modules:
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    # None makes `import pydantic` raise ModuleNotFoundError (Python reference, section 5.3.1, "The module cache")
    modules["pydantic"] = None
    try:
        import betterproto2  # noqa: F401 - for its effect
    finally:
        del modules["pydantic"]


_import_betterproto2()

from betterproto2 import Message  # noqa: E402 - after the above, which is the point
from odproto.gen.opendebrid.common import v1 as common  # noqa: E402
from odproto.gen.opendebrid.control import v1 as wire  # noqa: E402
