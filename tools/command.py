"""What every command shares: typed arguments from dataclasses, one line per error, exit codes.

A tool is a frozen dataclass with a documented field per argument and a function that takes it:

    def main(argv: list[str] | None = None) -> int:
        return run(Arguments, work, argv, prog="mammodet split", positional=("coco",))
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from mammodet.datasets.atomic import write_text
from mammodet.datasets.errors import InputError
from mammodet.tools.option_problem import option_problem

Arguments = TypeVar("Arguments")

BAD_INPUT = 2
INTERRUPTED = 130


@dataclasses.dataclass(frozen=True)
class PassedOn:
    """Options of another tool that a command takes among its own, to hand them on.

    Parameters
    ----------
    field:
        The field of the command's arguments that gets them.
    kind:
        The dataclass of the other tool, whose fields become options of the command.
    withheld:
        Fields of it that are no options, because the command sets them, and what they hold until then.
    """

    field: str
    kind: type[Any]
    withheld: Mapping[str, Any]

    def names(self) -> list[str]:
        """Return the fields that are options of the command."""
        return [field.name for field in dataclasses.fields(self.kind) if field.name not in self.withheld]


def run(
    arguments: type[Arguments],
    work: Callable[[Arguments], int],
    argv: Sequence[str] | None,
    *,
    prog: str,
    positional: Sequence[str] = (),
    passed_on: PassedOn | None = None,
) -> int:
    """Parse ``argv`` into the dataclass ``arguments``, do the ``work``, and return the exit code.

    Parameters
    ----------
    positional:
        Fields given without a dash; a field of type ``list[...]`` takes one or more and must be the last.
    passed_on:
        Options of another tool, for the field of ``arguments`` that it names.

    Returns
    -------
    int
        What ``work`` returns; 2 after one line on stderr for bad input; 130 when interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may hold what the terminal's encoding has not
            stream.reconfigure(errors="backslashreplace")
    try:
        return work(_parse(arguments, argv, prog, positional, passed_on))
    except ArgumentError as error:
        return _fail(prog, f"{_recipes(argv)}{option_problem(error)}; see {prog} --help")
    except InputError as error:
        # torch hands on an error of a loader's worker with the worker's traceback in front of its line.
        return _fail(prog, str(error).rpartition("InputError: ")[2])
    except OSError as error:
        return _fail(prog, _os_error(error))
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; what was finished is kept", file=sys.stderr)
        return INTERRUPTED


def given_options(
    arguments: type[Any],
    argv: Sequence[str] | None,
    *,
    prog: str,
    positional: Sequence[str] = (),
    passed_on: PassedOn | None = None,
) -> Namespace:
    """Return the options that a command line or its ``--config`` files give, without any default.

    ``argv`` must be one that ``run`` has parsed already.
    """
    parser = _parser(arguments, prog, positional, passed_on)
    return parser.parse_args(_words(arguments, argv, passed_on), defaults=False)


def given_fields(given: Namespace, group: str) -> Collection[str]:
    """Return which fields of a group, such as ``recipe``, stand in what ``given_options`` returns."""
    own = given.get(group)
    return () if own is None else vars(own).keys()


def early_option(argv: Sequence[str] | None, name: str) -> str | None:
    """Return an option that decides which others there are, None when neither words nor recipes give it.

    Nothing is refused: a recipe that cannot be read is told of when all options are parsed.
    """
    found: str | None = None
    for key, value in _given_words(argv):
        if key == f"--{name}":
            found = value
        elif key == "--config":
            with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
                recipe = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
                own = recipe.get(name) if isinstance(recipe, dict) else None
                found = found if own is None else str(own)
    return found


def write_config(arguments: Any, path: str | os.PathLike[str]) -> None:
    """Write the full resolved arguments as YAML, so that ``--config FILE`` repeats the run."""
    write_text(path, config_text(arguments))


def config_text(arguments: Any, passed_on: PassedOn | None = None) -> str:
    """Return the arguments as YAML."""
    return yaml.safe_dump(plain_options(arguments, passed_on), sort_keys=False)


def plain_options(arguments: Any, passed_on: PassedOn | None = None) -> dict[str, Any]:
    """Return the arguments as a recipe holds them, as dicts, lists, texts and numbers."""
    options = dict(_plain(dataclasses.asdict(arguments)))
    if passed_on is not None:
        handed = options.pop(passed_on.field)
        options |= {name: handed[name] for name in passed_on.names()}
    return options


def _parse(
    arguments: type[Arguments],
    argv: Sequence[str] | None,
    prog: str,
    positional: Sequence[str],
    passed_on: PassedOn | None,
) -> Arguments:
    parser = _parser(arguments, prog, positional, passed_on)
    given = parser.parse_args(_words(arguments, argv, passed_on))
    try:
        parsed = parser.instantiate(given)
    except TypeError as error:  # a recipe with a number where a group of options belongs
        raise ArgumentError(None, f"the options do not fit together: {error}") from None
    fields = [field.name for field in dataclasses.fields(arguments)]  # type: ignore[arg-type]
    if passed_on is None:
        return arguments(**{name: parsed[name] for name in fields})
    handed = passed_on.kind(**passed_on.withheld, **{name: parsed[name] for name in passed_on.names()})
    own = {name: parsed[name] for name in fields if name != passed_on.field}
    return arguments(**own, **{passed_on.field: handed})


def _parser(
    arguments: type[Any], prog: str, positional: Sequence[str], passed_on: PassedOn | None
) -> DashedParser:
    summary = (arguments.__doc__ or "").strip().splitlines()[0]
    parser = DashedParser(prog=prog, description=summary, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    types = typing.get_type_hints(arguments)
    told = {one.arg_name: one.description for one in parse_docstring(arguments.__doc__ or "").params}
    for name in positional:
        several = typing.get_origin(types[name]) is list
        kind = typing.get_args(types[name])[0] if several else types[name]
        more: dict[str, Any] = {"nargs": "+"} if several else {}
        parser.add_argument(name, type=kind, help=told.get(name), **more)
    if passed_on is None:
        parser.add_class_arguments(arguments, None, skip=set(positional))
    else:  # jsonargparse names a group by its class, and both may be called Arguments
        parser.add_class_arguments(arguments, None, as_group=False, skip={*positional, passed_on.field})
        parser.add_class_arguments(passed_on.kind, None, skip=set(passed_on.withheld))
    return parser


def _words(arguments: type[Any], argv: Sequence[str] | None, passed_on: PassedOn | None = None) -> list[str]:
    kinds = [arguments] if passed_on is None else [arguments, passed_on.kind]
    types = {name: kind for one in kinds for name, kind in typing.get_type_hints(one).items()}
    flags = {name for name, kind in types.items() if kind is bool}
    mappings = {name for name, kind in types.items() if typing.get_origin(kind) is dict}
    lists = {name for name, kind in types.items() if kind in (list[str], list[str] | None, tuple[str, ...])}
    words = _as_lists(sys.argv[1:] if argv is None else argv, lists)
    return _as_fields(_as_mappings(words, mappings), flags)


class DashedParser(ArgumentParser):
    """Shows options the way people type them, ``--score-threshold``; the fields are ``score_threshold``."""

    def format_help(self, formatter: Any = None) -> str:
        """Return the help text with dashes in the names of options."""
        return re.sub(
            r"--[a-z][\w.]*", lambda match: match.group().replace("_", "-"), super().format_help(formatter)
        )


def _as_mappings(words: Sequence[str], mappings: Collection[str]) -> list[str]:
    """Turn ``--columns image=fn score=p`` into one word, ``--columns={"image": "fn", "score": "p"}``.

    A key that is given twice has both values, with a comma.
    """
    joined: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        joined.append(word)
        if name.lstrip("-").replace("-", "_") not in mappings or not name.startswith("--"):
            continue
        pairs = [value] if equals else []
        while rest and "=" in rest[0] and not rest[0].startswith(("--", "{")):
            pairs.append(rest.pop(0))
        if pairs and not pairs[0].startswith("{"):
            given: dict[str, str] = {}
            for key, _, told in (pair.partition("=") for pair in pairs):
                given[key] = f"{given[key]},{told}" if key in given else told
            joined[-1] = f"{name}={json.dumps(given)}"
    return joined


def _as_lists(words: Sequence[str], lists: Collection[str]) -> list[str]:
    """Turn ``--names new old`` into one word, ``--names=["new", "old"]``; a list in brackets stays."""
    joined: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        named = word.startswith("--") and word[2:].replace("-", "_") in lists
        joined.append(word)
        given: list[str] = []
        while named and rest and not rest[0].startswith(("--", "[")):
            given.append(rest.pop(0))
        if given:
            joined[-1] = f"{word}={json.dumps(given)}"
    return joined


def _as_fields(words: Sequence[str], flags: Collection[str]) -> list[str]:
    """Turn ``--min-score=x`` into the field's ``--min_score=x``, ``--flag`` and ``--no-flag`` into values."""
    fields = []
    for word, following in zip_longest(words, words[1:], fillvalue="--"):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
            if name.startswith("--no_") and name[5:] in flags and not equals:
                name, equals, value = f"--{name[5:]}", "=", "false"
            if name[2:] in flags and not equals and following.lower() not in {"true", "false"}:
                equals, value = "=", "true"
        fields.append(name + equals + value)
    return fields


def _fail(prog: str, line: str) -> int:
    print(f"{prog}: error: {line}", file=sys.stderr)
    return BAD_INPUT


def _recipes(argv: Sequence[str] | None) -> str:
    """Name the recipe files of a command line, since an unknown option may stand in one of them."""
    names = [value for name, value in _given_words(argv) if name == "--config"]
    return f"options ({', '.join(names)}): " if names else ""


def _given_words(argv: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """Yield every word of a command line with its value: what stands behind ``=``, or the word after it."""
    words = list(sys.argv[1:] if argv is None else argv)
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        yield name, value if equals else following


def _os_error(error: OSError) -> str:
    # pydicom wraps the system's error into one whose further lines are a traceback.
    reason = error.strerror or str(error).partition("\n")[0]
    if error.filename is None:
        return f"{reason}; check that the disk has space left and that the output folder can be written"
    return f"{error.filename}: {reason}; check the path, its permissions and the space left on the disk"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
