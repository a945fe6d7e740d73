"""`check`: what is wrong or odd with a set of images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retop.api.arguments import settings_as_yaml
from retop.api.notices import warn
from retop.data.audit import audit_survey, exclusions
from retop.data.audit.page import write_page
from retop.data.lists import write_exclusions as write_exclusion_list
from retop.data.survey import survey_images
from retop.errors import UsageError
from retop.events import Listener
from retop.recipe import apply_settings, load_recipe
from retop.records import AuditRecord


def check(
    data: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    embeddings: tuple[Sequence[str], npt.NDArray[np.float32]] | None = None,
    page: str | Path | None = None,
    write_exclusions: str | Path | None = None,
    listener: Listener = warn,
) -> AuditRecord:
    """Audit a set of labelled images: what is wrong or odd with it, and what to do. Nothing of it is changed.

    Args:
        data: as in `compare`.
        settings: changes to the recipe's section ``data``, such as ``{"data.exclude": "list.csv"}``.
        embeddings: paths, and the vectors [N, F] of a network for them, to find copies that look different.
        page: a file for the same as one page with pictures; it must not exist.
        write_exclusions: a file for the list of images that ``--exclude`` would leave out; it must not exist.
        listener: receives progress and notices; without one, warnings come as Python warnings.

    Returns:
        The findings, the gravest first.

    Raises:
        DataError: the images cannot be listed, or none can be read.
        UsageError: an option does not fit the data, or a file exists already.
    """
    recipe = apply_settings(load_recipe("default"), settings_as_yaml(settings)).data
    _refuse_targets({"page": page, "write-exclusions": write_exclusions})
    survey = survey_images(data, recipe, listener)
    record = audit_survey(survey, recipe, embeddings, listener)
    if write_exclusions is not None:
        write_exclusion_list(Path(write_exclusions), exclusions(record.findings))
    if page is not None:
        write_page(Path(page), record, survey.source)
    return record


def _refuse_targets(targets: Mapping[str, str | Path | None]) -> None:
    """An audit takes minutes: what it cannot write is said before it begins, and then nothing is written."""
    named = {option: Path(target) for option, target in targets.items() if target is not None}
    for option, target in named.items():
        if target.exists() or target.is_symlink():
            raise UsageError(f"{target} exists already; choose another name with --{option}")
        if not target.parent.is_dir():
            raise UsageError(f"{target} cannot be written: there is no folder {target.parent} (--{option})")
    if len({target.resolve() for target in named.values()}) < len(named):
        raise UsageError(f"{target} is given twice; --page and --write-exclusions need different files")
