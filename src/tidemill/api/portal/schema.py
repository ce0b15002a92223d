"""The description of a site's portal API (OpenAPI 3.1), made from what the site declares, in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill import __version__
from tidemill.api.portal import shapes
from tidemill.domain.lookups import LOOKUPS, Lookup
from tidemill.domain.shop_window import Noun, Window
from tidemill.domain.vocabulary import as_key, in_address

Schema = dict[str, Any]

_TYPES: Mapping[str, Schema] = {
    "text": {"type": "string"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "date-time"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
}
_SAYS = {
    Lookup.EXACT: "is this",
    Lookup.IEXACT: "is this, whatever its case",
    Lookup.CONTAINS: "contains this",
    Lookup.ICONTAINS: "contains this, whatever its case",
    Lookup.STARTSWITH: "begins with this",
    Lookup.ISTARTSWITH: "begins with this, whatever its case",
    Lookup.GT: "is greater",
    Lookup.GTE: "is this or greater",
    Lookup.LT: "is less",
    Lookup.LTE: "is this or less",
    Lookup.IN: "is one of these (commas between)",
    Lookup.ISNULL: "is missing (true) or not (false)",
}

_NEVER = frozenset({"HTTPValidationError", "ValidationError"})
"""Shapes of the framework's own that nothing here has."""

_PAGE: list[Schema] = [
    {"name": "search", "in": "query", "schema": {"type": "string"}, "description": "Letters of their names."},
    {"name": "limit", "in": "query", "schema": {"type": "integer"}, "description": "Rows of a page."},
    {"name": "offset", "in": "query", "schema": {"type": "integer"}, "description": "Rows before it."},
]
"""Parameters of a list that is not filtered by field."""

_LETTERS: Schema = {"name": "contains", "in": "query", "schema": {"type": "string"},
                    "description": "Only values in which these letters stand, whatever their case."}  # fmt: skip


def described(shown: Window, own: Mapping[str, Any], top: str) -> Schema:
    """The whole description. `own`: that of the calls which are the same on every site; `top`: the API's address."""
    words = shown.words
    schemas = {name: one for name, one in own.get("components", {}).get("schemas", {}).items() if name not in _NEVER}
    schemas |= {
        "Project": _record(shown, Noun.PROJECT),
        "Item": _record(shown, Noun.ITEM),
        "ComputedFile": _computed_file(shown),
    }
    paths = {
        **_collection(shown, Noun.PROJECT, words.project, words.projects),
        **_collection(shown, Noun.ITEM, words.item, words.items),
        **_manifest(shown),
        **_computed_files(shown),
        **_few(shown),
        **{path: _as_answered(calls) for path, calls in own.get("paths", {}).items()},
    }
    key = {
        "type": "apiKey",
        "in": "header",
        "name": "API-KEY",
        "description": "A person's key: POST /tokens gives one.",
    }
    components = {**own.get("components", {}), "schemas": schemas, "securitySchemes": {"key": key}}
    about = f"What {shown.title} offers: {words.projects}, {words.items}, and packages of them to download."
    return {
        "openapi": "3.1.0",
        "info": {"title": shown.title, "version": __version__, "description": about},
        "servers": [{"url": top}],
        "paths": paths,
        "components": components,
    }


def _as_answered(calls: Mapping[str, Any]) -> Schema:
    """Calls without the answer that the framework would give to a bad request: ours is a 400 by field."""
    bad = {"400": {"description": "What is wrong, by field: `{field: [words]}`."}}
    return {
        method: dict(call) | {"responses": {**{n: r for n, r in call["responses"].items() if n != "422"}, **bad}}
        for method, call in calls.items()
    }


def _collection(shown: Window, noun: Noun, word: str, words: str) -> Schema:
    ref = "Project" if noun is Noun.PROJECT else "Item"
    path, options = f"/{in_address(words)}", f"/{in_address(word)}-options"
    name = {"name": shown.id, "in": "path", "required": True, "schema": {"type": "string"}}
    facets = {key: {"type": "array"} for key, one in shown.fields(noun).items() if one.get("facet")}
    field = {"name": "field", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        path: {"get": _call(words, f"{words.capitalize()}, filtered, in pages", _listed(ref), _filters(shown, noun))},
        f"{path}/{{{shown.id}}}": {"get": _call(words, f"One {word}", _ref(ref), [name])},
        options: {"get": _call(words, f"The values that {words} have", {"type": "object", "properties": facets})},
        f"{options}/{{field}}": {
            "get": _call(
                words, "How often a field has which value", _counted(), [field, _LETTERS, *_filters(shown, noun)]
            )
        },
    }


def _counted() -> Schema:
    pair = {"type": "object", "properties": {"value": {}, "count": {"type": "integer"}}}
    text: Schema = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "field": text, "title": text, "type": text, "values": {"type": "array", "items": pair},
            "more": {"type": "boolean"},
        },
    }  # fmt: skip


def _manifest(shown: Window) -> Schema:
    words, word = shown.words.projects, shown.words.project
    name = {"name": shown.id, "in": "path", "required": True, "schema": {"type": "string"}}
    choices: list[Schema] = [
        _parameter("format", {"enum": ["json", "tsv", "sha256", "curl"]}, "For programs, people, sha256sum, curl -K."),
        _parameter(
            "per", {"enum": ["project", "item", "all"]}, f"The {word}'s own packages, those of its items, both."
        ),
        _parameter("package", {"type": "array", "items": {"type": "string"}}, "Only those of these declarations."),
    ]
    file = {"type": "object", "properties": {key: {} for key in ("name", "size_in_bytes", "sha256", "url")}}
    answer = {"type": "object", "properties": {"files": {"type": "array", "items": file}}}
    call = _call(words, f"The manifest of a {word}: what it offers, with checksums", answer, [name, *choices])
    call["security"] = [{}, {"key": []}]
    return {f"/{in_address(words)}/{{{shown.id}}}/manifest": {"get": call}}


def _computed_files(shown: Window) -> Schema:
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    one = _call(
        "computed-files", "One computed file, with a link for the holder of a key", _ref("ComputedFile"), [number]
    )
    one["security"] = [{}, {"key": []}]
    one["responses"]["403"] = {"description": "The key is not good: `message`, `token_id`."}
    listed = _listed("ComputedFile")
    filters = _filters(shown, Noun.COMPUTED_FILE)
    return {
        "/computed-files": {"get": _call("computed-files", "What can be downloaded", listed, filters)},
        "/computed-files/{id}": {"get": one},
        "/computed-files/{id}/members": {
            "get": _call("computed-files", "The files in it", _listed_members(), [number, *_PAGE])
        },
    }


def _listed_members() -> Schema:
    text: Schema = {"type": "string"}
    one = {"type": "object", "properties": {"name": text, "size_in_bytes": {"type": "integer"}, "sha256": text}}
    said = {"count": {"type": "integer"}, "results": {"type": "array", "items": one}, "known": {"type": "boolean"}}
    return {"type": "object", "properties": said}


def _few(shown: Window) -> Schema:
    numbers = [f"{as_key(shown.words.projects)}_count", f"{as_key(shown.words.items)}_count", "computed_files_count",
               "size_in_bytes", "downloads_count"]  # fmt: skip
    stats = {"type": "object", "properties": {name: {"type": "integer"} for name in numbers}}
    return {
        "/": {"get": _call("", "Where the resources are", {"type": "object"})},
        "/stats": {"get": _call("", "How much there is", stats)},
    }


def _call(tag: str, summary: str, answer: Schema, parameters: list[Schema] | None = None) -> Schema:
    ok = {"description": "As asked for.", "content": {"application/json": {"schema": answer}}}
    call: Schema = {"summary": summary, "responses": {"200": ok}}
    if tag:
        call["tags"] = [tag]
    if parameters:
        call["parameters"] = parameters
        call["responses"]["400"] = {"description": "Some parameters cannot be used: what is wrong, by parameter."}
    return call


def _filters(shown: Window, noun: Noun) -> list[Schema]:
    """Pages, order, search, and every filter with every lookup that it takes."""
    size = int(shown.portal.get("page_size") or 10)
    found: list[Schema] = [
        _parameter("limit", {"type": "integer", "default": size, "maximum": 5000}, "Rows of a page."),
        _parameter("offset", {"type": "integer", "default": 0}, "Rows before it."),
        _parameter("ordering", {"type": "string"}, "Fields with commas between; a minus before one: downwards."),
        _parameter("search", {"type": "string"}, "Words that the name or some declared text contains."),
    ]
    for name, type_ in shown.types(noun).items():
        for lookup in LOOKUPS[type_]:
            says = _SAYS[lookup]
            if type_ == "list" and lookup in (Lookup.EXACT, Lookup.CONTAINS):
                says = "has all of these (commas between)"
            key = name if lookup is Lookup.EXACT else f"{name}__{lookup}"
            found.append(_parameter(key, _value(type_, lookup), f"{name} {says}"))
    return found


def _value(type_: str, lookup: Lookup) -> Schema:
    if lookup is Lookup.ISNULL:
        return {"type": "boolean"}
    many = lookup is Lookup.IN or type_ == "list"
    return {"type": "string"} if many else dict(_TYPES[type_])


def _parameter(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _record(shown: Window, noun: Noun) -> Schema:
    words, project = shown.words, noun is Noun.PROJECT
    text, files = {"type": "string"}, {"type": "array", "items": _ref("ComputedFile")}
    own: Schema = {shown.id: text} | {name: dict(_TYPES[type_]) for name, type_ in shown.own(noun).items()}
    if project:
        either = {"oneOf": [text, _ref("Item")]}
        own[as_key(words.items)] = {
            "type": "array",
            "items": either,
            "description": "Ids in a list; objects in detail.",
        }
    else:
        own[as_key(words.project)] = {"type": ["string", "null"]}
        own[as_key(words.projects)] = {"type": "array", "items": text}
    kept = shapes.reserved(shown, noun)
    declared = {name: _field(one) for name, one in shown.fields(noun).items() if name not in kept}
    rest = {"type": "object", "description": "What is not declared."}
    return {"type": "object", "properties": own | declared | {"computed_files": files, "metadata": rest}}


def _field(declared: Mapping[str, Any]) -> Schema:
    made = dict(_TYPES[declared["type"]])
    made["type"] = [made["type"], "null"]
    return made | ({"title": declared["title"]} if declared.get("title") else {})


def _computed_file(shown: Window) -> Schema:
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    own: Schema = {
        "id": {"type": "integer"}, "name": text, "package": text, "created_at": dict(_TYPES["time"]),
        "updated_at": dict(_TYPES["time"]), "format": maybe, "modality": maybe, "workflow_version": maybe,
        as_key(shown.words.project): maybe, as_key(shown.words.item): maybe,
        as_key(shown.words.items): {"type": "array", "items": text}, "s3_bucket": maybe, "s3_key": text,
        "size_in_bytes": {"type": "integer"}, "sha256": text, "files": {"type": "integer"},
        "downloads": {"type": "integer"},
        "download_url": {**text, "description": "One at a time, for the holder of a key."},
        "download_filename": text,
    }  # fmt: skip
    return {"type": "object", "properties": own | {name: dict(_TYPES[one]) for name, one in shown.attributes.items()}}


def _listed(ref: str) -> Schema:
    address = {"type": ["string", "null"], "format": "uri"}
    results = {"type": "array", "items": _ref(ref)}
    parts = {"count": {"type": "integer"}, "next": address, "previous": address, "results": results}
    return {"type": "object", "properties": parts, "required": list(parts)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
