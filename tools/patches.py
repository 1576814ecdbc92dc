"""Cut patches out of a COCO file's images: ``mammodet patches coco.json --out store.sqlite --kind pesapane``.

store.sqlite is a patch store (docs/patches.md); store.yaml holds the options, store.rejected.csv the images
that cannot be read. A run that was killed goes on where it was when it is started again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mammodet.datasets.coco import read_coco
from mammodet.datasets.errors import InputError
from mammodet.datasets.patch_curation import apply_curation
from mammodet.datasets.patch_extraction import Extracted, Extraction, extract_patches, mapped_target
from mammodet.datasets.patch_sampling import SamplingRule, published_rule
from mammodet.datasets.patch_sheet import write_sheets
from mammodet.datasets.patch_store import PatchStore
from mammodet.datasets.patch_writer import PatchWriter
from mammodet.datasets.prepared import prepared_recipe, require_recipe
from mammodet.datasets.standardise import Recipe
from mammodet.tools.command import BAD_INPUT, run, write_config
from mammodet.tools.score_tables import write_csv

WHOLE = Recipe(crop=False)  # windows are shifted inwards at the border of the image, not of a crop


@dataclass(frozen=True)
class Arguments:
    """Cut patches out of a COCO file's images, into a store from which classifiers draw balanced batches.

    Parameters
    ----------
    coco:
        COCO file of the images. Give one part of a split after the other to the same store.
    out:
        SQLite file of the store: a new one, or one of an earlier run, to which images are added.
    kind:
        Whose rule to follow: pesapane (112 px around calcifications, negatives from the same images) or
        mracko (674 px on clusters, negatives from healthy tissue, masses and macrocalcifications).
    split:
        Split of all images; by default the one that the COCO file gives each image.
    size:
        Side of a patch in pixels; by default 112 or 674.
    findings:
        Findings of the lesions that become benign or malignant patches; by default [calcification].
    all_findings:
        Take lesions of every finding, also unknown ones.
    min_mean:
        Least mean of the pixels, 0 to 1, of a random negative; by default 0.2 or 0.
    min_breast:
        Least share of breast, 0 to 1, in a random negative; by default 0 or 0.7.
    negatives:
        Random negatives per patch of a lesion in the same image; by default 1.
    normal_negatives:
        Random negatives of an image without lesions; by default 0 or 1.
    turns:
        Add copies turned by 90, 180 and 270 degrees, in split train and where there is no split.
    seed:
        Another seed gives other random places.
    storage:
        stored keeps the pixels of the patches in the store; referenced keeps whole images beside it, for
        large or overlapping patches.
    depth:
        Bits of a stored pixel, 16 or 8.
    curation:
        List whose marks are set in the store: ambiguous patches are drawn no more.
    review:
        Folder to write contact sheets and a list to mark ambiguous patches to.
    workers:
        Number of processes; by default one per core.
    progress:
        Whether to show a progress bar.
    recipe:
        How mammograms become pixels; by default the whole image at full resolution. Prepared images have
        theirs.
    """

    coco: Path
    out: Path
    kind: Literal["pesapane", "mracko"]
    split: str | None = None
    size: int | None = None
    findings: tuple[str, ...] | None = None
    all_findings: bool = False
    min_mean: float | None = None
    min_breast: float | None = None
    negatives: float | None = None
    normal_negatives: int | None = None
    turns: bool = False
    seed: int = 0
    storage: Literal["stored", "referenced"] = "stored"
    depth: Literal[8, 16] = 16
    curation: Path | None = None
    review: Path | None = None
    workers: int | None = None
    progress: bool = True
    recipe: Recipe = field(default_factory=lambda: WHOLE)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError("must be 1 or more", field="--workers", value=self.workers)
        if self.all_findings and self.findings is not None:
            raise InputError("excludes --findings", field="--all-findings", remedy="give one of them")
        if self.storage == "referenced" and self.depth != 16:
            remedy = "leave --depth out"
            raise InputError("references are to 16 bits", field="--depth", value=self.depth, remedy=remedy)

    def rule(self) -> SamplingRule:
        """Return the published rule with the options that change it."""
        names = ("size", "findings", "min_mean", "min_breast", "negatives", "normal_negatives", "seed")
        rule = published_rule(self.kind, **{name: getattr(self, name) for name in names})
        return SamplingRule(**{**asdict(rule), "findings": None}) if self.all_findings else rule


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 when the store holds no patch."""
    return run(Arguments, patches, argv, prog="mammodet patches", positional=("coco",))


def patches(arguments: Arguments) -> int:
    """Cut the patches, set the marks of a list, write contact sheets, and tell what is in the store."""
    coco, out, rule = read_coco(arguments.coco), arguments.out, arguments.rule()
    recipe = prepared_recipe(coco) or arguments.recipe
    if arguments.recipe != WHOLE:
        require_recipe(coco, arguments.recipe)
    settings: dict[str, Any] = {
        **asdict(rule),
        "recipe": recipe.to_dict(),
        "storage": arguments.storage,
        "depth": arguments.depth,
        "turns": arguments.turns,
    }
    extraction = Extraction(rule, recipe, arguments.depth, mapped_target(out, arguments.storage))
    with PatchWriter(out, settings, ("train", "") if arguments.turns else ()) as writer:
        done = extract_patches(
            writer,
            coco,
            extraction,
            split=arguments.split,
            workers=arguments.workers,
            progress=arguments.progress,
        )
        store = PatchStore(out)
        lines = _told(done, store, writer, rule)
        if arguments.curation is not None:
            curated = apply_curation(arguments.curation, store, writer)
            lines.append(
                f"{curated.rows} rows of {arguments.curation}; {curated.ambiguous} patches are ambiguous"
            )
        counts = store.counts()
        if counts and arguments.review is not None:
            pages = write_sheets(store, arguments.review)
            lines.append(f"{len(pages)} contact sheets: {pages[0]}")
        store.close()
    rejected = [
        {"image_id": image["id"], "file": image["file_name"], "reason": reason}
        for image, reason in done.rejected
    ]
    write_csv(out.with_suffix(".rejected.csv"), ["image_id", "file", "reason"], rejected)
    write_config(arguments, out.with_suffix(".yaml"))
    if not counts:
        return _nothing(arguments, done, lines)
    print("\n".join([*lines, _table(counts), str(out)]))
    return 0


def _told(done: Extracted, store: PatchStore, writer: PatchWriter, rule: SamplingRule) -> list[str]:
    lines = [
        f"{done.images} images read, {done.kept} there already; "
        f"{done.patches} windows of {rule.size} px added"
    ]
    if done.rejected:
        lines.append(
            f"{len(done.rejected)} images could not be read: {store.path.with_suffix('.rejected.csv')}"
        )
    lines += [f"left out: {count} {reason}" for reason, count in sorted(writer.left_out().items())]
    return lines + [f"note: {count}: {note}" for note, count in sorted(done.notes.items())]


def _nothing(arguments: Arguments, done: Extracted, lines: Sequence[str]) -> int:
    reason = done.rejected[0][1] if done.rejected else "; ".join(lines[1:]) or "there are no images"
    line = f"{arguments.coco}: gave no patch: {reason}"
    print(f"mammodet patches: error: {line}", file=sys.stderr)
    return BAD_INPUT


def _table(counts: dict[tuple[str, str], int]) -> str:
    """Return the patches that can be drawn, by split and class, as aligned columns."""
    labels = sorted({label for _, label in counts})
    rows = [["split", *labels]]
    for split in sorted({name for name, _ in counts}):
        rows.append([split or "-", *(str(counts.get((split, label), 0)) for label in labels)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


if __name__ == "__main__":
    raise SystemExit(main())
