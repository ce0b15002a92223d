"""The HTML pages: one router per noun, joined in `router`.

They need `request.app.state.site` (see `web.rendering.OpenSite`), `web.static_files.PageFiles` mounted at `/static`,
and the JSON API and socket beside them for what is live. Errors of ours pass through; `web.rendering.problem` makes a
page of one.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends

from tidemill.web.pages import (
    affected,
    apps,
    attempts,
    batches,
    compare,
    computed_files,
    documents,
    failures,
    home,
    items,
    metadata,
    operating,
    pipelines,
    portal,
    records,
    run_actions,
    runs,
    schedules,
    sources,
    watching,
)
from tidemill.web.words import load_words

router = APIRouter(include_in_schema=False, dependencies=[Depends(load_words)])
for part in (
    home,
    runs,
    watching,
    schedules,
    sources,
    metadata,
    operating,
    failures,
    affected,
    compare,
    run_actions,
    items,
    records,
    attempts,
    documents,
    computed_files,
    batches,
    apps,
    pipelines,
    portal,
):
    router.include_router(part.router)
