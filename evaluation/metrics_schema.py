"""The JSON Schema (draft 2020-12) of ``metrics.json``; docs/metrics-json.md is made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCHEMA = Path(__file__).with_name("metrics.schema.json")


def metrics_schema() -> dict[str, Any]:
    """Return the schema that every ``metrics.json`` of this version obeys.

    It is strict: a key that it does not name is against it. Any validator of draft 2020-12 reads it, such as
    ``jsonschema.Draft202012Validator(metrics_schema())``.
    """
    schema: dict[str, Any] = json.loads(_SCHEMA.read_text(encoding="utf-8"))
    return schema
