"""Options of the plainest types, converted without pydantic.

Typer 0.29 builds a pydantic adapter for every parameter when it parses a line, which costs as much as the rest of the
start. For text, numbers and lists of text nothing of that is needed. Where Typer is not built as expected, its own
conversion stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand

MOST = 2**31 - 1
_SIMPLE: dict[Any, type] = {str: str, int: int, float: float, bool: bool}


class PlainParam:
    """Stands in for typer's own runtime parameter: the same promise for `kind`, one value or several."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = bool(param.multiple) or param.nargs == -1
        if value is None:
            return () if several else None
        if several:
            return tuple(self._one(item, param, ctx) for item in value)
        return self._one(value, param, ctx)

    def _one(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, self.kind):
            return value
        try:
            return self._within(self.kind(value), param, ctx)
        except (TypeError, ValueError):
            what = "a whole number" if self.kind is int else "a number"
            raise typer.BadParameter(f"{str(value)[:80]!r} is not {what}", ctx=ctx, param=param) from None

    def _within(self, value: Any, param: Any, ctx: Any) -> Any:
        """A whole number that the option takes; where it names no `min` and `max`, one that the protocol can hold."""
        if self.kind is not int:
            return value
        least, most = getattr(param, "min", None), getattr(param, "max", None)
        if (-MOST if least is None else least) <= value <= (MOST if most is None else most):
            return value
        taken = "" if least is None or most is None else f": {least} to {most}"
        raise typer.BadParameter(f"{str(value)[:80]!r} is out of range{taken}", ctx=ctx, param=param)


def plain(params: Sequence[Any]) -> None:
    """Gives every parameter of a plain type its PlainParam."""
    for param in params:
        kind = _kind(param)
        if kind is not None and getattr(param, "_runtime_param", param) is None:
            param._runtime_param = PlainParam(kind)


def plain_command(command: Any, on_help: Callable[[Any, Any, bool], None]) -> None:
    """The same for a whole command, its help option included, which Typer makes when it first parses. `on_help` answers
    that option."""
    plain(command.params)
    for param in command.params:
        if isinstance(param, TyperArgument):
            _as_manuals_do(param)
    original = command.get_help_option

    def help_option(ctx: Any) -> Any:
        option = original(ctx)
        if option is not None:
            plain([option])
            option.callback = on_help
        return option

    command.get_help_option = help_option


def _as_manuals_do(argument: Any) -> None:
    """`JOB...` on the line of the usage, where Typer would write `{JOB}...`, and no types of Python in the list below
    it."""
    argument._usage_display_name = lambda: usage_name(argument)
    argument.display_type_rich = lambda ctx: None


def usage_name(argument: Any) -> str:
    """What stands for it on the line of the usage."""
    name = argument.display_name_raw.strip("[]")
    several = argument.nargs != 1 and "..." not in name and not name.startswith("--")
    return (name if argument.required else f"[{name}]") + ("..." if several else "")


def _kind(param: Any) -> type | None:
    descriptor = getattr(param, "type_descriptor", None)
    annotation = getattr(descriptor, "annotation", None)
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    inner = getattr(annotation, "__args__", ())
    if getattr(annotation, "__origin__", None) is list and inner == (str,):
        return str
    return None


class WithProgram(TyperCommand):
    """A command that starts a program: what stands behind `--` is the program's, never an argument of our own. It
    becomes the parameter `arguments`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:at])
        if ctx.params["arguments"]:
            ctx.fail(f"Got unexpected extra argument ({ctx.params['arguments'][0]})")
        ctx.params["arguments"] = list(args[at + 1 :])
        return rest
