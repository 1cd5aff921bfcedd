"""A filter's tree → SQL, for any list: the structure, and the comparisons that are the same for every field.

SQL's third truth value must not show: under a negation a comparison counts as false where it is NULL, so that `Not`
holds exactly where its inside does not. Without one, NULL in a WHERE is false already, and indexes can be used.

Text is looked for in Python (`domain.patterns`), over what the list could show: SQLite knows upper and lower case of
ASCII only, PostgreSQL of what its locale says, and their regular expressions are not the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from oddaemon.domain.filter_tree import All, Node, Not, Op, Some, Term, terms
from oddaemon.domain.patterns import folded, holding
from oddaemon.store.rows import strings_of
from oddaemon.store.scope import Scope

Clause = sa.ColumnElement[bool]
Expression = sa.ColumnElement[Any]
Leaf = Callable[[Term], Clause]


def compiled(node: Node, leaf: Leaf, *, negated: bool = False) -> Clause:
    """The tree as a condition, negations moved down to its terms."""
    match node:
        case Not(node=inner):
            return compiled(inner, leaf, negated=not negated)
        case All(nodes=nodes):
            parts = [compiled(part, leaf, negated=negated) for part in nodes]
            return sa.or_(sa.false(), *parts) if negated else sa.and_(sa.true(), *parts)
        case Some(nodes=nodes):
            parts = [compiled(part, leaf, negated=negated) for part in nodes]
            return sa.and_(sa.true(), *parts) if negated else sa.or_(sa.false(), *parts)
        case Term():
            clause = leaf(node)
            return sa.func.coalesce(clause, sa.false(), type_=sa.Boolean()).is_(sa.false()) if negated else clause


def certain(node: Node) -> Node:
    """What of a filter holds for every match and needs no text looked for: it narrows what is read for that."""
    parts = node.nodes if isinstance(node, All) else (node,)
    return All(tuple(part for part in parts if all(term.op is not Op.HAS for term in terms(part))))


def compared(expression: Expression, term: Term) -> Clause:
    """Whether the value is one of the term's, or less or more than it."""
    value = term.values[0]
    match term.op:
        case Op.LT:
            return expression < value
        case Op.GT:
            return expression > value
        case Op.LE:
            return expression <= value
        case Op.GE:
            return expression >= value
        case _:
            known = [value for value in term.values if value is not None]
            parts = [expression.in_(known)] if known else []
            if None in term.values:
                parts.append(expression.is_(None))
            return sa.or_(*parts)


def text_is(expression: Expression, term: Term) -> Clause:
    """As `compared`; an empty text is none."""
    return compared(sa.func.nullif(expression, "") if None in term.values else expression, term)


def truth(column: sa.Column[Any], term: Term) -> Clause:
    return sa.or_(*(column.is_(value is True) for value in term.values))


class Texts:
    """The texts of one list's fields, of the rows within `limits`: each field is read once, however many terms look
    into it."""

    def __init__(self, scope: Scope, key: sa.Column[Any], limits: Sequence[Clause] = ()) -> None:
        self._scope = scope
        self._key = key
        self._limits = limits
        self._read: dict[str, _Read] = {}

    def found(self, term: Term, expression: Expression) -> Clause:
        """Whether the text, or one of the texts of a JSON array, holds what the term looks for."""
        read = self._read.get(term.field)
        if read is None:
            read = self._read[term.field] = self._rows(expression)
        test = holding(term.values)
        keys = [key for key, plain, fold in zip(*read, strict=True) if test(plain, fold)]
        return among(self._key, list(dict.fromkeys(keys)), self._scope.dialect)

    def _rows(self, expression: Expression) -> _Read:
        columns = [sa.type_coerce(column, sa.types.NullType()) for column in (self._key, expression)]
        keys: list[Any] = []
        plain: list[str] = []
        for key, raw in self._scope.rows(sa.select(*columns).where(*self._limits)):
            for text in _texts(raw, expression):
                keys.append(key)
                plain.append(text)
        return keys, plain, [folded(text) for text in plain]


_Read = tuple[list[Any], list[str], list[str]]
"""Of each text the key of its row, how it is, and folded. Lists of plain values: ten thousand small objects would keep
the collector busy for longer than everything else takes."""


def _texts(raw: object, expression: Expression) -> Sequence[str]:
    if raw is not None and isinstance(expression.type, sa.JSON):
        try:
            return strings_of(raw)
        except (ValueError, TypeError):
            return ()
    return (raw,) if isinstance(raw, str) and raw else ()


def among(column: sa.Column[Any], keys: Sequence[Any], dialect: str) -> Clause:
    """`IN`, for any number of numbers or ids: one parameter."""
    if dialect == "postgresql":
        return column == sa.any_(sa.literal(list(keys), postgresql.ARRAY(column.type)))
    plain = [key.hex if isinstance(key, UUID) else key for key in keys]
    items = sa.func.json_each(json.dumps(plain)).table_valued("value")
    return sa.type_coerce(column, sa.types.NullType()).in_(sa.select(items.c.value))


def member(column: sa.Column[Any], name: str, dialect: str) -> Expression:
    """A member of a JSON object, as text. A damaged value has none: it must not fail the whole list."""
    if dialect == "postgresql":
        found: Expression = column[name].as_string()
        return found
    text = sa.cast(sa.type_coerce(column, sa.types.NullType()), sa.Text())
    return sa.case(
        (sa.func.json_valid(text) == 1, sa.func.json_extract(text, f"$.{name}", type_=sa.Text())), else_=None
    )
