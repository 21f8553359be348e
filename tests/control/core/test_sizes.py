"""Sizes as people read them; the pages' JavaScript writes the same."""

import pytest

from loraforge.core import words
from loraforge.core.sizes import GIB, figure_of, file_size, memory_size


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (912, "912 B"),
        (18_400, "18.4 KB"),
        (162_000_000, "162 MB"),
        (4_850_000_000, "4.8 GB"),
        (2 * 10**16, "20000 TB"),
    ],
)
def test_files_count_in_powers_of_ten(count: int, shown: str) -> None:
    assert file_size(count) == shown


@pytest.mark.parametrize(("count", "shown"), [(GIB // 2, "0.5 GiB"), (512 * GIB, "512 GiB")])
def test_memory_counts_in_powers_of_two(count: int, shown: str) -> None:
    assert memory_size(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5.038, "5.038"), (5.0380004, "5.038"), (12.0, "12"), (1200.0, "1200"), (0.0, "0"),
        (1.2e-5, "1.2e-5"), (3.14159e7, "3.14e7"), (-0.25, "-0.25"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_a_loss_has_four_significant_figures(value: float, shown: str) -> None:
    assert figure_of(value) == shown


def test_a_reason_is_said_in_words_and_an_unknown_one_by_its_id() -> None:
    assert "at a time" in words.reason_said("scheduling:user_cap", {"running": 1, "cap": 1})
    assert words.reason_said("scheduling:user_cap", {}) == "scheduling:user_cap"
    assert words.reason_said("user:gpu_out_of_memory", {}) == "The GPU ran out of memory."
    assert words.reason_said("made:up", {}) == "made:up"
