"""audit.json: what the audit found in the data of a comparison."""

import unicodedata
from dataclasses import dataclass

from retop.records.finding import Finding

AUDIT_VERSION = 1


@dataclass(frozen=True)
class AuditRecord:
    """audit.json, written before training starts."""

    location: str
    """Path or address of the data, as it was given."""

    images: int
    """Images that can be read, excluded ones aside."""

    classes: tuple[str, ...]
    """Class names, sorted."""

    findings: tuple[Finding, ...]
    """What was found, the gravest first."""

    checked: tuple[str, ...]
    """Codes of all rules that were applied: those that are not among the findings found nothing."""

    version: int = AUDIT_VERSION
    """Version of this record."""


def leaked_test_images(record: AuditRecord) -> frozenset[str]:
    """Test images of which there are copies, exact or near, in train or validation.

    Args:
        record: of the audit.

    Returns:
        Their paths: what the findings name under ``test`` in their evidence.
    """
    return frozenset(path for finding in record.findings for path in finding.evidence.get("test", ()))


def captions(finding: Finding) -> list[list[str]]:
    """The files of a finding in their groups, each with its class where its name does not tell it.

    Args:
        finding: of the audit.
    """
    groups: list[list[str]] = finding.evidence.get("files", [])
    labels: list[list[str]] = finding.evidence.get("labels", [[""] * len(group) for group in groups])
    return [
        [path if not label or _tells(path, label) else f"{path} ({label})" for path, label in zip(*one, strict=True)]
        for one in zip(groups, labels, strict=True)
    ]


def _tells(path: str, label: str) -> bool:
    # A system may spell the letters of a folder in another way than the class has them.
    return f"/{label}/" in unicodedata.normalize("NFC", f"/{path.replace('::', '/')}")
