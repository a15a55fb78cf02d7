"""Text as tokens: the same characters every time, crops of the beginning, scores on the end."""

import numpy as np
import pytest

from rl.environments import text
from rl.environments.text import ALPHABET, Text, encoded


def decoded(tokens):
    return "".join((ALPHABET + "?")[token] for token in tokens)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "text"
    file.write_text("".join(f"line {i}: äb\tc~\n" for i in range(500)), "utf-8")
    return file


def test_a_character_has_its_place_in_the_alphabet_and_others_share_the_last():
    words = 'def f(x):\n    return {"x": x}  # ~\n'
    assert decoded(encoded(words)) == words
    assert decoded(encoded("ä\t\x7f\U0001f600")) == "????"


def test_crops_come_from_the_beginning_and_scores_from_the_end(path):
    whole = decoded(encoded(path.read_text("utf-8")))
    some = Text(path, batch=3, length=20, held_out=0.25, seed=1)
    n_learned, n_held_out = some.n_characters
    assert (n_learned + n_held_out, n_held_out) == (len(whole), len(whole) // 4)
    for _ in range(50):
        crops = some.take()
        for b in range(3):
            crop = decoded(crops.tokens[:, b]) + decoded(crops.targets[-1:, b])
            assert crop in whole[:n_learned]
            assert decoded(crops.targets[:, b]) == crop[1:]
    held = some.held_out(7)
    assert decoded(held.tokens[:, 0]) == whole[n_learned : n_learned + 20]
    assert decoded(held.targets[:, -1]) == whole[-20:]
    assert held.resets[0].all()
    assert not held.resets[1:].any()


def test_the_naive_crops_are_the_same(path):
    some, uniforms = Text(path, batch=4, length=9, seed=5), text.stream(5, "text")
    whole = encoded(path.read_text("utf-8"))
    for _ in range(5):
        crops = some.take()
        for b, u in enumerate(uniforms.random(4)):
            start = int(u * (some.n_characters[0] - 9))
            np.testing.assert_array_equal(crops.tokens[:, b], whole[start : start + 9])


def test_every_place_can_begin_a_crop(path):
    path.write_text("abcdefghij" * 2, "utf-8")
    some = Text(path, batch=50, length=7, held_out=0.5)
    starts = {decoded(tokens) for tokens in np.concatenate([some.take().tokens for _ in range(20)], axis=1).T}
    assert starts == {"abcdefg", "bcdefgh", "cdefghi"}


def test_the_standard_library_gives_megabytes_and_the_same_ones():
    one, other = text.standard_text(), text.standard_text()
    assert one == other
    assert len(one) > 1_000_000
    assert one.startswith("# Author: ") or "argparse" in one[:5_000]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 5_000}, "path must name a text of more than length = 5000"),
        ({"held_out": 1.0}, "held_out must lie between 0 and 1"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_what_makes_no_text_is_refused(path, options, words):
    with pytest.raises(ValueError, match=words):
        Text(path, **({"batch": 1, "length": 8} | options))
    with pytest.raises(ValueError, match="n_crops must be at least 1"):
        Text(path, batch=1).held_out(0)
