"""The filter language: text → tree. No I/O.

    filter  = part { "|" part }                  one of them
    part    = factor { factor }                  all of them
    factor  = "!" factor | "(" filter ")" | term
    term    = FIELD OPERATOR value { "," value } | value        the second: a shortcut, or a word of the name
    OPERATOR is one of  = != < > <= >= ~ !~

A value ends at a space, at `|` and at a `)` that it has not opened itself. It may stand in single or double quotes,
where all of these and commas are only themselves; outside of single quotes a backslash takes the meaning from the
character after it. `~/…/` is a regular expression, in which only `\\/` is special here.

Every bound is a constant below. What cannot be read raises InvalidFilter, whose position is the column (from 0).
"""

from __future__ import annotations

import re

from oddaemon.domain.errors import InvalidFilter
from oddaemon.domain.filter_fields import JOBS, Field, Kind, Vocabulary, read_value
from oddaemon.domain.filter_tree import EVERYTHING, All, Node, Not, Op, Pattern, Some, Term, Value
from oddaemon.domain.patterns import BadPattern, found_by
from oddaemon.domain.words import JSON_NAMES, check_text, listing, nearest, shortened, unknown_field

MAX_TERMS = 100
MAX_ALTERNATIVES = 500
MAX_DEPTH = 30
"""Of parentheses and negations inside of each other."""
MAX_PATTERNS = 5
"""Regular expressions in one filter."""
MAX_TEXTS = 64
"""Parts of text that one filter looks for: each is looked for in every name, which takes the daemon's time."""

_FIELD = re.compile(r"[A-Za-z0-9_.-]*")
_OPERATOR = re.compile(r"![=~]=?~?|[<>=~][=<>]?~?")
_OPS = {op.value: op for op in Op}
_NEGATED = {"!=": Op.EQ, "!~": Op.HAS}
_MEANT = {"==": "=", "=~": "~", "~=": "~", "=<": "<=", "=>": ">=", "<>": "!=", "!==": "!=", "!=~": "!~"}
_WORDS = {"AND": "a space", "&": "a space", "&&": "a space", "OR": "|", "NOT": "!"}
"""Of other languages, and what they are here."""

Piece = tuple[str, int, bool]
"""One alternative: its text, its column, and whether it is a value also when it is empty."""


def parse_filter(text: str, vocabulary: Vocabulary = JOBS) -> Node:
    """The filter as a tree; EVERYTHING for an empty text. Raises InvalidFilter."""
    check_text(text, "filter")
    try:
        return _Parser(text, vocabulary).parse()
    except InvalidFilter as error:
        error.tell(text)
        raise


class _Parser:
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        self._text = text
        self._vocabulary = vocabulary
        self._at = 0
        self._terms = 0
        self._patterns = 0
        self._texts = 0

    def parse(self) -> Node:
        self._skip()
        if self._at == len(self._text):
            return EVERYTHING
        found = self._some(0)
        if self._at < len(self._text):
            raise self._error("this parenthesis was not opened", hint="in a value, quote it: name='a)'")
        return found

    # structure

    def _some(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while self._next("|"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _all(self, depth: int) -> Node:
        parts: list[Node] = []
        while (char := self._peek()) and char not in "|)":
            parts.append(self._factor(depth))
        if not parts:
            raise self._error("a term is missing here", hint="as in: state=active | state=failed")
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _factor(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"parentheses and ! go {MAX_DEPTH} deep at most")
        opened = self._at
        if self._next("!"):
            if self._peek() in ("", "|", ")"):
                raise self._error("! negates what follows it, and nothing does", at=opened)
            return Not(self._factor(depth + 1))
        if self._next("("):
            found = self._some(depth + 1)
            if not self._next(")"):
                raise self._error("this parenthesis is not closed", at=opened)
            return found
        return self._term()

    # terms

    def _term(self) -> Node:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._error(f"a filter has at most {MAX_TERMS} terms")
        start = self._at
        match = _FIELD.match(self._text, start)
        end = match.end() if match else start
        sign = _OPERATOR.match(self._text, end)
        if sign is None:
            return self._bare(start)
        name = self._field_named(self._text[start:end], start, sign)
        negated, op = self._operator(name, sign)
        self._at = sign.end()
        return self._compared(name, op, negated, sign, start)

    def _field_named(self, given: str, start: int, sign: re.Match[str]) -> str:
        fields = self._vocabulary.fields
        if not given:
            hint = f"as in: size{sign[0]}10G, without spaces" if sign[0] in ("<", ">", "<=", ">=") else listing(fields)
            raise self._error(f"a field is missing before {sign[0]}", at=start, hint=hint)
        name = JSON_NAMES.get(given.lower(), given.lower())
        name = name if name in fields else given.lower()
        if name not in fields:
            raise unknown_field(name, fields, start, "filter")
        return name

    def _operator(self, name: str, sign: re.Match[str]) -> tuple[bool, Op]:
        written = sign[0]
        field = self._vocabulary.fields[name]
        if written in _MEANT:
            hint = f"did you mean {_MEANT[written]}?"
            raise self._error(f"there is no operator {written}", at=sign.start(), hint=hint)
        op = _NEGATED.get(written) or _OPS.get(written)
        if op is None:
            raise self._error(f"there is no operator {written}", at=sign.start(), hint=_operators(field))
        if op not in field.kind.ops:
            hint = f"{name} takes {_operators(field)}"
            raise self._error(f"{name} does not take {written}", at=sign.start(), hint=hint)
        return written in _NEGATED, op

    def _compared(self, name: str, op: Op, negated: bool, sign: re.Match[str], start: int) -> Node:
        if op is Op.HAS and self._text.startswith("/", self._at):
            values: tuple[Value, ...] = (self._pattern(),)
        else:
            pieces = self._value()
            if not pieces[0][0] and not pieces[0][2] and len(pieces) == 1:
                raise self._error(f"{name}{sign[0]} needs a value", at=sign.end(), hint=self._expected(name))
            if len(pieces) > 1 and op not in (Op.EQ, Op.HAS):
                raise self._error(f"{name}{sign[0]} takes one value", at=pieces[1][1])
            values = tuple(dict.fromkeys(self._read(name, op, piece) for piece in pieces))
        term = Term(field=name, op=op, values=values, position=start)
        return Not(term) if negated else term

    def _read(self, name: str, op: Op, piece: Piece) -> Value:
        text, at, _ = piece
        field = self._vocabulary.fields[name]
        if op is Op.HAS:
            if not text:
                raise self._error("an empty text is in every one", at=at)
            self._texts += 1
            if self._texts > MAX_TEXTS:
                hint = "a regular expression looks for many at once: name~/one|two|three/"
                raise self._error(f"a filter looks for at most {MAX_TEXTS} parts of text", at=at, hint=hint)
            return text
        if not text and field.kind not in (Kind.CHOICE, Kind.TRUTH):
            if op is not Op.EQ:
                raise self._error("nothing is more or less than what is not known", at=at)
            return None
        if field.kind is Kind.TIME and op is Op.EQ:
            hint = f"{name}>2d: longer ago than two days; {name}='': not at all"
            raise self._error(f"{name} is a moment, which takes < > <= >=", at=at, hint=hint)
        try:
            return read_value(field, op, text)
        except ValueError:
            near = nearest(text.lower(), field.choices)
            hint = f"did you mean {near}? {self._expected(name)}" if near else self._expected(name)
            raise self._error(f"{name} cannot be {shortened(text)}", at=at, hint=hint) from None

    def _expected(self, name: str) -> str:
        field = self._vocabulary.fields[name]
        return f"{name} is {field.kind.expected}" + (f" {', '.join(field.choices)}" if field.choices else "")

    def _bare(self, start: int) -> Node:
        """A word alone: a shortcut, or to be found in the name."""
        quoted = self._text[start] in "'\""
        pieces = self._value()
        word = self._text[start : self._at]
        if not quoted and word in _WORDS:
            raise self._error(f"{word} is written {_WORDS[word]} here", at=start, hint=f"the word itself: '{word}'")
        if not quoted and (meaning := self._vocabulary.shortcuts.get(word)) is not None:
            return _Parser(meaning, self._vocabulary).parse()
        found = tuple(dict.fromkeys(self._read(self._vocabulary.bare, Op.HAS, piece) for piece in pieces))
        return Term(field=self._vocabulary.bare, op=Op.HAS, values=found, position=start)

    # values

    def _pattern(self) -> Pattern:
        opened = self._at
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            raise self._error(f"a filter has at most {MAX_PATTERNS} regular expressions")
        at = opened + 1
        while at < len(self._text) and self._text[at] != "/":
            at += 2 if self._text[at] == "\\" else 1
        after = self._text[at + 1 : at + 2]
        if at >= len(self._text) or not (after == "" or after.isspace() or after in "|)"):
            hint = "it ends with / before a space; a text that begins with /: '/text'"
            raise self._error("this regular expression is not closed", at=opened, hint=hint)
        text = self._text[opened + 1 : at].replace("\\/", "/")
        if not text:
            raise self._error("this regular expression is empty", at=opened)
        try:
            found_by(text)
        except BadPattern as error:
            hint = "as in name~/s0[1-3]e\\d+/; no look-around and no references back (RE2)"
            raise self._error(f"this is no regular expression: {shortened(str(error))}", at=opened, hint=hint) from None
        self._at = at + 1
        return Pattern(text)

    def _value(self) -> list[Piece]:
        """The alternatives from here to the end of the value."""
        pieces: list[Piece] = []
        taken: list[str] = []
        start, quoted, quote, opened, nested = self._at, False, "", self._at, 0
        while self._at < len(self._text):
            char = self._text[self._at]
            if not quote and (char.isspace() or char == "|" or (char == ")" and not nested)):
                break
            if char == "\\" and quote != "'" and self._at + 1 < len(self._text):
                taken.append(self._text[self._at + 1])
                self._at += 2
                continue
            if char == quote:
                quote = ""
            elif not quote and char in "'\"" and not taken and not quoted:
                quote, opened, quoted = char, self._at, True
            elif not quote and char == ",":
                pieces.append(("".join(taken), start, quoted))
                if len(pieces) == MAX_ALTERNATIVES:
                    raise self._error(f"a term has at most {MAX_ALTERNATIVES} values")
                taken, start, quoted = [], self._at + 1, False
            else:
                if not quote:
                    nested += (char == "(") - (char == ")")
                taken.append(char)
            self._at += 1
        if quote:
            raise self._error("this quote is not closed", at=opened)
        return [*pieces, ("".join(taken), start, quoted)]

    # the text

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _peek(self) -> str:
        """The next character that is no space, without taking it; empty at the end."""
        self._skip()
        return self._text[self._at : self._at + 1]

    def _next(self, char: str) -> bool:
        """Takes this character if it comes next."""
        if self._peek() != char:
            return False
        self._at += 1
        return True

    def _error(self, message: str, *, at: int | None = None, hint: str = "") -> InvalidFilter:
        return InvalidFilter(message, position=self._at if at is None else at, hint=hint)


def _operators(field: Field) -> str:
    also = {Op.EQ: " !=", Op.HAS: " !~ ~/…/"}
    return " ".join(f"{op}{also.get(op, '')}" for op in Op if op in field.kind.ops)
