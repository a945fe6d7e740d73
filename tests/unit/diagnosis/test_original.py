"""The reconstruction of the original experiment: each cause is suspected, with the test that would isolate it."""

from pathlib import Path

import pytest

from retop.report.findings import diagnose_history

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "original"


@pytest.mark.parametrize(
    ("network", "codes"),
    [
        ("vgg16", {"R08", "R21"}),
        ("inception_v3", {"R16", "R05", "R21"}),
        ("xception", {"R16", "R05", "R21"}),
        ("resnet50", {"R10", "R07", "R21"}),
    ],
)
def test_what_its_published_figures_support(network: str, codes: set[str]) -> None:
    found = diagnose_history(FOLDER / f"{network}.csv", 2000, 500, 2, [FOLDER / f"{network}-test.csv"])
    assert {finding.code for finding in found} == codes
    for finding in found:
        if finding.severity != "note":
            assert finding.suspected
            assert finding.isolating_test


def test_without_the_number_of_images_nothing_is_told_from_noise() -> None:
    (found,) = diagnose_history(FOLDER / "inception_v3.csv", 0, 0, 2)
    assert (found.code, found.severity, found.evidence) == ("R26", "note", {"unknown": ["validation images"]})
