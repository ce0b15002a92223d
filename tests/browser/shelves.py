"""A portal for tests: projects, items with parts, packages that are really there, and terms."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database
from tidemill.db.models import (
    ComputedFile,
    ComputedFileItem,
    File,
    Item,
    ItemFile,
    Project,
    ProjectItem,
    Site,
    Source,
    Terms,
)

DIAGNOSES = (
    "Glioma",
    "Neuroblastoma",
    "Ewing sarcoma",
    "Wilms tumor",
    "Ganglioglioma",
    "Osteosarcoma",
    "Retinoblastoma",
)
SEXES = ("Female", "Male", "unknown")
ABSTRACT = (
    "Pediatric tumors are rare, and the cells that drive them are rarer still. We profiled single cells and nuclei of "
    "biopsies taken at diagnosis and at relapse, and matched them with bulk sequencing of the same tissue.\n\n"
    "The data show which programs the tumors share with the tissue that they grew from, and which they do not. All "
    "libraries were processed by one workflow, so that they can be compared with the others here."
)
TERMS = (
    "# Be fair\n\nUse the data for **research**. Do not try to find out whose they are.\n\n"
    "- Cite us.\n- Say so when you publish."
)
SAYS: dict[str, Any] = {
    "title": "Single cells of childhood cancers",
    "vocabulary": {"item": "sample", "items": "samples"},
    "fields": {
        "diagnosis": {"type": "text", "title": "Diagnosis", "facet": True},
        "sex": {"type": "text", "title": "Sex", "facet": True},
        "age": {"type": "number", "title": "Age", "facet": True},
        "is_xenograft": {"type": "boolean", "title": "Xenograft", "facet": True},
        "tissue_location": {"type": "text", "title": "Tissue"},
    },
    "project_fields": {
        "pi_name": {"type": "text", "title": "Investigator", "facet": True},
        "abstract": {"type": "text", "title": "Abstract"},
        "diagnoses": {"type": "list", "title": "Diagnoses", "facet": True},
        "has_spatial_data": {"type": "boolean", "title": "Spatial", "facet": True},
        "homepage": {"type": "text", "title": "Home page"},
    },
    "packages": [
        {
            "name": "project-cells",
            "title": "Single cells of the whole project, for Python",
            "per": "project",
            "file": "{project}_SINGLE-CELL.zip",
            "files": [{"into": "{item}/{name}"}],
            "attributes": {"modality": "SINGLE_CELL", "format": "ANN_DATA", "includes_merged": True},
        },
        {
            "name": "sample-cells",
            "per": "item",
            "file": "{items}_SINGLE-CELL.zip",
            "files": [{"into": "{item}/{name}"}],
            "attributes": {"modality": "SINGLE_CELL", "format": "ANN_DATA"},
        },
    ],
    "publishing": {"upload": False},
    "portal": {
        "public": True,
        "id": "scpca_id",
        "welcome": "An open atlas of **single-cell profiles** from childhood tumors. Find what you need, accept the "
        "[terms](/portal/terms) once, and take it away as zip packages with checksums.",
        "terms": {"version": "2026-11", "text": TERMS},
    },
}


async def fill(
    database: Database, packages: Path, *, projects: int = 2, items: int = 3, says: dict[str, Any] | None = None
) -> None:
    """A site with that many projects, with that many items in each, and all their packages in a folder."""
    packages.mkdir(parents=True, exist_ok=True)
    async with database.begin() as session:
        said = SAYS | (says or {})
        session.add(Site(**said))
        if terms := said["portal"].get("terms"):
            session.add(Terms(version=terms["version"], body=terms["text"]))
        source = Source(name="bucket", url=(packages.parent / "bucket").as_uri())
        session.add(source)
        await session.flush()
        for number in range(projects):
            await add_project(session, packages, source.id, number, items)


async def add_project(session: AsyncSession, packages: Path, source: int, number: int, items: int) -> Project:
    """One project with items, files and packages."""
    name = f"SCPCP{number + 1:06}"
    first, second = DIAGNOSES[number % 7], DIAGNOSES[(number * 3 + 1) % 7]
    details = {
        "pi_name": ("Rivera", "Okafor", "Lindqvist")[number % 3],
        "abstract": ABSTRACT,
        "diagnoses": sorted({first, second}),
        "has_spatial_data": number % 4 == 1,
        "homepage": "https://example.org/lab",
        "contacts": [
            {"name": "A. Rivera", "email": "rivera@example.org"},
            {"name": "J. Okafor", "email": "jo@example.org"},
        ],
        "sequenced_by": "core facility",
    }
    project = Project(name=name, title=f"Single-cell profiles of {first.lower()} and its tissue", details=details)
    project.created_at = dt.datetime(2026, 10, 1, tzinfo=dt.UTC) + dt.timedelta(days=number)
    session.add(project)
    await session.flush()
    made = []
    for n in range(items):
        item = Item(name=f"SCPCS{number * items + n + 1:06}", details=_details((first, second)[n % 2], n))
        session.add(item)
        await session.flush()
        made.append(item.id)
        session.add(ProjectItem(project_id=project.id, item_id=item.id))
        await _original(session, packages.parent / "bucket", source, project, item)
        await add_package(session, packages, "sample-cells", f"{item.name}_SINGLE-CELL.zip", project.id, [item.id])
    if made:
        await add_package(session, packages, "project-cells", f"{name}_SINGLE-CELL.zip", project.id, made)
    return project


async def add_package(
    session: AsyncSession, folder: Path, declared: str, name: str, project: int | None, items: list[int]
) -> ComputedFile:
    """A computed file, with bytes in the folder."""
    body = f"PK {name}\n".encode() * 2000
    (folder / name).write_bytes(body)
    attributes = next((one["attributes"] for one in SAYS["packages"] if one["name"] == declared), {})
    row = ComputedFile(
        project_id=project,
        package=declared,
        name=name,
        store=folder.as_uri(),
        key=name,
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
        attributes=dict(attributes),
        files=3 * len(items) + 2,
    )
    session.add(row)
    await session.flush()
    session.add_all(ComputedFileItem(computed_file_id=row.id, item_id=item) for item in items)
    return row


def _details(diagnosis: str, n: int) -> dict[str, Any]:
    library = {"technology": "10Xv3.1", "seq_unit": ("cell", "nucleus")[n % 2], "filtered_cells": 4000 + n}
    return {
        "diagnosis": diagnosis,
        "sex": SEXES[n % 3],
        "age": n % 17 + 0.5,
        "is_xenograft": n % 9 == 4,
        "tissue_location": ("Cerebellum", "Adrenal gland, left", "Femur")[n % 3],
        "libraries": [{"library_id": f"SCPCL{n:06}"} | library, {"library_id": f"SCPCL{n + 500:06}"} | library],
        "submitter_id": f"S-{n}",
    }


async def _original(session: AsyncSession, bucket: Path, source: int, project: Project, item: Item) -> None:
    for stage in ("filtered", "processed"):
        path = bucket / project.name / item.name / f"{item.name}_{stage}_rna.h5ad"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"cells of {item.name}, {stage}\n".encode() * 500)
        seen = path.stat()
        file = File(
            source_id=source,
            key=path.relative_to(bucket).as_posix(),
            size=seen.st_size,
            etag=f"{seen.st_mtime_ns:x}-{seen.st_size:x}",
            project_id=project.id,
            attributes={"format": "ANN_DATA", "modality": "SINGLE_CELL"},
        )
        session.add(file)
        await session.flush()
        session.add(ItemFile(item_id=item.id, file_id=file.id))
