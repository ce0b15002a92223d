"""Loading the metadata files of the sources, as `tidemill load-metadata` does."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from tidemill.api.door import Json, Site
from tidemill.catalogue.metadata import LoadWish, load

router = APIRouter(tags=["sources"])


class PostLoad(BaseModel):
    """What is to be loaded."""

    model_config = ConfigDict(extra="forbid")

    source: str | None = Field(default=None, description="Only from this one: its name, `bucket`, `bucket/prefix`.")
    reload_existing: bool = Field(default=False, description="Also projects that were loaded before.")
    reload_locked: bool = Field(default=False, description="Also projects that are locked.")
    projects: list[str] = Field(default_factory=list, description="Only these; none: all.")
    dry_run: bool = Field(default=False, description="Check all and say what would happen; do nothing.")


@router.post("/load-metadata", summary="Make projects and items as the metadata files describe them; answers when done")
async def load_metadata(site: Site, body: PostLoad | None = None) -> Response:
    wish = body or PostLoad()
    asked = LoadWish(wish.source, wish.reload_existing, wish.reload_locked, tuple(wish.projects), wish.dry_run)
    return Json((await load(site.database, asked)).told())
