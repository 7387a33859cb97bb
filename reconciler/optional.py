"""What is served where settings say so: the page, and clients elsewhere. Without them nothing of it is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netplumb.api.server.roles import Roles
from netplumb.api.server.workloads import Workloads
from netplumb.models.errors import NetplumbError
from netplumb.models.settings import Settings

if TYPE_CHECKING:
    from netplumb.api.page.server import Page
    from netplumb.api.server.remote import Remote


class ExtraMissing(NetplumbError):
    """A setting wants what is not installed; the message says what to do."""


def page(settings: Settings, workloads: Workloads) -> Page | None:
    """Raises ExtraMissing."""
    if settings.ui is None:
        return None
    try:
        from netplumb.api.page.server import Page
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"ui: the page wants {error.name}, which is not installed: pip install 'netplumb[ui]', or leave ui out"
        ) from None
    return Page(workloads, settings.ui)


def remote(settings: Settings, workloads: Workloads) -> Remote | None:
    if settings.remote is None or not (settings.remote_cert and settings.remote_key and settings.remote_ca):
        return None
    from netplumb.api.server.certificates import Files
    from netplumb.api.server.remote import Remote

    files = Files(settings.remote_cert, settings.remote_key, settings.remote_ca)
    return Remote(workloads, settings.remote, files, roles(settings))


def roles(settings: Settings) -> Roles:
    return Roles(frozenset(settings.remote_read), frozenset(settings.remote_all))
