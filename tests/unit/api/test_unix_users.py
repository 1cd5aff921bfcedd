"""Names ↔ uids of this machine."""

from __future__ import annotations

import pwd

import pytest

from oddaemon.api.unix_users import MAX_UID, names_of, uid_of
from oddaemon.domain.errors import InvalidArgument

UNUSED = next(uid for uid in range(54_321, MAX_UID) if uid not in {entry.pw_uid for entry in pwd.getpwall()})


async def test_a_name_and_a_number_lead_to_the_uid() -> None:
    assert await uid_of("root") == 0
    assert await uid_of("0") == 0
    assert await uid_of(str(UNUSED)) == UNUSED


@pytest.mark.parametrize("text", ["", "no such user", "nul\0", "-1", "1.0", "٣", str(2**32 - 1), "9" * 5000])
async def test_what_is_no_user_is_named(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await uid_of(text)
    assert caught.value.field == "unix_user"
    assert len(caught.value.message) < 200


async def test_a_uid_without_a_name_is_shown_as_a_number() -> None:
    assert await names_of({0, UNUSED}) == {0: "root", UNUSED: str(UNUSED)}
    assert await names_of(set()) == {}
