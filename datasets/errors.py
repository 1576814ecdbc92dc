"""The one error for bad input: what a user did or has, not what the code did."""

from __future__ import annotations

from os import PathLike


class InputError(ValueError):
    """Bad input, told in one line that names file, field, value and remedy.

    Tools print the line and exit with 2; a traceback is a bug of ours.

    Parameters
    ----------
    problem:
        What is wrong, as a clause: "no such folder", "box has zero width".
    file:
        The file or folder that it was read from.
    field:
        The field, tag, column or option, such as ``annotations[12].bbox`` or ``(0028,1051) Window Width``.
    value:
        The offending value; printed with ``repr`` and shortened.
    remedy:
        What the user can do about it, as a sentence without the final stop.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | PathLike[str] | None = None,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.field = field
        self.value = value
        self.remedy = remedy
        super().__init__(self._line())

    def _line(self) -> str:
        where = ": ".join(part for part in (self.file, self.field) if part)
        line = f"{where}: {self.problem}" if where else self.problem
        if self.value is not None:
            shown = repr(self.value)
            line += f" (found {shown if len(shown) <= 80 else shown[:77] + '...'})"
        if self.remedy:
            line += f"; {self.remedy}"
        return " ".join(line.split())
