"""Tickets of a relay: what is signed comes back, and nothing else is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.link_token import TokenTampered, new_master_key, sign, verify
from oddaemon.domain.relay_token import BadTicket, Ticket, answer_to, new_ticket, read_ticket
from oddaemon.domain.types import ReplicaId
from tests.property.test_link_token import KEY, NOW, example

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
tickets = st.builds(
    Ticket, replica_id=st.uuids().map(ReplicaId), path=st.text(min_size=1, max_size=200),
    offset=st.integers(0, 2**60), length=st.integers(0, 2**60), good_until=st.integers(100, 2**40),
)  # fmt: skip
TICKET = Ticket(replica_id=ReplicaId(example().replica_id), path="a/b.mkv", offset=1, length=2, good_until=100)


@given(tickets)
def test_what_was_signed_comes_back(ticket: Ticket) -> None:
    text = new_ticket(ticket, KEY)
    assert read_ticket(text, [new_master_key(), KEY], 99) == (ticket, KEY)


@given(st.data())
def test_every_alteration_is_noticed(data: st.DataObject) -> None:
    text = new_ticket(TICKET, KEY)
    place = data.draw(st.integers(0, len(text) - 2))  # the last character has spare bits
    other = data.draw(st.sampled_from(ALPHABET).filter(lambda found: found != text[place]))
    with pytest.raises(BadTicket):
        read_ticket(text[:place] + other + text[place + 1 :], [KEY], 99)


@given(st.text(max_size=200))
def test_junk_is_no_ticket(text: str) -> None:
    with pytest.raises(BadTicket):
        read_ticket(text, [KEY], 0)


def test_a_ticket_ends_and_is_of_one_node() -> None:
    text = new_ticket(TICKET, KEY)
    for keys, now in (([KEY], 100.0), ([new_master_key()], 99.0), ([], 99.0)):
        with pytest.raises(BadTicket):
            read_ticket(text, keys, now)


def test_neither_a_link_nor_an_answer_is_a_ticket() -> None:
    text = new_ticket(TICKET, KEY)
    with pytest.raises(BadTicket):
        read_ticket(sign(example(), KEY), [KEY], 0)
    with pytest.raises(TokenTampered):
        verify(text[:100], [KEY], NOW)
    assert answer_to(text, KEY) not in text
    assert answer_to(text, KEY) != answer_to(text, new_master_key())
