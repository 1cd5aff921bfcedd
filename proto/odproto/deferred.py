"""Generated messages become dataclasses when they are first used, not when they are imported.

The protocol has some 130 messages, and a run of odctl uses ten. To make a dataclass is to write and compile its
`__init__`: for all of them that is a fifth of the time of a short command.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

_FIELDS = "__dataclass_fields__"


def deferred(**options: bool) -> Callable[[type[T]], type[T]]:
    """As `dataclasses.dataclass` with options that add nothing but `__init__`, for classes that are not subclassed. The
    class is finished by its first instance, or by whoever asks for its fields."""

    def deferring(kind: type[T]) -> type[T]:
        def finish_and_init(self: Any, *args: Any, **named: Any) -> None:
            _finish(kind, options)
            self.__init__(*args, **named)

        setattr(kind, _FIELDS, _Fields(options))
        kind.__init__ = finish_and_init  # type: ignore[assignment,method-assign]
        return kind

    return deferring


class _Fields:
    """Stands for the fields until somebody asks."""

    def __init__(self, options: dict[str, bool]) -> None:
        self._options = options

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        _finish(owner, self._options)
        return owner.__dict__[_FIELDS]


def _finish(kind: type[Any], options: dict[str, bool]) -> None:
    """Two threads may do it at once: a class is whole before and after each of these steps."""
    if not isinstance(kind.__dict__[_FIELDS], _Fields):
        return
    own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__", "__init__")}
    del own[_FIELDS]
    own["__doc__"] = kind.__doc__ or kind.__name__  # else one is made of the signature
    made = dataclasses.dataclass(**options)(type(kind.__name__, kind.__bases__, own))
    kind.__init__ = made.__init__  # type: ignore[misc]
    for name in ("__match_args__", "__dataclass_params__", _FIELDS):
        setattr(kind, name, getattr(made, name))


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = deferred
