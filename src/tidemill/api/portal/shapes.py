"""Projects, items and computed files as JSON in the shapes of the portals that researchers know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tidemill.db.database import Row
from tidemill.domain.shop_window import Noun, Window
from tidemill.domain.vocabulary import as_key

Shape = dict[str, Any]


def project(shown: Window, row: Row, members: Sequence[Any]) -> Shape:
    """A project. `members`: its items, as ids in a list of projects, as objects in a project alone."""
    own = {
        shown.id: row["name"],
        "title": row["title"],
        "created_at": row["created_at"],
        "locked": row["locked"],
        as_key(shown.words.items): list(members),
        "computed_files": [computed_file(shown, one) for one in row["computed_files"]],
    }
    return _with_fields(shown, Noun.PROJECT, own, row["metadata"])


def item(shown: Window, row: Row) -> Shape:
    """An item. It holds its project as an id: of several the first, and all of them beside."""
    names = [one["name"] for one in row["projects"]]
    own = {
        shown.id: row["name"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "status": row["status"],
        as_key(shown.words.project): names[0] if names else None,
        as_key(shown.words.projects): names,
        "computed_files": [computed_file(shown, one) for one in row["computed_files"]],
    }
    return _with_fields(shown, Noun.ITEM, own, row["metadata"])


def computed_file(shown: Window, row: Row) -> Shape:
    """A computed file, its attributes beside the rest; one that it lacks is null, or false where it is of yes or no."""
    bucket, key = _place(row["store"], row["key"])
    items = row["items"] or []
    missing = {name: False if type_ == "boolean" else None for name, type_ in shown.attributes.items()}
    return {
        "format": None,
        "modality": None,
        "workflow_version": None,
        **missing,
        **{name: value for name, value in row["attributes"].items() if value is not None or name not in missing},
        "id": row["id"],
        "name": row["name"],
        "package": row["package"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        as_key(shown.words.project): row["project"],
        as_key(shown.words.item): items[0] if items else None,
        as_key(shown.words.items): items,
        "s3_bucket": bucket,
        "s3_key": key,
        "size_in_bytes": row["size"],
        "sha256": row["sha256"],
        "files": row["files"],
        "downloads": row["downloads"],
    }


def _with_fields(shown: Window, noun: Noun, own: Shape, metadata: Mapping[str, Any]) -> Shape:
    """What a record has itself, then what is declared, then the rest under `metadata`. No field hides what it is."""
    fields = shown.fields(noun)
    kept = reserved(shown, noun)
    declared = {name: metadata.get(name) for name in fields if name not in kept}
    rest = {name: value for name, value in metadata.items() if name not in declared}
    return own | declared | {"metadata": rest}


def reserved(shown: Window, noun: Noun) -> frozenset[str]:
    """Keys of a record that no declared field takes the place of: one of that name stays under `metadata`."""
    words = shown.words
    if noun is Noun.PROJECT:
        return frozenset({shown.id, as_key(words.items), "computed_files", "metadata"})
    return frozenset({shown.id, as_key(words.project), as_key(words.projects), "computed_files", "metadata"})


def _place(store: str, key: str) -> tuple[str | None, str]:
    """Bucket and key of an object; a folder is no bucket, and nobody's business."""
    parts = urlsplit(store)
    if parts.scheme not in ("s3", "gs", "az"):
        return None, key
    return parts.netloc, "/".join(filter(None, (parts.path.strip("/"), key)))
