"""Evaluates a filter for what is in no database, such as an event. What it says, the store's SQL says, too."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from oddaemon.domain.filter_tree import All, Node, Not, Op, Some, Term
from oddaemon.domain.patterns import folded, holding

Known = str | int | float | bool | UUID | datetime | Collection[str] | None
"""What a thing has in a field: a value, several texts, or None where it is not known."""
Has = Callable[[str], Known]
"""The name of a field → what the thing has there."""
Matcher = Callable[[Has], bool]

_COMPARED: Mapping[Op, Callable[[Any, Any], bool]] = {
    Op.LT: operator.lt, Op.GT: operator.gt, Op.LE: operator.le, Op.GE: operator.ge,
}  # fmt: skip


def matcher(node: Node) -> Matcher:
    """Of a settled tree. What is prepared once is prepared here."""
    match node:
        case Term():
            return _matcher_of(node)
        case Not(node=inner):
            held = matcher(inner)
            return lambda has: not held(has)
        case All(nodes=nodes):
            every = [matcher(part) for part in nodes]
            return lambda has: all(held(has) for held in every)
        case Some(nodes=nodes):
            some = [matcher(part) for part in nodes]
            return lambda has: any(held(has) for held in some)


def _matcher_of(term: Term) -> Matcher:
    if term.op is Op.HAS:
        test = holding(term.values)
        return lambda has: any(test(text, folded(text)) for text in _texts(has(term.field)))
    if term.op is Op.EQ:
        return lambda has: _equal(has(term.field), term)
    compare, bound = _COMPARED[term.op], term.values[0]

    def holds(has: Has) -> bool:
        found = has(term.field)
        return found is not None and compare(found, bound)

    return holds


def _equal(found: Known, term: Term) -> bool:
    if found is None or found == "":
        return None in term.values
    if isinstance(found, Collection) and not isinstance(found, str):
        return any(one in term.values for one in found) if found else None in term.values
    return found in term.values


def _texts(found: Known) -> Collection[str]:
    if found is None or isinstance(found, str):
        return [found] if found else []
    return found if isinstance(found, Collection) else [str(found)]
