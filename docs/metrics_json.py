"""Write the page about metrics.json from its schema.

python docs/metrics_json.py docs/metrics-json.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammodet.evaluation.metrics_schema import metrics_schema

_INTRODUCTION = """# metrics.json, key by key

What [`mammodet evaluate`](evaluate.md) writes into `metrics.json`. The schema is
`evaluation/metrics.schema.json` (JSON Schema, draft 2020-12), and this page is made from it:
`python docs/metrics_json.py docs/metrics-json.md`.

```python
from mammodet.evaluation.metrics_schema import metrics_schema

schema = metrics_schema()
print(schema["properties"]["schema"]["const"], len(schema["$defs"]))
```
```
{name} {parts}
```
A validator checks a file with it: `jsonschema.Draft202012Validator(metrics_schema()).validate(document)`.
Unknown keys are against it. Keys marked `?` are not in every file.
"""


def page() -> str:
    """Return the page as Markdown."""
    schema = metrics_schema()
    parts = schema["$defs"]
    name = schema["properties"]["schema"]["const"]
    sections = [_section("The file", schema, parts)]
    sections += [_section(part["title"], part, parts) for part in parts.values()]
    return "\n".join([_INTRODUCTION.format(name=name, parts=len(parts)), *sections])


def _section(title: str, part: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    lines = [f"## {title}", part["description"], "", "| key | value | meaning |", "|---|---|---|"]
    for key, one in part["properties"].items():
        optional = "" if key in part["required"] else " ?"
        meaning = one.get("description") or _referred(one, parts).get("description", "")
        lines.append(f"| `{key}`{optional} | {_kind(one, parts)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _referred(one: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    name = one.get("$ref", "").removeprefix("#/$defs/")
    return parts[name] if name else {}


def _kind(one: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """Return in words what a value is, with links to the parts of the page."""
    if part := _referred(one, parts):
        title = part["title"]
        shown = title if title[:2].isupper() else title[0].lower() + title[1:]
        return f"[{shown}](#{title.lower().replace(' ', '-')})"
    if "anyOf" in one:
        return " or ".join(_kind(choice, parts) for choice in one["anyOf"])
    if fixed := one.get("enum", [one["const"]] if "const" in one else []):
        return ", ".join(f"`{choice}`" for choice in fixed)
    if one["type"] == "array":
        return f"list of {_kind(one['items'], parts)}"
    if one["type"] == "object":
        return f"name -> {_kind(one['additionalProperties'], parts)}"
    types = [one["type"]] if isinstance(one["type"], str) else list(one["type"])
    words = {"string": "text", "boolean": "true or false", "integer": "whole number", "null": "null"}
    return " or ".join(_range(one) if kind == "number" else words[kind] for kind in types)


def _range(one: Mapping[str, Any]) -> str:
    low, high = (
        one.get("minimum", one.get("exclusiveMinimum")),
        one.get("maximum", one.get("exclusiveMaximum")),
    )
    if high is None:
        return f"number from {low}"
    return f"{low} to {high}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
