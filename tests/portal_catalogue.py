"""A small catalogue of projects, items and computed files, laid straight into the tables, in the words of any site."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tidemill.db.database import Database

FIELDS: dict[str, dict[str, Any]] = {
    "diagnosis": {"type": "text", "title": "Diagnosis", "facet": True},
    "age": {"type": "integer", "title": ""},
    "weight": {"type": "number", "title": ""},
    "is_xenograft": {"type": "boolean", "title": "", "facet": True},
    "taken": {"type": "date", "title": ""},
    "technologies": {"type": "list", "title": "", "facet": True},
}
PROJECT_FIELDS: dict[str, dict[str, Any]] = {
    "pi": {"type": "text", "title": ""},
    "diagnoses": {"type": "list", "title": "", "facet": True},
}
ITEMS: dict[str, dict[str, Any]] = {
    "S1": {"diagnosis": "Ganglioglioma", "age": 4, "weight": 1.5, "is_xenograft": False, "taken": "2024-05-01",
           "technologies": ["10Xv2", "spatial"], "odd": 1},
    "S2": {"diagnosis": "Neuroblastoma", "age": 40, "is_xenograft": True, "taken": "2023-05-01",
           "technologies": ["10Xv3"]},
    "S3": {"diagnosis": "ganglioglioma, anaplastic", "age": "unknown", "technologies": []},
    "S4": {"diagnosis": None, "age": 4},
    "S5": {},
}  # fmt: skip
VOCABULARY = {"item": "sample", "items": "samples"}
PORTAL: dict[str, Any] = {"id": "scpca_id", "public": True}
BODY = b"PK not really a zip"


async def lay(
    database: Database,
    *,
    vocabulary: Mapping[str, str] = VOCABULARY,
    portal: Mapping[str, Any] = PORTAL,
    store: Path | None = None,
    terms: str | None = None,
) -> None:
    """P1 has S1 and S3, P2 (locked, loaded before) S2 and S3; P3 (locked, nothing loaded) S3 and S5; S4 stands alone.
    P1 and S1 have a computed file each; in the folder `store`, if there is one. `terms`: their version."""
    site = [
        json.dumps(one)
        for one in (vocabulary, FIELDS, PROJECT_FIELDS, _with_terms(portal, terms), _packages())
    ]  # fmt: skip
    connection = await database.connect()
    async with connection, connection.transaction():
        await connection.execute(
            "insert into site (vocabulary, fields, project_fields, portal, packages) values (%s, %s, %s, %s, %s)", site
        )
        if terms is not None:
            await connection.execute("insert into terms (version, body) values (%s, 'Be kind.')", [terms])
        for name, metadata in ITEMS.items():
            await connection.execute("insert into item (name, metadata) values (%s, %s)", [name, json.dumps(metadata)])
        params = {
            "store": store.as_uri() if store else "s3://out/pre",
            "size": len(BODY),
            "sha256": hashlib.sha256(BODY).hexdigest(),
        }
        for statement in _STATEMENTS:
            await connection.execute(statement.encode(), params, prepare=False)
    for name in ("P1_ALL.zip", "S1_ONE.zip") if store else ():
        path = Path(str(store)) / "abc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BODY)


@pytest.fixture
async def laid(database: Database, tmp_path: Path) -> None:
    """The catalogue, laid, with packages in a folder and terms to be accepted."""
    await lay(database, store=tmp_path / "store", terms="2026-1")


def _with_terms(portal: Mapping[str, Any], terms: str | None) -> dict[str, Any]:
    return dict(portal) | ({} if terms is None else {"terms": {"version": terms, "text": "Be kind."}})


def _packages() -> list[dict[str, Any]]:
    return [
        {"name": "all", "per": "project", "file": "x", "attributes": {"format": "ALL", "includes_merged": False}},
        {"name": "one", "per": "item", "file": "x", "attributes": {"format": "ONE", "modality": "SINGLE_CELL"}},
    ]


_STATEMENTS = (
    "insert into item (name, kind) values ('P1_ALL.zip', 'package'), ('S1_ONE.zip', 'package')",
    """insert into project (name, title, metadata, locked) values
       ('P1', 'Brains', '{"pi": "green", "diagnoses": ["Glioma", "Other"]}', false),
       ('P2', 'Nerves', '{"pi": "gray"}', true), ('P3', '', '{}', true)""",
    """insert into project_item select p.id, i.id from project p, item i
       where (p.name, i.name) in (('P1', 'S1'), ('P1', 'S3'), ('P2', 'S2'), ('P2', 'S3'), ('P3', 'S3'),
                                  ('P3', 'S5'))""",
    """insert into computed_file (item_id, project_id, package, name, store, key, size, sha256, fingerprint, attributes)
       select i.id, p.id, k.package, i.name, %(store)s, 'abc/' || i.name, %(size)s, %(sha256)s, '', k.attributes::jsonb
       from (values ('P1_ALL.zip', 'all', '{"format": "ALL", "includes_merged": true}'),
                    ('S1_ONE.zip', 'one', '{"format": "ONE", "modality": "SINGLE_CELL"}')) k(item, package, attributes)
       join item i on i.name = k.item, project p where p.name = 'P1'""",
    """insert into computed_file_item select c.id, i.id from computed_file c, item i
       where (c.package, i.name) in (('all', 'S1'), ('all', 'S3'), ('one', 'S1'))""",
)
