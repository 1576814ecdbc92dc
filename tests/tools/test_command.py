"""What every command does with its arguments and with errors."""

from dataclasses import dataclass, field

import pytest
import yaml

from mammodet.datasets.errors import InputError
from mammodet.tools.command import PassedOn, given_options, plain_options, run, write_config


@dataclass(frozen=True)
class Inner:
    """Nested options.

    Args:
        lr: learning rate.
    """

    lr: float = 0.1


@dataclass(frozen=True)
class Arguments:
    """Do something.

    Args:
        paths: inputs.
        out: where to.
        sizes: some sizes.
        inner: nested.
    """

    paths: list[str]
    out: str
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self):
        if self.out == "nowhere":
            raise InputError("is nowhere", field="--out", value=self.out)


def _run(argv, work=lambda _: 0):
    return run(Arguments, work, argv, prog="mammodet try", positional=("paths",))


def test_arguments_recipe_and_overrides_come_together(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("out: there\ninner: {lr: 0.5}\nsizes: [3]\n")
    seen = []
    assert (
        _run(["a", "b", "--config", str(recipe), "--inner.lr", "0.7"], lambda one: seen.append(one) or 0) == 0
    )
    assert seen == [Arguments(["a", "b"], "there", (3,), Inner(0.7))]


@pytest.mark.parametrize("words", [["center", "duke"], ["[center, duke]"]])
def test_a_list_of_words_is_typed_with_spaces_or_in_brackets(words):
    @dataclass(frozen=True)
    class Ruled:
        """Do something.

        Args:
            paths: inputs.
            rules: some rules.
        """

        paths: list[str]
        rules: tuple[str, ...] = ()

    seen = []
    how = {"prog": "mammodet try", "positional": ("paths",)}
    assert run(Ruled, lambda one: seen.append(one) or 0, ["a", "--rules", *words, "--paths-too"], **how) == 2
    assert run(Ruled, lambda one: seen.append(one) or 0, ["a", "b", "--rules", *words], **how) == 0
    assert seen == [Ruled(["a", "b"], ("center", "duke"))]


def test_the_written_configuration_repeats_the_run(tmp_path):
    first = Arguments(["a"], "there", (5,), Inner(0.3))
    write_config(first, tmp_path / "config.yaml")
    seen = []
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert content["inner"] == {"lr": 0.3}
    assert (
        run(
            Arguments,
            lambda one: seen.append(one) or 0,
            ["a", "--config", str(tmp_path / "config.yaml")],
            prog="mammodet try",
            positional=("paths",),
        )
        == 0
    )
    assert seen == [first]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["a"], "out"),
        (["a", "--out", "x", "--unknown", "3"], "unknown"),
        (["a", "--out", "x", "--inner.lr", "fast"], "inner.lr"),
        (["a", "--out", "x", "--config", "missing.yaml"], "missing.yaml"),
        (["--out", "x"], "paths"),
        (["a", "--out", "nowhere"], "--out: is nowhere"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_code_2(argv, told, capsys):
    assert _run(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("mammodet try: error: ") and error.count("\n") == 1 and told in error


@pytest.mark.parametrize("text", ["outt: there\n", "inner: {lrr: 1}\n", "out: [\n", "inner: 7\n"])
def test_a_bad_recipe_is_one_line_and_exit_code_2(text, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    assert _run(["a", "--out", "x", "--config", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "recipe.yaml" in error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("is bad", file="x.png", remedy="do this"), "x.png: is bad; do this"),
        (OSError(28, "No space left on device", "out/model"), "out/model: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "out"), "out: Permission denied"),
    ],
)
def test_an_error_of_input_or_disk_is_one_line_and_exit_code_2(error, told, capsys):
    def fail(_):
        raise error

    assert _run(["a", "--out", "x"], fail) == 2
    shown = capsys.readouterr().err
    assert told in shown and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--dry-run", "--lesion-size", "3"], (True, 3)),
        (["--dry-run=false", "--lesion-size=3"], (False, 3)),
        (["--dry_run", "false", "--lesion_size", "3"], (False, 3)),
        (["--lesion-size", "3", "--dry-run"], (True, 3)),
        (["--dry-run", "--no-dry-run", "--lesion-size", "3"], (False, 3)),
    ],
)
def test_options_are_typed_with_dashes_and_flags_need_no_value(argv, expected):
    @dataclass(frozen=True)
    class Options:
        """Options.

        Args:
            dry_run: only look.
            lesion_size: in px.
        """

        dry_run: bool = False
        lesion_size: int = 1

    seen = []
    assert run(Options, lambda one: seen.append(one) or 0, argv, prog="mammodet try") == 0
    assert (seen[0].dry_run, seen[0].lesion_size) == expected


def test_a_wrapped_system_error_is_told_by_its_reason(capsys):
    def fail(_):
        raise OSError("With tag (7FE0,0010) got exception: No space left on device\nTraceback (most recent")

    assert _run(["a", "--out", "x"], fail) == 2
    shown = capsys.readouterr().err
    assert "No space left on device" in shown and "Traceback" not in shown and shown.count("\n") == 1


def test_help_shows_dashes(capsys):
    with pytest.raises(SystemExit):
        _run(["--help"])
    shown = capsys.readouterr().out
    assert "--print-config" in shown and "--print_config" not in shown


def test_an_interruption_is_told_as_such(capsys):
    def stop(_):
        raise KeyboardInterrupt

    assert _run(["a", "--out", "x"], stop) == 130


def test_a_mistake_of_ours_is_a_traceback():
    def fail(_):
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError):
        _run(["a", "--out", "x"], fail)


@dataclass(frozen=True)
class Outer:
    """Do something with a command.

    Args:
        out: where to.
        command: its options.
    """

    out: str
    command: Arguments


def test_options_of_another_command_stand_beside_the_own_ones(tmp_path, capsys):
    passed_on = PassedOn("command", Arguments, {"out": "later", "paths": []})
    how = {"prog": "mammodet outer", "passed_on": passed_on}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("inner: {lr: 0.5}\nsizes: [3]\n")
    argv = ["--out", "here", "--config", str(recipe), "--inner.lr", "0.7"]
    seen = []
    assert run(Outer, lambda one: seen.append(one) or 0, argv, **how) == 0
    assert seen == [Outer("here", Arguments([], "later", (3,), Inner(0.7)))]
    assert plain_options(seen[0], passed_on) == {"out": "here", "sizes": [3], "inner": {"lr": 0.7}}
    assert "inner" not in given_options(Outer, ["--out", "here"], **how)
    # What the command sets itself is no option of it.
    assert run(Outer, lambda _: 0, [*argv, "--paths", "[a]"], **how) == 2
    assert "paths" in capsys.readouterr().err


@dataclass(frozen=True)
class Mapped:
    """Take pairs.

    Args:
        names: what is called what.
        out: where to.
    """

    names: dict[str, str | int] = field(default_factory=dict)
    out: str = "there"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--names", "a=1", "b=x y", "--out", "o"], Mapped({"a": "1", "b": "x y"}, "o")),
        (["--names=a=1", "b==", "c="], Mapped({"a": "1", "b": "=", "c": ""})),
        (["--names", "a=1", "a=007"], Mapped({"a": "1,007"})),
        (["--names", '{"a": "1"}', "--out=p=q"], Mapped({"a": "1"}, "p=q")),
        (["--names.a", "x"], Mapped({"a": "x"})),
        ([], Mapped()),
    ],
)
def test_pairs_become_a_mapping(argv, expected, tmp_path):
    seen = []
    assert run(Mapped, lambda one: seen.append(one) or 0, argv, prog="mammodet try") == 0
    assert seen == [expected]
    write_config(expected, tmp_path / "config.yaml")
    again = ["--config", str(tmp_path / "config.yaml")]
    assert run(Mapped, lambda one: seen.append(one) or 0, again, prog="mammodet try") == 0
    assert seen[1] == expected


def test_what_is_no_pair_is_refused(capsys):
    assert run(Mapped, lambda one: 0, ["--names", "a"], prog="mammodet try") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
