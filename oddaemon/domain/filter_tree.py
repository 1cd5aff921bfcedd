"""A filter as a tree. Text becomes one in `filter_text`; the store compiles it to SQL, `filter_match` evaluates it.

What is not known equals nothing and is neither more nor less than anything, so a term on it does not hold; and `Not`
holds exactly where what it negates does not. So `node!=nas`, which is `Not` of `node=nas`, finds jobs without a node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

ME = "@me"
"""Among the values of `user`: whoever asks."""


class Op(StrEnum):
    EQ = "="
    LT = "<"
    GT = ">"
    LE = "<="
    GE = ">="
    HAS = "~"
    """Holds this text, in upper or lower case. With a Pattern: it is found in it."""


@dataclass(frozen=True, slots=True)
class Ago:
    """So many seconds before now. As a moment, what is older is more: `created>2d`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression; see `patterns`."""

    text: str


Value = str | int | float | bool | UUID | datetime | Ago | Pattern | None
"""None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """Holds where the operator does with any of `values`; all but EQ and HAS have one. `position` is the column (from
    0) where it stands."""

    field: str
    op: Op = Op.EQ
    values: tuple[Value, ...]
    position: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    node: Node


@dataclass(frozen=True, slots=True)
class All:
    """Holds where every part does; with no parts everywhere."""

    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """Holds where at least one part does."""

    nodes: tuple[Node, ...]


Node = Term | Not | All | Some
EVERYTHING = All()

_BACKWARDS = {Op.LT: Op.GT, Op.GT: Op.LT, Op.LE: Op.GE, Op.GE: Op.LE}


def terms(node: Node) -> Iterator[Term]:
    """Every term of the tree, from left to right."""
    match node:
        case Term():
            yield node
        case Not(node=inner):
            yield from terms(inner)
        case All(nodes=nodes) | Some(nodes=nodes):
            for part in nodes:
                yield from terms(part)


def settled(node: Node, *, now: datetime, me: str) -> Node:
    """The tree for one question: ages as moments, and whoever asks by name."""
    match node:
        case Not(node=inner):
            return Not(settled(inner, now=now, me=me))
        case All(nodes=nodes):
            return All(tuple(settled(part, now=now, me=me) for part in nodes))
        case Some(nodes=nodes):
            return Some(tuple(settled(part, now=now, me=me) for part in nodes))
        case Term(values=(Ago(seconds=seconds),)):
            return replace(node, op=_BACKWARDS[node.op], values=(now - timedelta(seconds=seconds),))
        case Term(field="user") if ME in node.values:
            return replace(node, values=tuple(me if value == ME else value for value in node.values))
    return node
