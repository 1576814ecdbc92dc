"""What jsonargparse says about a bad option, in the words of someone who types commands."""

from __future__ import annotations

import re

_SHOWN = 300  # characters of a message that may hold a whole file
_EXPECTED = re.compile(r'Parser key "([\w.]+)": Expected an? (.+?)\. Got value: (.*)')
_UNION = re.compile(
    r'Parser key "([\w.]+)": Does not validate .*?Subtypes: \[(.+?)\] Errors: .* Given value: (.*)'
)
_WORD = re.compile(r"[\w.:-]+")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "dict": "NAME=VALUE pairs",
    "tuple": "a list",
    "list": "a list",
    "NoneType": "null",
}


def option_problem(error: Exception) -> str:
    """Return one line that names the option, what it must be, the value found and how to write a list.

    Anything but a value of the wrong type keeps the words of jsonargparse, cut after 300 characters, because
    they may hold all of a file that is no recipe.
    """
    line = " ".join(str(error).split())
    found = _EXPECTED.fullmatch(line) or _UNION.fullmatch(line)
    if found is None:
        line = re.sub(r"(?<!\S)--[a-z]\w*", lambda option: option.group().replace("_", "-"), line)
        return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."
    key, kinds, value = found.groups()
    expected = _expected(kinds)
    if expected == "a number" and value in ("nan", "inf", "-inf"):
        expected = "a finite number"
    option = "--" + key.replace("_", "-")
    shown = value if len(value) <= 80 else value[:77] + "..."
    return f"{option}: must be {expected} (found {shown}){_how_to_write(option, expected, value)}"


def _expected(kinds: str) -> str:
    if kinds.startswith("typing.Literal["):
        return "one of " + kinds.removeprefix("typing.Literal[").removesuffix("]").replace("'", "")
    names = re.findall(r"<class '(\w+)'>", kinds)
    return " or ".join(_KINDS.get(name, name) for name in names) or kinds


def _how_to_write(option: str, expected: str, value: str) -> str:
    if expected == "a list":
        words = _WORD.findall(value)
        plain = words and value != "None" and re.sub(r"[\s,]+", "", value) == "".join(words)
        return f"; write it as {option} '[{', '.join(words) if plain else '...'}]'"
    return f"; write them as {option} NAME=VALUE NAME=VALUE" if expected == _KINDS["dict"] else ""
