"""Spatial pyramid pooling: one length for every size, torch's own bins, and the same after export."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mammodet.classification.spp import SpatialPyramidPooling
from mammodet.datasets.errors import InputError

sides = st.integers(1, 40)
some_levels = st.lists(st.integers(1, 7), min_size=1, max_size=4, unique=True)


@given(sides, sides, some_levels)
@settings(max_examples=100, deadline=None)
def test_the_output_is_as_long_for_every_size(height, width, levels):
    pool = SpatialPyramidPooling(levels)
    assert pool(torch.zeros(2, 3, height, width)).shape == (2, 3 * sum(level**2 for level in levels))


@given(sides, sides, some_levels, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_every_bin_holds_the_maximum_of_the_cells_it_overlaps(height, width, levels, seed):
    maps = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(seed))
    expected = []
    for level in levels:  # bins as rectangles of whole cells, in exact fractions
        for channel in maps[0]:
            for row in range(level):
                for column in range(level):
                    inside = [
                        channel[y, x].item()
                        for y in range(height)
                        for x in range(width)
                        if y < (row + 1) * height / level
                        and y + 1 > row * height / level
                        and x < (column + 1) * width / level
                        and x + 1 > column * width / level
                    ]
                    expected.append(max(inside))
    assert SpatialPyramidPooling(levels)(maps)[0].tolist() == expected


def test_a_single_cell_is_shown_by_all_bins():
    assert SpatialPyramidPooling()(torch.full((1, 1, 1, 1), 7.0)).tolist() == [[7.0] * 21]


def test_it_can_be_exported_for_any_size_with_plain_operations():
    pool = SpatialPyramidPooling((1, 2, 4))
    sizes = {"maps": {2: torch.export.Dim("H", min=2, max=512), 3: torch.export.Dim("W", min=2, max=512)}}
    exported = torch.export.export(pool, (torch.zeros(2, 3, 13, 17),), dynamic_shapes=sizes)
    assert not any("adaptive" in str(node.target) for node in exported.graph.nodes)
    for height, width in ((2, 2), (3, 50), (29, 11), (104, 44)):
        maps = torch.randn(2, 3, height, width)
        assert torch.equal(exported.module()(maps), pool(maps))
        assert torch.equal(
            pool(maps),
            torch.cat([functional.adaptive_max_pool2d(maps, one).flatten(1) for one in (1, 2, 4)], dim=1),
        )


@pytest.mark.parametrize("levels", [(), (0,), (2, 2), (1.5,), (True,), ("4",)])
def test_levels_that_are_none_are_named(levels):
    with pytest.raises(InputError, match=r"model\.levels.*\[1, 2, 4\]"):
        SpatialPyramidPooling(levels)
