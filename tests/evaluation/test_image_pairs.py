"""Every pair of one image, once, whatever the size of the chunks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammodet.evaluation.image_pairs import pairs_of_one_image

places = st.lists(st.integers(0, 4), max_size=12)


@pytest.mark.parametrize("at_once", [1, 3, 500])
@given(places, places)
def test_every_pair_of_one_image_comes_once(at_once, predictions, lesions):
    found = [
        pair
        for parts in pairs_of_one_image(np.array(predictions, np.intp), np.array(lesions, np.intp), at_once)
        for pair in zip(*(part.tolist() for part in parts), strict=True)
    ]
    expected = {
        (one, other)
        for one, image in enumerate(predictions)
        for other, place in enumerate(lesions)
        if image == place
    }
    assert len(found) == len(expected) and set(found) == expected
