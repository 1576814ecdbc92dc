"""The pages keep up with the program: links lead somewhere, commands and options exist, nothing is left open."""

import functools
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from mammodet.tools import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"mammodet ([a-z][a-z-]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][\w.-]*")
# Python, and what it prints when the next block says so.
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:```\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
NOT_RUN = {"develop.md": "a piece of a test", "reading.md": "needs a file of the reader's"}
PLACEHOLDER = re.compile(r"DEMO_|TODO|<!-- bench table -->")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def links(text):
    """Return the targets that are files: no other site, no place on the same page."""
    targets = LINK.findall(FENCED.sub("", text))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def command_lines(text):
    """Return the lines of code blocks that call mammodet, with what a backslash continues, without comments."""
    blocks = "\n".join(FENCED.findall(text)).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ").partition(" #")[0] for line in blocks.splitlines()]
    return [line for line in lines if re.match(r"mammodet [a-z-]+(\s|$)", line)]


def commands(text):
    """Return the commands named at the start of a line of code or of a piece of code in a sentence."""
    spans = re.findall(r"`(mammodet [^`\n]+)`", text)
    return [found[1] for line in [*command_lines(text), *spans] if (found := COMMAND.match(line))]


@functools.cache
def known_options(command):
    shown = io.StringIO()
    with redirect_stdout(shown), pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return set(re.findall(r"--[a-z][\w.-]*", shown.getvalue()))


@every_page
def test_every_link_leads_to_a_file(page):
    targets = links(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).is_file()] == []


@every_page
def test_nothing_is_left_open(page):
    assert PLACEHOLDER.findall(page.read_text(encoding="utf-8")) == []


@every_page
def test_every_command_exists(page):
    assert set(commands(page.read_text(encoding="utf-8"))) <= set(cli.COMMANDS)


@every_page
def test_every_option_is_known_to_its_command(page):
    unknown = []
    for line in command_lines(page.read_text(encoding="utf-8")):
        known = known_options(line.split()[1])
        unknown += [f"{option}: {line}" for option in OPTION.findall(line) if option not in known]
    assert unknown == []


def test_every_page_is_listed():
    listed = links((ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"} <= set(listed)


def test_every_command_has_a_line_in_the_docs():
    named = [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]
    assert set(named) == set(cli.COMMANDS)


def test_what_is_read_out_of_a_page():
    page = """# A page ![picture](images/a.png), [page](b.md#part), [here](#part), [site](https://example.org)
Run `mammodet scan --fast`; mammodet is a program.
```
[no](link)
$ mammodet train-det --resume  # --not-an-option
mammodet score a \\
  --out b
mammodet score: error: --model: is missing
```
"""
    assert links(page) == ["images/a.png", "b.md"]
    assert commands(page) == ["train-det", "score", "scan"]
    assert [OPTION.findall(line) for line in command_lines(page)] == [["--resume"], ["--out"]]


def examples():
    return [
        pytest.param(found[1], found[2], id=f"{page.name}-{place}")
        for page in PAGES
        for place, found in enumerate(EXAMPLE.finditer(page.read_text(encoding="utf-8")))
        if page.name not in NOT_RUN
    ]


@pytest.mark.parametrize(("code", "printed"), examples())
def test_examples_run_and_print_what_the_page_says(code, printed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = io.StringIO()
    with redirect_stdout(shown):
        exec(compile(code, "<page>", "exec"), {"__name__": "__main__"})
    assert printed is None or shown.getvalue().strip() == printed.strip()
