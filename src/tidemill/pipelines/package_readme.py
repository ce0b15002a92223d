"""The READMEs of packages: Jinja templates of the site file, rendered without a way out of the template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tidemill.errors import InvalidInput
from tidemill.executors.amounts import amount
from tidemill.pipelines.nearest import nearest

CONTEXT = ("site", "package", "project", "projects", "items", "files", "tables", "changed_at")
"""What a template is given. No clock is among it: the same input gives the same bytes."""

_MISSING = re.compile(r"'dict object' has no attribute '(.+)'", re.DOTALL)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    made.filters["amount"] = amount
    return made


def readme_fault(text: str) -> str | None:
    """What is wrong with a template whatever it is given; None if nothing is."""
    try:
        parsed = _environment().parse(text)
        _environment().from_string(text)
    except TemplateSyntaxError as error:
        return f"the readme is no Jinja template: line {error.lineno}: {error.message}"
    except TemplateError as error:
        return f"the readme is no Jinja template: {error}"
    for name in sorted(meta.find_undeclared_variables(parsed) - {"range", "dict", "namespace", "cycler", "joiner"}):
        if name not in CONTEXT:
            close = nearest(name, CONTEXT)
            right = f"did you mean {close!r}?" if close else f"there are: {', '.join(CONTEXT)}."
            return f"the readme uses {name!r}, which it is not given; {right}"
    return None


def readme_template(text: str) -> Template:
    """A template, to be rendered many times. Raises InvalidInput."""
    try:
        return _environment().from_string(text)
    except TemplateError as error:
        raise InvalidInput(f"The readme is no Jinja template: {error}.") from error


def render(template: Template, context: Mapping[str, Any]) -> str:
    """The README's text. Raises InvalidInput where the template asks for what there is not."""
    try:
        return template.render(context)
    except UndefinedError as error:
        missing = _MISSING.fullmatch(error.message or "")
        asked = f"it asks for {missing[1]!r}, which the metadata do not have" if missing else str(error)
        raise InvalidInput(f"The readme cannot be made: {asked}.") from error
    except TemplateError as error:
        raise InvalidInput(f"The readme cannot be made: {error}.") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise InvalidInput(f"The readme cannot be made: {type(error).__name__}: {error}.") from error
