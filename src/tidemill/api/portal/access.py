"""Who may read the portal's API, and what every one of its calls needs: the site's window as it is now."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from tidemill.accounts import people
from tidemill.accounts.keyring import HOLDER
from tidemill.api.door import Session
from tidemill.api.portal.callers import key_of
from tidemill.catalogue import browsing
from tidemill.domain.shop_window import Window


async def _window(session: Session) -> Window:
    return await browsing.window(session)


Shown = Annotated[Window, Depends(_window)]
"""What the site declares, as it is now."""


async def enter(request: Request, session: Session, shown: Shown) -> None:
    """A dependency of all calls: the site is public, or whoever asks has its key, a token, or a person's key.

    A person's key in the address is let through: it says itself who asks.
    """
    if shown.public or HOLDER in request.scope or request.path_params.get("key"):
        return
    key = key_of(request)
    if key is not None and await people.holder(session, key) is not None:
        return
    raise HTTPException(401, "This site needs its key.", headers={"WWW-Authenticate": "Bearer"})
