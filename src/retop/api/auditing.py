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
    survey = survey_images(data, recipe, listener)
    record = audit_survey(survey, recipe, embeddings)
    if write_exclusions is not None:
        write_exclusion_list(Path(write_exclusions), exclusions(record))
    if page is not None:
        write_page(Path(page), record, survey.source)
    return record
