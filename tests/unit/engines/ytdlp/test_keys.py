from __future__ import annotations

from typing import Any

import pytest

from oddaemon.domain.cache import parse_key
from oddaemon.domain.source import parse_source
from oddaemon.engines.ytdlp.keys import key_of

SOURCE = parse_source("HTTPS://Site.invalid:443/a/../watch?v=1#x")
CHOICES = {"format": "best"}


def key(**found: Any) -> str:
    return key_of(SOURCE, found, CHOICES).full


def test_a_sites_own_id_is_the_identity() -> None:
    assert key(extractor="youtube", id="abc").startswith("ytdlp:custom_id:youtube:abc:")
    assert key(extractor="youtube", id="abc") != key(extractor="vimeo", id="abc")


def test_without_one_it_is_the_url() -> None:
    assert key(extractor="generic", id="").startswith("ytdlp:url:")
    assert key() == key_of(parse_source("https://site.invalid/watch?v=1"), {}, CHOICES).full
    assert key() != key_of(SOURCE, {}, {"format": "worst"}).full


@pytest.mark.parametrize("own_id", ["a:@00000000-0000-0000-0000-000000000000", "a:b", "x" * 5000, "\ud800", "a/b c\n"])
def test_no_id_can_pass_for_another_part(own_id: str) -> None:
    found = key(extractor="youtube", id=own_id)
    assert parse_key(found).owner is None
    assert found.count(":") == 4
    assert found.isprintable()
    assert len(found) < 400


def test_a_playlist_is_its_entries() -> None:
    one = key(extractor="youtubetab", id="PL", entries=[{"identity": "a"}])
    assert one != key(extractor="youtubetab", id="PL", entries=[{"identity": "a"}, {"identity": "b"}])
    assert one != key(extractor="youtubetab", id="PL")
    assert one == key(extractor="youtubetab", id="PL", entries=[{"identity": "a", "title": "renamed"}])
