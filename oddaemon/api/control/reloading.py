"""What Reload answers, of a controller as of a worker."""

from __future__ import annotations

from collections.abc import Callable, Collection

from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.domain.errors import InvalidArgument


def reloaded(reload: Callable[[], tuple[Collection[str], Collection[str]]]) -> pb.ReloadResponse:
    """Raises InvalidArgument for settings that cannot be used."""
    try:
        changed, needs_restart = reload()
    except Exception as error:
        mistakes = [str(mistake) for mistake in getattr(error, "mistakes", ())]
        if not mistakes:
            raise
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise InvalidArgument(
            f"the settings cannot be used, the old ones stay: {mistakes[0]}{more}",
            hint="oddaemon config check names every mistake",
            mistakes=mistakes,
        ) from error
    return pb.ReloadResponse(changed=list(changed), needs_restart=list(needs_restart))
