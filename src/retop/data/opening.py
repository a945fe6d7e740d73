"""From a location to the sets that training and evaluation work on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retop.data.dataset import Dataset, ImageSet, count_splits, fingerprint_of, image_set, limit, merge
from retop.data.grouping import split_by_group
from retop.data.lists import read_split_file
from retop.data.sources import ImageSource
from retop.data.splitting import SIDES, split_by_content
from retop.data.survey import Survey, name_classes, survey_images
from retop.errors import ClassMismatchError, DataError, UsageError
from retop.evaluation.numerals import count, word
from retop.events import Listener, Notice, ignore
from retop.recipe import DataRecipe
from retop.records import DataRecord, problem_of_classes

Sets = dict[str, ImageSet]


def open_dataset(location: str | Path, recipe: DataRecipe, listener: Listener = ignore, decode: bool = True) -> Dataset:
    """List, read, check and split the images of a location.

    Args:
        location: what `open_source` accepts.
        recipe: how to split, what to leave out, and how many training images to use.
        listener: receives progress and notices.
        decode: as in `survey_images`; whatever trains or measures must decode.

    Returns:
        The dataset. The split depends on contents, class names, groups and `recipe` alone.

    Raises:
        DataError: as `open_source`; no image is readable, there is only one class, or a class has too few images.
        ClassMismatchError: train, validation and test do not hold the same classes.
        UsageError: an option does not fit the data.
    """
    return split_survey(survey_images(location, recipe, listener, decode), recipe, listener)


def split_survey(survey: Survey, recipe: DataRecipe, listener: Listener = ignore) -> Dataset:
    """Split what was surveyed.

    Args:
        survey: the images.
        recipe: how.
        listener: receives notices.

    Returns:
        The dataset.

    Raises:
        RetopError: as `open_dataset`.
    """
    table, split_by, folds = survey.readable, survey.split_by, recipe.folds
    if recipe.split_file is not None:
        table, split_by = _take_again(table, recipe.split_file, listener), "file"
        folds = None if table["fold"].null_count else int(pc.max(table["fold"]).as_py()) + 1
    classes = tuple(pc.unique(table["label"]).sort().to_pylist())
    if len(classes) < 2:
        raise DataError(
            f"{survey.source.location} holds only one class, {classes[0]!r}; telling images apart takes at least two "
            f"classes"
        )
    if problem := problem_of_classes(classes):
        raise DataError(f"{survey.source.location} cannot be trained on: {problem}")
    record = DataRecord(
        location=_from_anywhere(survey.source.location),
        fingerprint="",
        classes=classes,
        splits=(),
        split_by=split_by,
        unreadable=survey.unreadable,
        excluded=survey.excluded,
        folds=folds,
        grouped=table["group"].null_count < table.num_rows,
        images_per_class=recipe.images_per_class,
    )
    if folds is not None:
        return _in_folds(survey, table, record, recipe, folds)
    sets = _split(survey.source, table, classes, recipe, listener)
    sets["train"] = limit(sets["train"], recipe.images_per_class)
    record = replace(record, fingerprint=fingerprint_of(sets), splits=count_splits(sets))
    return Dataset(survey, classes, sets["train"], sets["validation"], sets.get("test"), record)


def check_own_split(survey: Survey, recipe: DataRecipe, listener: Listener) -> None:
    """Say what of a recipe does nothing, or cannot be, with images that have a split of their own.

    Args:
        survey: the images.
        recipe: how they would be split, if they had none.
        listener: receives a notice.

    Raises:
        UsageError: they are to be divided into folds.
    """
    if recipe.folds is not None:
        raise _undividable(survey.source)
    if survey.split_by != "retop":
        _tell_unused_split(survey.source, recipe, listener)


def _undividable(source: ImageSource) -> UsageError:
    return UsageError(
        f"{source.location} has a split of its own, so it cannot be divided into folds (--folds); give the images "
        f"without it, for instance the folder train alone"
    )


def _from_anywhere(location: str) -> str:
    """A location that is found again whatever the working folder: a run is reported and exported elsewhere."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def open_evaluation(
    location: str | Path,
    classes: tuple[str, ...],
    listener: Listener = ignore,
    trained_on: str | None = None,
    recipe: DataRecipe | None = None,
) -> ImageSet:
    """The labelled images on which a trained model is evaluated.

    Args:
        location: what `open_source` accepts.
        classes: the model's classes, in its order.
        listener: receives progress and notices, among them what was chosen where the folders do not say it.
        trained_on: fingerprint of the data that the model was trained on; None where it is not known.
        recipe: names of columns, what to leave out, and the split that training may have made; None for the default.

    Returns:
        The test images where folders make a split, else the validation images. Where there are neither: if
        `recipe` splits the images as they were split for training, the test images of that split, else its
        validation images; otherwise all images, under the split ``train`` or, without any split, ``all``.

    Raises:
        DataError: as `open_source`, or no image is readable.
        ClassMismatchError: a class folder is none of the model's classes.
    """
    recipe = recipe or DataRecipe()
    survey = survey_images(location, recipe, listener)
    source, readable = survey.source, survey.readable
    if recipe.split_file is not None:
        readable = _take_again(readable, recipe.split_file, listener)
    found = [split for split in pc.unique(readable["split"]).to_pylist() if split]
    split = next((name for name in ("test", "validation") if name in found), None)
    chosen = readable if split is None else readable.filter(pc.equal(readable["split"], split))
    unknown = sorted(set(pc.unique(chosen["label"]).to_pylist()) - set(classes))
    if unknown:
        raise ClassMismatchError(
            f"{source.location} holds {name_classes(unknown)}, which the model does not know; "
            f"its classes are {', '.join(classes)}. Rename or remove the folders"
        )
    if split is not None:
        return image_set(source, split, chosen, classes)
    held_out = _held_out(source, readable, classes, trained_on, recipe, listener)
    return held_out or _unsplit(source, readable, classes, listener)


def _held_out(
    source: ImageSource,
    table: pa.Table,
    classes: tuple[str, ...],
    trained_on: str | None,
    recipe: DataRecipe,
    listener: Listener,
) -> ImageSet | None:
    """What training did not learn from, where the split of these images is the one of training."""
    try:
        sets = _split(source, table, classes, recipe, ignore)
    except DataError:
        return None
    if fingerprint_of(sets) != trained_on:
        return None
    images = sets.get("test") or sets["validation"]
    listener(
        Notice(
            "note",
            f"{source.location} is what the model was trained on: only the images of that split's {images.split} set "
            f"({len(images):,}) are evaluated, not those it learned from ({len(sets['train']):,})",
        )
    )
    return images


def _unsplit(source: ImageSource, table: pa.Table, classes: tuple[str, ...], listener: Listener) -> ImageSet:
    found = set(pc.unique(table["split"]).to_pylist())
    images = image_set(source, "all" if found == {None} else "train", table, classes)
    listener(
        Notice(
            "warning",
            f"{source.location} has no test/ and no validation/, so all its {len(images):,} images are evaluated; the "
            f"model may have been trained on some of them, and then the numbers are too good. Put images that it has "
            f"not seen into test/",
        )
    )
    return images


def _split(
    source: ImageSource, table: pa.Table, classes: tuple[str, ...], recipe: DataRecipe, listener: Listener
) -> Sets:
    found = set(pc.unique(table["split"]).to_pylist())
    if found == {None}:
        return _split_by_us(image_set(source, "train", table, classes), recipe.split, recipe.split_seed)
    _refuse_partly_split(source, table)
    sets = {
        name: image_set(source, name, table.filter(pc.equal(table["split"], name)), classes)
        for name in SIDES
        if name in found
    }
    _refuse_empty_splits(source, sets)
    _refuse_different_classes(source, sets)
    if "validation" in sets:
        _tell_unused_split(source, recipe, listener)
        return sets
    train, validation, _ = recipe.split
    shares = (train / (train + validation), validation / (train + validation), 0.0)
    listener(
        Notice(
            "note",
            f"{source.location} has no validation images: {shares[1]:.0%} of the training images are set aside for "
            f"validation (--split, DataRecipe.split)",
        )
    )
    divided = _split_by_us(sets["train"], shares, recipe.split_seed)
    return {**divided, **({"test": sets["test"]} if "test" in sets else {})}


def _tell_unused_split(source: ImageSource, recipe: DataRecipe, listener: Listener) -> None:
    default = DataRecipe()
    unused = [name for name in ("split", "split_seed") if getattr(recipe, name) != getattr(default, name)]
    if unused:
        names = " and ".join(f"data.{name}" for name in unused)
        listener(
            Notice(
                # A recipe of ours may say it as well as the user: not worth a warning.
                "note",
                f"{names} {'does' if len(unused) == 1 else 'do'} nothing: {source.location} says itself which images "
                f"are for validation. To have retop divide them, give them without a split",
            )
        )


def _split_by_us(images: ImageSet, fractions: tuple[float, float, float], seed: int) -> Sets:
    sides = _divide(images, fractions, seed, SIDES)
    return {
        name: replace(images.take(np.flatnonzero(sides == side)), split=name)
        for side, name in enumerate(SIDES)
        if fractions[side] > 0
    }


def _divide(images: ImageSet, fractions: tuple[float, ...], seed: int, sides: tuple[str, ...]) -> np.ndarray:
    if images.groups.null_count == len(images):
        return split_by_content(images.labels_n, images.contents, images.classes, fractions, seed, sides)
    return split_by_group(images.labels_n, images.contents, images.groups, images.classes, fractions, seed, sides)


def _in_folds(survey: Survey, table: pa.Table, record: DataRecord, recipe: DataRecipe, folds: int) -> Dataset:
    source, classes = survey.source, record.classes
    if "fold" in table.column_names:
        parts = [image_set(source, "test", table.filter(pc.equal(table["fold"], f)), classes) for f in range(folds)]
        _refuse_different_classes(source, {f"fold {f}": images for f, images in enumerate(parts)})
    else:
        if survey.split_by != "retop" or pc.unique(table["split"]).to_pylist() != [None]:
            raise _undividable(source)
        everything = image_set(source, "test", table, classes)
        names = tuple(f"fold {f}" for f in range(folds))
        sides = _divide(everything, (1 / folds,) * folds, recipe.split_seed, names)
        parts = [everything.take(np.flatnonzero(sides == f)) for f in range(folds)]
    whole = {f"fold {f}": images for f, images in enumerate(parts)}
    dataset = Dataset(survey, classes, merge(parts[2:]), parts[1], parts[0], record, tuple(parts))
    first = dataset.in_fold(0)
    return replace(first, record=replace(first.record, fingerprint=fingerprint_of(whole), fold=None))


def _take_again(table: pa.Table, file: str, listener: Listener) -> pa.Table:
    """The images of a split file, with the split or the fold that it says."""
    said = read_split_file(file)
    if said["split"].null_count == said["fold"].null_count == said.num_rows:
        raise UsageError(
            f"--split-file {file} says no split and no fold; give it a column split (train, validation, test)"
        )
    if said["split"].null_count not in (0, said.num_rows) or said["fold"].null_count not in (0, said.num_rows):
        raise UsageError(f"--split-file {file}: some images have a split or a fold and some have none; fill them in")
    if said["split"].null_count == said["fold"].null_count == 0:
        raise UsageError(f"--split-file {file} says a split and a fold of each image; leave one of the columns out")
    said = said.select(["path", "split", "fold"]).append_column("known", [pa.array(said["content"].to_pylist())])
    asked = table.drop_columns(["split"])
    joined = asked.join(said, "path", join_type="inner")
    if joined.num_rows == 0:
        joined = asked.join(_named_as_now(said, table), "path", join_type="inner")
    if joined.num_rows == 0:
        raise UsageError(
            f"--split-file {file} names no image of the data: it says {said['path'][0].as_py()!r}, and images here are "
            f"named like {table['path'][0].as_py()!r}"
        )
    lost_folds = set(said["fold"].to_pylist()) - set(joined["fold"].to_pylist())
    if lost_folds:
        raise UsageError(f"--split-file {file}: no image of fold {min(lost_folds)} is in the data, or can be read")
    now = [content.as_py().hex() for content in joined["content"]]
    changed = sum(bool(then) and then != here for then, here in zip(joined["known"].to_pylist(), now, strict=True))
    unnamed, lost = table.num_rows - joined.num_rows, said.num_rows - joined.num_rows
    for number, what in (
        (unnamed, f"not in the split file {file} and left out"),
        (lost, f"named by the split file {file}, but not there, or cannot be read"),
        (changed, f"not what they were when the split file {file} was written: their content is another"),
    ):
        if number:
            listener(Notice("warning", f"{count(number, 'image is', 'images are')} {what}"))
    return joined.drop_columns(["known"])


def _named_as_now(said: pa.Table, table: pa.Table) -> pa.Table:
    """A split file whose images lie in an archive that had another name: what stands inside of it counts."""
    inside = {path.rpartition("::")[2]: path for path in table["path"].to_pylist()}
    if len(inside) < table.num_rows:
        return said
    paths = [inside.get(path.rpartition("::")[2], path) for path in said["path"].to_pylist()]
    return said.set_column(said.schema.get_field_index("path"), "path", pa.array(paths, pa.string()))


def _refuse_partly_split(source: ImageSource, table: pa.Table) -> None:
    lacking = table["split"].null_count
    if lacking:
        raise DataError(
            f"{source.location}: {lacking:,} of {table.num_rows:,} images {word(lacking, 'has', 'have')} no split, the "
            f"others have one; fill in the column, or leave it out (--columns split=NAME)"
        )


def _refuse_empty_splits(source: ImageSource, sets: Sets) -> None:
    if "train" not in sets:
        raise DataError(f"{source.location} has no readable image in train/; put the training images there")


def _refuse_different_classes(source: ImageSource, sets: Sets) -> None:
    held = {name: {images.classes[k] for k in np.unique(images.labels_n)} for name, images in sets.items()}
    everything = set().union(*held.values())
    differences = [
        f"{name}/ lacks {name_classes(sorted(everything - names))}"
        for name, names in held.items()
        if everything - names
    ]
    if differences:
        raise ClassMismatchError(
            f"{source.location}: the folders do not hold the same classes: {'; '.join(differences)}. "
            f"Add the missing images, or rename or remove the folders that differ"
        )
