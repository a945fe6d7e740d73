"""Class folders, split or not: the one set of rules for folders, archives and remote places."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retop.data.sources.names import SPLIT_NAMES, class_name, extension_of, is_other_file, is_tool_name, tool_kind
from retop.data.sources.source import Leftovers, Listing, Rows, few
from retop.errors import DataError
from retop.evaluation.numerals import count, word
from retop.events import Listener, Notice


@dataclass(frozen=True)
class Member:
    """One file of an archive or a remote place."""

    path: str
    """Its name there, ``/`` between the parts."""

    size_bytes: int
    """Its size."""

    modified_ns: int
    """As in `Listing`."""


def arrange(
    location: str,
    members: Iterable[Member],
    folders: Iterable[str],
    prefix: str,
    listener: Listener,
    closed: Iterable[str] = (),
) -> Listing:
    """Find splits and classes in a flat list of files.

    A single folder around everything is looked through.

    Args:
        location: as the user gave it.
        members: the files.
        folders: folders that are named, with or without files in them.
        prefix: what stands before each member's path in the listing, such as ``photos.zip::``.
        listener: receives notices.
        closed: folders that are there and cannot be listed.

    Returns:
        The listing.

    Raises:
        DataError: there are no class folders, two folders of one split, or no image.
    """
    leftovers, rows = Leftovers(), Rows(listener, at_once=True)
    for folder in closed:
        leftovers.closed_folders.add(folder)
    kept = [member for member in members if _is_ours(member.path, leftovers)]
    holders = _folders_of(kept) | {folder.strip("/") for folder in folders if _is_ours(folder.strip("/"), leftovers)}
    root = _single_root(kept, holders)
    tops = sorted({folder.removeprefix(root).partition("/")[0] for folder in holders if _below(folder, root)})
    within = {folder.removeprefix(root).rpartition("/")[0] for folder in holders if _below(folder, root)}
    files = [member.path for member in kept if "/" not in member.path.removeprefix(root)]
    refuse_missing_classes(location, tops, files, leftovers)
    splits = find_splits(location, tops, within.__contains__)
    named = {folder: split for split, folder in splits}
    leftovers.beside = tuple(top for top in tops if splits and top not in named)
    for member in kept:
        _take(member, root, named, prefix, leftovers, rows)
    _note_empty(holders, kept, leftovers)
    return finish(location, rows, leftovers, splits, listener)


def find_splits(
    location: str, folders: Sequence[str], has_folders: Callable[[str], bool]
) -> tuple[tuple[str, str], ...]:
    """Tell split folders from classes.

    Args:
        location: as the user gave it.
        folders: names of the topmost folders.
        has_folders: whether one of them holds folders.

    Returns:
        Split and folder for each split; nothing where the folders are classes.

    Raises:
        DataError: a split has two folders, or splits hold images outside class folders.
    """
    found: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for folder in folders:
        if folder.casefold() in SPLIT_NAMES:
            found[SPLIT_NAMES[folder.casefold()]].append(folder)
    split_folders = [folder for group in found.values() for folder in group]
    holders = [folder for folder in split_folders if has_folders(folder)]
    # "train" may be a class too, beside "bus" and "car"; a split is told by the class folders inside it.
    only_splits = len(split_folders) == len(folders)
    if not any(folder in holders for folder in found["train"]) and not (only_splits and holders):
        _refuse_flat_splits(location, split_folders if only_splits else [])
        return ()
    for split, group in found.items():
        if len(group) > 1:
            raise DataError(
                f"{location} has {len(group)} {split} folders, {' and '.join(group)}; keep one, or rename the others"
            )
    return tuple((split, group[0]) for split, group in found.items() if group)


def refuse_missing_classes(location: str, folders: Sequence[str], files: Sequence[str], leftovers: Leftovers) -> None:
    """Refuse a place without any folder.

    Raises:
        DataError: there is none.
    """
    if folders:
        return
    if leftovers.leading_out.count:
        raise DataError(f"{location} holds no class folders: {_lead_out(leftovers)}")
    if files:
        # A table points to files of this machine alone.
        first = "" if Path(location).is_dir() else "lay them unpacked on this machine and "
        raise DataError(
            f"{location} holds {count(len(files), 'file')} ({few(files)}) but no class folders; put the images of each "
            f"class into a folder with the class's name, or {first}give a table with the columns path and label"
        )
    if leftovers.tool_names:
        names = few(list(leftovers.tool_names))
        raise DataError(
            f"{location} holds no class folders, only what is hidden or belongs to tools ({names}); rename it if it "
            f"holds the images"
        )
    raise DataError(f"{location} is empty: it should hold one folder per class, or train/ and validation/ with those")


def finish(
    location: str, rows: Rows, leftovers: Leftovers, splits: Sequence[tuple[str, str]], listener: Listener
) -> Listing:
    """Report what was left out and hand the listing over.

    Raises:
        DataError: there is no image.
    """
    report(location, leftovers, listener)
    if not len(rows):
        raise DataError(_no_images(location, leftovers))
    has_validation = any(split == "validation" for split, _ in splits)
    return Listing(rows.table(), "folders" if has_validation else "retop", leftovers)


def report(location: str, leftovers: Leftovers, listener: Listener) -> None:
    """Say what was left out."""
    if leftovers.by_kind:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in leftovers.by_kind.most_common(6))
        files = count(leftovers.by_kind.total(), "file is no image", "files are no images")
        ignored = word(leftovers.by_kind.total(), "is", "are")
        listener(Notice("note", f"{files} by name or kind and {ignored} ignored: {kinds}"))
    if leftovers.outside_classes.count:
        listener(
            Notice(
                "warning",
                f"{count(leftovers.outside_classes.count, 'file lies', 'files lie')} outside class folders and "
                f"{word(leftovers.outside_classes.count, 'is', 'are')} ignored: "
                f"{leftovers.outside_classes}; move what is an image into the folder of its class",
            )
        )
    if leftovers.leading_out.count:
        listener(Notice("warning", f"{_lead_out(leftovers)}; until then they are ignored"))
    if leftovers.closed_folders.count:
        listener(
            Notice(
                "warning",
                f"{count(leftovers.closed_folders.count, 'folder')} cannot be opened and "
                f"{word(leftovers.closed_folders.count, 'is', 'are')} ignored: "
                f"{leftovers.closed_folders}; check the permissions",
            )
        )
    if leftovers.beside:
        listener(
            Notice(
                "warning",
                f"{few(leftovers.beside)} in {location} is no train, validation or test folder and is "
                f"ignored; if these are all classes, rename the folder train",
            )
        )


def _lead_out(leftovers: Leftovers) -> str:
    names = leftovers.leading_out
    return (
        f"{count(names.count, 'name leads', 'names lead')} out of the archive ({names}); pack it again from inside the "
        f"folder that holds the class folders"
    )


def _is_ours(path: str, leftovers: Leftovers) -> bool:
    if ".." in (parts := path.split("/")):
        leftovers.leading_out.add(path)
        return False
    for part in parts:
        if is_tool_name(part):
            leftovers.tool_names[tool_kind(part)] += 1
            return False
    return bool(path)


def _folders_of(members: Iterable[Member]) -> set[str]:
    found: set[str] = set()
    for member in members:
        folder = member.path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _single_root(members: Sequence[Member], folders: set[str]) -> str:
    """The one folder around everything, with its slash; empty where there is none or it is itself a class."""
    root = ""
    while True:
        tops = {folder.removeprefix(root).partition("/")[0] for folder in folders if _below(folder, root)}
        if len(tops) != 1 or any("/" not in member.path.removeprefix(root) for member in members):
            return root
        (only,) = tops
        inner = f"{root}{only}/"
        if only.casefold() in SPLIT_NAMES or not any(_below(folder, inner) for folder in folders):
            return root
        root = inner


def _below(folder: str, root: str) -> bool:
    return folder.startswith(root) and folder != root.rstrip("/")


def _take(member: Member, root: str, splits: dict[str, str], prefix: str, leftovers: Leftovers, rows: Rows) -> None:
    folder, _, name = member.path.removeprefix(root).rpartition("/")
    split = None
    if splits:
        top, _, folder = folder.partition("/")
        if top not in splits:
            return
        split = splits[top]
    extension = extension_of(name)
    if is_other_file(extension):
        leftovers.by_kind[extension] += 1
    elif not folder:
        leftovers.outside_classes.add(member.path)
    else:
        rows.add(prefix + member.path, class_name(folder), split, member.size_bytes, member.modified_ns)


def _note_empty(folders: set[str], members: Sequence[Member], leftovers: Leftovers) -> None:
    filled = {member.path.rpartition("/")[0] for member in members if not is_other_file(extension_of(member.path))}
    parents = {folder.rpartition("/")[0] for folder in folders}
    for folder in sorted(folders - filled - parents):
        leftovers.empty_folders.add(folder)


def _refuse_flat_splits(location: str, split_folders: Sequence[str]) -> None:
    if split_folders:
        raise DataError(
            f"{location}: the images in {' and '.join(split_folders)} do not lie in class folders; "
            f"put the images of each class into a folder with the class's name inside each of them"
        )


def _no_images(location: str, leftovers: Leftovers) -> str:
    if leftovers.closed_folders.count:
        return f"{location} holds no image: {leftovers.closed_folders} cannot be opened; check the folder permissions"
    if leftovers.outside_classes.count:
        return (
            f"{location}: {count(leftovers.outside_classes.count, 'image lies', 'images lie')} outside class folders "
            f"({leftovers.outside_classes}); put the images of each class into a folder with the class's name"
        )
    return f"{location} has folders but no images in them; put the images of each class into its folder"
