"""The rules of the audit: code, name, how grave, why it matters."""

from dataclasses import dataclass
from typing import Any, Literal

from retop.records import Finding


@dataclass(frozen=True)
class Rule:
    """One rule."""

    code: str
    name: str
    severity: Literal["error", "warning", "note"]
    why: str
    before_runs: Literal["warning", "note"] | None
    """How it is said before a run; None where the listing has said it already, or it can wait for ``retop check``."""

    def finding(
        self,
        seen: str,
        fix: str,
        evidence: dict[str, Any],
        *,
        suspected: bool = False,
        isolating_test: str | None = None,
        references: tuple[str, ...] = (),
    ) -> Finding:
        """A finding of this rule."""
        return Finding(
            self.code, self.name, self.severity, seen, self.why, fix, evidence, suspected, isolating_test, references
        )


UNREADABLE = Rule(
    "D01",
    "unreadable files",
    "warning",
    "They are left out. If they are many, or of one class, what is left is another data set.",
    None,
)
LYING_NAME = Rule(
    "D02",
    "names that lie about the format",
    "note",
    "retop reads them by content. Other programs may read them differently, or not at all.",
    None,
)
LABEL_CONFLICT = Rule(
    "D03",
    "one image in several classes",
    "warning",
    "At least one of the labels is wrong, or the classes overlap. Training is told contradictory things, and no model "
    "can be right on all of them.",
    "warning",
)
LEAK = Rule(
    "D04",
    "copies across splits",
    "error",
    "A model that has seen the image, or was chosen by it, need only remember it: the accuracy on it says nothing of "
    "new images.",
    "warning",
)
COPIES = Rule(
    "D05",
    "copies within a class",
    "note",
    "They weigh as much as so many images but carry the information of one. retop keeps them on one side of its split.",
    None,
)
NEAR_LEAK = Rule(
    "D06",
    "near copies across splits",
    "warning",
    "Re-encoded, resized or mirrored copies leak like exact ones: the accuracy on them says little of new images.",
    "warning",
)
NEAR_CONFLICT = Rule(
    "D07",
    "near copies in several classes",
    "warning",
    "If they show the same thing, at least one label is wrong.",
    None,
)
MISSING_CLASS = Rule(
    "D08",
    "a class is missing from a split",
    "error",
    "A class that is not learned cannot be recognised; one that is not tested is not measured.",
    "warning",
)
FEW_IMAGES = Rule(
    "D09",
    "few images of a class",
    "warning",
    "With fewer than 10 images, what is learned of a class, and what is measured of it, is mostly chance.",
    "note",
)
IMBALANCE = Rule(
    "D10",
    "badly imbalanced classes",
    "warning",
    "Accuracy is then mostly that of the large classes; a model may ignore the small ones and still look good.",
    "note",
)
ALIKE_NAMES = Rule(
    "D11",
    "class names that differ in case, spaces or signs only",
    "warning",
    "They are probably one class, and are learned as several.",
    "warning",
)
EMPTY_FOLDERS = Rule(
    "D12",
    "empty folders",
    "note",
    "A class without images does not exist for the model.",
    None,
)
GIVE_AWAY = Rule(
    "D13",
    "a property of the files gives the label away",
    "warning",
    "A network can learn the property instead of what is shown. It then looks good here and fails where the property "
    "means nothing.",
    "warning",
)
SMALL_IMAGES = Rule(
    "D14",
    "very small images",
    "note",
    "Networks see them enlarged; below 32 pixels little can be recognised.",
    None,
)
GROUP_LEAK = Rule(
    "D15",
    "groups across splits",
    "error",
    "Images of one group resemble each other more than new ones will, so the accuracy on them flatters.",
    "warning",
)
LEFT_OUT = Rule(
    "D16",
    "files and folders that are ignored",
    "note",
    "What is ignored by mistake is not learned from.",
    None,
)
ALIKE_EMBEDDINGS = Rule(
    "D17",
    "images across splits with nearly equal embeddings",
    "warning",
    "They may be copies that a crop, an overlay or a new exposure hides from the hash.",
    None,
)
CROWDED = Rule(
    "D18",
    "near copies that may be missed",
    "note",
    "Among very many pictures that look alike, not every pair is compared: that none is found says less of them.",
    None,
)

RULES = (
    UNREADABLE,
    LYING_NAME,
    LABEL_CONFLICT,
    LEAK,
    COPIES,
    NEAR_LEAK,
    NEAR_CONFLICT,
    MISSING_CLASS,
    FEW_IMAGES,
    IMBALANCE,
    ALIKE_NAMES,
    EMPTY_FOLDERS,
    GIVE_AWAY,
    SMALL_IMAGES,
    GROUP_LEAK,
    LEFT_OUT,
    ALIKE_EMBEDDINGS,
    CROWDED,
)
"""All rules, by code."""
