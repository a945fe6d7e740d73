"""The rules of docs/data.md: for each, a change of the source that takes it away, and the test that then fails.

Run by benchmarks/mutations.py, which writes docs/data_rules.md.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule."""

    says: str
    """As docs/data_rules.md has it."""

    file: str
    """Below src/retop; in data/ where no folder is named."""

    text: str
    """What the file has, once."""

    instead: str
    """What takes the rule away."""

    test: str
    """Below tests/unit; in data/ where no folder is named."""


SOURCES = [
    Rule("class folders: nested ones are joined with `/`", "sources/folders.py", 'class_name(f"{label}/{name}" if label else name)', "class_name(name)", "test_source.py::test_nested_class_folders_are_joined"),
    Rule("folders train, validation (val, valid), test make the split", "sources/names.py", '    "valid": "validation",\n', "", "test_source.py::test_split_folders_are_recognised"),
    Rule("... and training, testing", "sources/names.py", '    "training": "train",\n', "", "test_dataset.py::test_split_folders_are_taken_as_they_are"),
    Rule("labels that are withheld (-1) are refused with the way out", "sources/embedded.py", "withheld * (unknown[0] == -1)", "''", "test_tables.py::test_labels_that_a_dataset_withholds_are_refused_with_the_way_out"),
    Rule("a class may be called train, beside others", "sources/layout.py", 'if not any(folder in holders for folder in found["train"]) and not (only_splits and holders):', "if not split_folders:", "test_source.py::test_a_class_may_be_called_train"),
    Rule("two folders of one split are refused", "sources/layout.py", "if len(group) > 1:", "if len(group) > 9:", "test_source.py::test_two_validation_folders_are_refused"),
    Rule("a folder around train/ is refused with the right one", "sources/folders.py", "if len(folders) == 1 and _has_folders", "if len(folders) == 9 and _has_folders", "test_source.py::test_a_folder_too_many_is_refused_with_the_right_one"),
    Rule("hidden files and folders are ignored", "sources/names.py", 'name.startswith(".") or ', "", "test_source.py::test_tool_files_and_hidden_folders_are_ignored"),
    *(
        Rule(f"files and folders of tools are ignored: {name}", "sources/names.py", f'        "{name.lower()}",\n', "", f"test_source.py::test_every_name_of_a_tool_is_ignored[{name}]")
        for name in ("__MACOSX", "Thumbs.db", "desktop.ini", "__pycache__", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information", r"Icon\r")
    ),
    Rule("... in archives too", "sources/layout.py", "        if is_tool_name(part):\n", "        if False:\n", "test_source.py::test_archives_ignore_what_folders_ignore"),
    Rule("... and reported", "sources/folders.py", "leftovers.tool_names[tool_kind(name)] += 1", "pass", "test_audit.py::test_what_is_ignored_is_listed"),
    Rule("what cannot be a picture by its extension is ignored and counted", "sources/folders.py", "elif is_other_file(extension):\n            leftovers.by_kind", "elif False:\n            leftovers.by_kind", "test_source.py::test_files_that_are_clearly_no_images_are_counted_in_one_notice"),
    Rule("every other extension is opened: content decides", "sources/names.py", "return extension in _OTHER_FILES", "return extension not in ('.jpg', '.png')", "test_source.py::test_names_do_not_decide_what_an_image_is"),
    Rule("pipes and devices are ignored", "sources/folders.py", 'if not stat.S_ISREG(status.st_mode):\n            leftovers', "if False:\n            leftovers", "test_source.py::test_loops_pipes_and_broken_links_do_no_harm"),
    Rule("broken links are ignored", "sources/folders.py", 'leftovers.by_kind["broken links"] += 1', "raise", "test_source.py::test_loops_pipes_and_broken_links_do_no_harm"),
    Rule("loops of links are ignored", "sources/folders.py", 'leftovers.by_kind["loops of links"] += 1\n                        continue', 'leftovers.by_kind["loops of links"] += 1', "test_source.py::test_loops_pipes_and_broken_links_do_no_harm"),
    Rule("closed folders are ignored and named", "sources/folders.py", "leftovers.closed_folders.add(path)\n", "raise\n", "test_source.py::test_a_closed_folder_is_named_and_ignored"),
    Rule("files outside class folders are ignored and named", "sources/folders.py", "elif not label:\n", "elif False:\n", "test_source.py::test_images_beside_class_folders_are_named_and_ignored"),
    Rule("folders beside train, validation and test are ignored and named", "sources/folders.py", "leftovers.beside = tuple(", "leftovers.beside = () and tuple(", "test_source.py::test_folders_beside_train_are_named_and_ignored"),
    Rule("names that are not Unicode are read", "sources/folders.py", 'if "\\\\x" in path:', "if False:", "test_source.py::test_names_that_are_not_unicode_can_be_listed_and_read"),
    Rule("a class is one text however the system spells it", "sources/names.py", 'unicodedata.normalize("NFC", name)', "name", "test_source.py::test_class_names_are_the_same_text_however_the_system_spells_them"),
    Rule("paths of a table are relative to it", "sources/tables.py", "            self._file.parent / path, path,", "            path, path,", "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is"),
    Rule("labels stay text (`007`, `NA`)", "sources/tables.py", "column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False", "", "test_tables.py::test_labels_stay_text"),
    Rule("`--columns` names columns", "sources/tables.py", "name = column_of(role, columns, table.column_names)\n        if table", "name = role\n        if table", "test_tables.py::test_columns_can_be_named"),
    Rule("columns whose names differ from their roles in case alone", "sources/tables.py", "return wanted if wanted in names or len(alike) != 1 else alike[0]", "return wanted", "test_tables.py::test_columns_whose_names_differ_in_case_alone_are_what_they_are_called"),
    Rule("blanks around the names of columns do not count", "sources/tables.py", "(name.strip() if role in given else name.strip().casefold())", "(name if role in given else name.casefold())", "test_tables.py::test_blanks_around_the_names_of_columns_do_not_count"),
    Rule("... nor those behind the commas of such a column", "sources/tables.py", 'if name.startswith(" ") else text', "if False else text", "test_tables.py::test_blanks_around_the_names_of_columns_do_not_count"),
    Rule("column `split` makes the split", "sources/tables.py", "known = SPLIT_NAMES.get(split.strip().casefold()) if split else None", "known = None", "test_tables.py::test_columns_can_be_named"),
    Rule("a row without path or label is refused", "sources/tables.py", "if not path or not label or not label.strip():", "if False:", "test_tables.py::test_what_is_wrong_with_a_table_is_named"),
    Rule("an unknown split is refused", "sources/tables.py", "if split and split.strip() and known is None:", "if False:", "test_tables.py::test_what_is_wrong_with_a_table_is_named"),
    Rule("one path with two labels is refused", "sources/tables.py", "if first != second:\n            role", "if False:\n            role", "test_tables.py::test_what_is_wrong_with_a_table_is_named"),
    Rule("a repeated row counts once", "sources/tables.py", "leftovers.repeated_rows.add(row[0])\n                continue", "leftovers.repeated_rows.add(row[0])", "test_tables.py::test_rows_that_say_the_same_again_count_once"),
    Rule("a path that is not there is an unreadable image", "sources/tables.py", "except (OSError, ValueError):\n            return 0, 0", "except ZeroDivisionError:\n            return 0, 0", "test_tables.py::test_files_that_a_table_names_but_are_not_there_are_unreadable_images"),
    Rule("tables are UTF-8, others are refused with the way out", "sources/tables.py", 'if isinstance(error, UnicodeDecodeError) or "UTF8" in reason:', "if False:", "test_tables.py::test_tables_without_rows_or_of_another_encoding_say_so"),
    Rule("... with a byte order mark or without", "sources/tables.py", 'encoding="utf-8-sig"', 'encoding="utf-16"', "test_tables.py::test_a_table_may_come_from_a_spreadsheet"),
    Rule("semicolons and tabs part columns too", "sources/tables.py", 'return ";" if ";" in header and "," not in header else ","', 'return ","', "test_tables.py::test_a_table_may_come_from_a_spreadsheet"),
    Rule("numbers of a Parquet file take their names from its metadata", "sources/embedded.py", "if names is not None and pa.types.is_integer(column.type):", "if False:", "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is"),
    Rule("a Parquet file may lie in data/", "sources/opening.py", 'for place in (folder, folder / "data"):', "for place in (folder,):", "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is"),
    Rule("a row of Parquet with a label of blanks is refused", "sources/embedded.py", "not str(value).strip()", "value == ''", "test_tables.py::test_a_label_of_blanks_is_none"),
    Rule("names of Parquet files and shards make the split", "sources/names.py", "return SPLIT_NAMES[found[1].lower()] if found else None", "return None", "test_tables.py::test_the_names_of_files_make_the_split_of_parquet_and_shards"),
    Rule("a row of Parquet without an image is unreadable", "sources/embedded.py", "if buffer is None:", "if False:", "test_tables.py::test_a_row_without_an_image_is_unreadable"),
    Rule("unpacked Parquet is used again only as long as size and time are the same", "sources/embedded.py", "{status.st_size}\\n{status.st_mtime_ns}", "", "test_tables.py::test_parquet_that_is_replaced_is_unpacked_again"),
    Rule("a folder around everything in an archive is looked through", "sources/layout.py", "        root = inner\n", "        return root\n", "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is"),
    Rule("an archive whose names all lead out of it is refused by name", "sources/layout.py", "    if leftovers.leading_out.count:\n        raise", "    if False:\n        raise", "test_tables.py::test_names_that_lead_out_of_an_archive_are_told_with_the_way_out[write_zip-zip]"),
    Rule("names that lead out of an archive are said", "sources/layout.py", "    if leftovers.leading_out.count:\n        listener", "    if False:\n        listener", "test_tables.py::test_names_that_lead_out_of_an_archive_are_told_with_the_way_out[write_tar-tar]"),
    Rule("members of a ZIP may begin with ./ and have backslashes", "sources/archives.py", "return \"/\".join(part for part in plain.split(\"/\") if part not in (\"\", \".\")) +", "return plain +", "test_tables.py::test_members_may_have_backslashes_and_begin_with_a_slash_or_a_dot"),
    Rule("names of a ZIP that macOS made are UTF-8", "sources/archives.py", 'return info.filename.encode("cp437").decode()', "return info.filename", "test_tables.py::test_class_names_of_a_zip_that_macos_made_are_those_of_the_folder"),
    Rule("... and those of other tools the old code page", "sources/archives.py", "except UnicodeError:", "except ZeroDivisionError:", "test_tables.py::test_names_of_the_old_code_page_stay_what_they_are"),
    Rule("a link of a tar to one of its files is that file", "sources/shards.py", "places.get(target, lost)", "lost", "test_tables.py::test_a_file_with_two_names_is_two_images_of_a_tar_and_a_link_that_leads_nowhere_is_named"),
    Rule("... and one that leads nowhere is named", "sources/shards.py", "if place.link is not None:", "if False:", "test_tables.py::test_a_file_with_two_names_is_two_images_of_a_tar_and_a_link_that_leads_nowhere_is_named"),
    Rule("names in a tar that are not Unicode are read", "sources/shards.py", "{shown(name.removeprefix('./'))}", "{name.removeprefix('./')}", "test_tables.py::test_names_in_a_tar_that_are_not_unicode_can_be_listed_and_read"),
    Rule("JSON files among the class folders of a tar are no labels", "sources/shards.py", "if self._is_webdataset(samples):", "if any(sample.said for sample in samples.values()):", "test_tables.py::test_json_files_among_class_folders_of_a_tar_are_no_labels"),
    Rule("a table whose own name is not Unicode is refused", "sources/opening.py", "if (head == b\"PAR1\" or is_text) and", "if False and", "test_tables.py::test_a_zip_whose_own_name_is_not_unicode_can_be_read_and_a_table_is_refused"),
    Rule("label of a sample: the text of .cls", "sources/shards.py", 'if label is None and ".cls" in said', "if False", "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is"),
    Rule("label of a sample: the key of .json", "sources/shards.py", 'document = json.loads(said.get(".json", b"{}"))', "document = {}", "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is"),
    Rule("of a sample the plain extension is the image, others are said", "sources/shards.py", 'leftovers.by_kind[f".{_extensions(path)}"] += 1', "pass", "test_tables.py::test_of_a_sample_the_plain_extension_is_the_image_and_two_images_are_refused"),
    Rule("two plain images of a sample are refused", "sources/shards.py", "if len(plain) > 1:", "if False:", "test_tables.py::test_of_a_sample_the_plain_extension_is_the_image_and_two_images_are_refused"),
    Rule("samples without a label are ignored and said", "sources/shards.py", "leftovers.outside_classes.add(image)", "pass", "test_tables.py::test_samples_without_a_label_are_said"),
    Rule("a shard that is cut short is used as far as it goes, and said", "sources/shards.py", 'listener(Notice("warning", f"{name} is cut short', 'str(Notice("warning", f"{name} is cut short', "test_tables.py::test_a_shard_that_is_cut_short_is_used_as_far_as_it_goes"),
    Rule("columns of what has none are refused", "sources/tables.py", "    if others:\n        raise", "    if False:\n        raise", "test_tables.py::test_columns_of_what_has_none_are_refused"),
    Rule("... and roles of columns that nothing is taken from", "sources/opening.py", "        refuse_columns(given, columns, TableSource.roles)\n", "", "test_tables.py::test_roles_and_keys_that_nothing_is_taken_from_are_refused"),
    Rule("a key of the label that was named counts alone", "sources/shards.py", ' and "label" not in columns', "", "test_tables.py::test_roles_and_keys_that_nothing_is_taken_from_are_refused"),
    Rule("a key of groups that no sample has is refused", "sources/shards.py", 'if "group" in self._columns and', "if False and", "test_tables.py::test_roles_and_keys_that_nothing_is_taken_from_are_refused"),
    Rule("one tar of class folders: labels are those of a folder", "sources/shards.py", 'members = (Member(path.partition("::")[2], ', 'members = (Member(path.rpartition("/")[2], ', "test_conformance.py::test_every_image_is_listed_once_with_its_label_and_read_as_it_is[tar of class folders]"),
    Rule("Parquet beside class folders at an address does not hide them", "sources/opening.py", "if shards and not _has_classes(listed):", "if shards:", "test_remote.py::test_a_table_beside_class_folders_of_a_server_does_not_hide_them"),
    Rule("... nor one folder with pictures the Parquet", "sources/opening.py", 'for folder in folders - {"", "data"}) > 1', 'for folder in folders - {"", "data"}) > 0', "test_remote.py::test_a_picture_beside_shards_of_a_server_does_not_hide_them"),
    Rule("a table at an address is refused", "sources/opening.py", 'if address.lower().endswith((".csv", ".tsv")):', "if False:", "test_remote.py::test_a_table_at_an_address_is_refused_with_the_way_out"),
    Rule("what is fetched whole shows its progress", "sources/fetching.py", "            told.tell(_size(file))\n", "            pass\n", "test_remote.py::test_what_is_fetched_whole_tells_how_much_of_it_is_there"),
    Rule("... and is fetched once", "sources/fetching.py", "    if not missing:\n", "    if False:\n", "test_remote.py::test_what_is_fetched_whole_tells_how_much_of_it_is_there"),
    Rule("files that a server is asked for one by one are counted", "sources/remote.py", "                    listener(PartAdvanced(ASKING, 1))\n", "                    pass\n", "test_remote.py::test_files_that_a_server_is_asked_for_one_by_one_are_counted_and_others_not"),
    Rule("unpacked Parquet that is no longer in the cache is unpacked again", "sources/embedded.py", "                unpack(parquet, columns.image, unpacked.file, ignore)\n", "                pass\n", "report/test_page.py::test_images_behind_columns_of_other_names_are_shown_where_they_lay_and_where_they_lie_now"),
    Rule("reports show the pictures of columns with other names", "report/page.py", "data, comparison.folder, columns)", "data, comparison.folder)", "report/test_page.py::test_images_behind_columns_of_other_names_are_shown_where_they_lay_and_where_they_lie_now"),
    Rule("remote files are fetched once", "sources/remote.py", "if kept.exists():\n", "if False:\n", "test_remote.py::test_an_object_is_fetched_once"),
    Rule("... and again where the checksum differs", "sources/remote.py", "for key in _CHECKSUM_KEYS:", "for key in ():", "test_remote.py::test_a_number_changes_with_the_checksum_or_without_one_with_the_time"),
    Rule("what a console makes as a folder is no image", "sources/remote.py", 'for path, facts in found.items() if not path.endswith("/")}', "for path, facts in found.items()}", "test_remote.py::test_folders_that_the_console_of_a_store_makes_are_no_images"),
    Rule("a missing package of a protocol is named", "sources/remote.py", "package = _NEEDED.get(protocol, protocol)", "package = ''", "test_remote.py::test_an_address_without_its_package_names_the_package"),
    Rule("the ways in are named where somebody is not logged in", "sources/remote.py", 'return f"; {way}" if way and closed else ""', 'return ""', "test_remote.py::test_without_credentials_the_ways_in_are_named_and_public_buckets_open"),
    Rule("index: a row counts again only while size and time are the same", "index.py", 'same = [pc.equal(scanned[key], known[key].take(places)) for key in ("size_bytes", "modified_ns")]', 'same = [pc.is_valid(places), pc.is_valid(places)]', "test_dataset.py::test_a_changed_file_is_read_again"),
    Rule("index: what is known is not read again", "index.py", "if unknown.num_rows == 0:", "if False:", "test_dataset.py::test_the_second_opening_reads_nothing"),
    Rule("index: a file of the last two seconds is not trusted by its time", "index.py", "_SETTLED_NS = 2_000_000_000", "_SETTLED_NS = -(10**18)", "test_dataset.py::test_a_file_written_a_moment_ago_is_not_trusted_by_its_time"),
    Rule("index: damage behind a header is found by decoding", "index.py", 'pc.or_(joined["decoded"], pc.is_valid(joined["problem"])) if decode', 'pc.is_valid(joined["content"]) if decode', "test_dataset.py::test_damage_behind_a_header_is_found_by_decoding_and_only_what_was_not_decoded_is_read_again"),
    Rule("index: a plan does without decoding", "api/planning.py", "listener, decode=False)", "listener)", "test_reading.py::test_a_plan_reads_headers_and_decodes_all_where_it_comes_upon_damage"),
    Rule("index: from 5,000 new files on processes share the work", "reading.py", "MANY = 5_000\n", "MANY = 5_001\n", "test_reading.py::test_from_5000_files_on_there_is_a_process_for_each_core"),
    Rule("index: ... and not below", "reading.py", "MANY = 5_000\n", "MANY = 4_999\n", "test_reading.py::test_from_5000_files_on_there_is_a_process_for_each_core"),
    Rule("index: a file that crashes a process is named", "reading.py", '"problem": CRASHED', '"problem": None', "test_reading.py::test_a_file_that_ends_the_decoder_is_named_and_the_others_are_read"),
    Rule("a listing that takes more than two seconds counts its files", "sources/source.py", "if self._told is None and time.perf_counter() - self._began >= LATE_SECONDS:", "if False:", "test_source.py::test_a_listing_that_takes_long_counts_its_files"),
    Rule("the reading of an archive's or a server's list of files is shown from its beginning", "sources/source.py", 'listener(PartStarted(NAMES, None, "files"))', "pass", "test_source.py::test_that_an_archive_is_opened_is_shown_before_it_is"),
    Rule("an image is decoded once for up to four of its views", "activations/fill.py", "VIEWS_AT_ONCE = 4\n", "VIEWS_AT_ONCE = 1\n", "activations/test_fill.py::test_views_that_are_filled_together_equal_those_filled_alone_and_images_are_decoded_once"),
    Rule("Parquet of large photographs is unpacked in pieces of bounded bytes", "sources/embedded.py", "rows = _ROWS_AT_ONCE if held <= _BYTES_AT_ONCE else 1", "rows = _ROWS_AT_ONCE", "test_tables.py::test_parquet_of_large_photographs_is_unpacked_in_pieces_of_bounded_bytes"),
    Rule("folders that a web server refuses to show are told", "sources/remote.py", '"", listener, refused)', '"", listener)', "test_remote.py::test_a_folder_that_a_web_server_refuses_is_told"),
]  # fmt: skip

DECODING = [
    *(
        Rule(f"{kind} is decoded, by content", "decoding.py", f'        return "{kind}"\n', '        return ""\n', f"test_decoding.py::test_every_format_is_told_by_content[{kind}]")
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
    ),
    *(
        Rule(f"{kind} is refused as what it is", "decoding.py", text, '"not an image"', "test_decoding.py::test_what_is_no_image_is_refused_with_its_kind_and_the_accepted_formats")
        for kind, text in (
            ("PDF", '"a PDF document, not an image"'),
            ("EPS", '"an EPS or PostScript file"'),
            ("SVG", '"an SVG drawing"'),
            ("HTML", '"an HTML or XML page, not an image"'),
            ("HEIC", '"a HEIC photo (convert it to JPEG)"'),
            ("a film", '"a film or another media file, not a photo"'),
            ("ZIP", '"a ZIP archive, not an image"'),
            ("Photoshop", '"a Photoshop file"'),
            ("JPEG 2000", '"a JPEG 2000 picture"'),
            ("JPEG XL", '"a JPEG XL picture"'),
            ("ICO", '"an icon (ICO)"'),
            ("PPM", '"a PBM, PGM or PPM picture"'),
        )
    ),
    *(
        Rule(f"EXIF orientation {number} is applied", "orientation.py", f"    {number}: Image.Transpose.{turn},\n", "", "test_decoding.py::test_exif_orientation_is_applied")
        for number, turn in enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2)
    ),
    Rule("the tag of TIFF is applied", "decoding.py", '    "TIFF": TiffImageFile,\n', '    "TIFF": type("Unturned", (TiffImageFile,), {"load_end": lambda self: None}),\n', "test_decoding.py::test_exif_orientation_is_applied"),
    Rule("damaged EXIF leaves the image as it is", "orientation.py", "except struct.error:\n        return 1", "except ZeroDivisionError:\n        return 1", "test_decoding.py::test_damaged_exif_leaves_the_image_upright"),
    Rule("of several frames the first one", "decoding.py", "        image.load()\n        orientation", '        image.seek(getattr(image, "n_frames", 1) - 1)\n        image.load()\n        orientation', "test_decoding.py::test_animation_gives_its_first_frame"),
    Rule("the other frames are never looked at", "decoding.py", "        image.load()\n        orientation", '        image.seek(getattr(image, "n_frames", 1) - 1)\n        image.seek(0)\n        image.load()\n        orientation', "test_decoding.py::test_frames_behind_the_first_are_not_looked_at"),
    Rule("palettes to RGB", "colour.py", 'elif image.mode not in ("RGB", "L", "CMYK"):', 'elif image.mode == "P":\n        image = Image.new("RGB", image.size)\n    elif image.mode not in ("RGB", "L", "CMYK"):', "test_decoding.py::test_palette_with_a_transparent_entry_lies_over_white"),
    Rule("black and white to 0 and 255", "colour.py", 'image = image.convert("L")\n', 'image = Image.fromarray(np.asarray(image).astype(np.uint8), "L")\n', "test_decoding.py::test_black_and_white_becomes_0_and_255"),
    Rule("YCbCr and Lab to RGB", "colour.py", 'image = image.convert("RGB")\n', 'image = Image.merge("RGB", image.split()[:3])\n', "test_decoding.py::test_other_colour_spaces_become_the_colours_they_were_made_from"),
    Rule("CMYK by Pillow's formula without a profile", "colour.py", 'return _to_srgb(image, profile).convert("RGB")', 'return Image.merge("RGB", _to_srgb(image, profile).split()[:3]) if image.mode == "CMYK" and not profile else _to_srgb(image, profile).convert("RGB")', "test_decoding.py::test_cmyk_becomes_the_colours_it_was_made_from"),
    Rule("CMYK by its ICC profile", "colour.py", "    if not profile:\n", '    if not profile or image.mode == "CMYK":\n', "test_decoding.py::test_cmyk_with_a_profile_is_converted_by_it_white_to_white_and_black_to_black"),
    Rule("ICC profile to sRGB", "colour.py", "    if not profile:\n", "    if True:\n", "test_decoding.py::test_a_linear_profile_is_converted_to_srgb"),
    Rule("relative colorimetric", "colour.py", "ImageCms.Intent.RELATIVE_COLORIMETRIC", "ImageCms.Intent.ABSOLUTE_COLORIMETRIC", "test_decoding.py::test_cmyk_with_a_profile_is_converted_by_it_white_to_white_and_black_to_black"),
    Rule("black-point compensation", "colour.py", " | ImageCms.Flags.BLACKPOINTCOMPENSATION", "", "test_decoding.py::test_cmyk_with_a_profile_is_converted_by_it_white_to_white_and_black_to_black"),
    Rule("a damaged profile, or one of another colour space, is ignored", "colour.py", "except (ImageCms.PyCMSError, OSError, TypeError, ValueError):\n        return None", "except ZeroDivisionError:\n        return None", "test_decoding.py::test_a_profile_that_is_srgb_or_of_another_space_or_damaged_changes_nothing"),
    Rule("the profile holds under transparency", "colour.py", 'white.paste(_to_srgb(image.convert("RGB"), profile), mask=alpha)', 'white.paste(image.convert("RGB"), mask=alpha)', "test_decoding.py::test_the_profile_holds_under_transparency"),
    Rule("transparency over white", "colour.py", "(255, 255, 255))\n", "(0, 0, 0))\n", "test_decoding.py::test_alpha_lies_over_white"),
    Rule("... of palettes and single colours", "colour.py", "elif image.has_transparency_data:", 'elif image.mode in ("LA", "RGBA"):', "test_decoding.py::test_rgb_with_a_transparent_colour_lies_over_white"),
    Rule("... of 16-bit grey", "colour.py", "if clear is not None:", "if False:", "test_decoding.py::test_16_bit_grey_with_a_transparent_value_lies_over_white"),
    Rule("16-bit grey divided by 257", "colour.py", 'full = 1.0 if image.mode == "F" else 65535.0', 'full = 1.0 if image.mode == "F" else 65792.0', "test_decoding.py::test_16_bit_grey_keeps_256_levels"),
    Rule("32-bit integers as 16 bits where they fit; floating point as 0 to 1", "colour.py", "        least, greatest = 0.0, full\n", "        pass\n", "test_decoding.py::test_a_dim_picture_is_not_stretched"),
    Rule("the rest is stretched from least to greatest", "colour.py", "    if least >= 0 and greatest <= full:\n", "    if True:\n", "test_decoding.py::test_floating_point_beyond_1_is_stretched"),
    Rule("NaN is black", "colour.py", "nan=0.0, posinf", "nan=1.0, posinf", "test_decoding.py::test_floating_point_from_0_to_1_fills_all_levels_and_nan_is_black"),
    Rule("large JPEGs at reduced scale", "decoding.py", "            image.draft(None, (needed, needed))\n", "            pass\n", "test_decoding.py::test_reduced_decoding_keeps_twice_the_size_and_the_stated_tolerance"),
    Rule("... where twice the needed side remains", "decoding.py", "REDUCTION_MARGIN = 2\n", "REDUCTION_MARGIN = 1\n", "test_decoding.py::test_decoding_is_not_reduced_below_the_margin"),
    Rule("512 MiB a file", "decoding.py", "    if len(content) > BYTES_LIMIT:\n", "    if False:\n", "test_decoding.py::test_too_many_bytes_are_refused"),
    Rule("... before it is read", "sources/folders.py", "        if status.st_size > BYTES_LIMIT:\n", "        if False:\n", "test_decoding.py::test_too_many_bytes_are_refused"),
    Rule("200 million pixels an image", "bounds.py", "PIXEL_LIMIT = 200_000_000", "PIXEL_LIMIT = 200_000_000_000", "test_decoding.py::test_too_many_pixels_are_refused_before_decoding"),
    Rule("a truncated file is refused", "decoding.py", "image.load()\n        orientation", "setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)\n        image.load()\n        orientation", "test_decoding.py::test_truncated_files_are_refused_by_name"),
    Rule("a refusal names the file", "decoding.py", "raise UnreadableImageError(path, _explain(kind, error)) from error", "raise UnreadableImageError('', _explain(kind, error)) from error", "test_decoding.py::test_truncated_files_are_refused_by_name"),
    Rule("in a folder it is left out, counted and listed", "survey.py", 'self.table.filter(pc.is_null(self.table["problem"]))', "self.table", "test_dataset.py::test_unreadable_images_are_named_and_left_out"),
    Rule("of a reduced JPEG the crop alone is resized only where Pillow takes the axes in the same order", "views.py", "rows_first[0] == rows_first[1] and ", "", "test_views.py::test_of_reduced_photos_the_crop_alone_is_computed_and_nothing_else_changes"),
    Rule("the formats that can be read are listed once", "survey.py", "image.reason.removesuffix(READABLE)", "image.reason", "test_audit.py::test_the_formats_that_can_be_read_are_listed_once"),
]  # fmt: skip

SPLITS = [
    Rule("stratified by class", "splitting.py", "members = np.unique(content_n[labels_n == k])", "members = np.unique(content_n) if k == 0 else np.unique(content_n[labels_n == k])[:0]", "test_splitting.py::test_every_class_is_split_at_the_fractions"),
    Rule("the split follows from the content, not the order", "splitting.py", "rank[sorted(range(len(drawn)), key=drawn.__getitem__)] = np.arange(len(drawn))", "rank[:] = np.arange(len(drawn))", "test_splitting.py::test_the_split_does_not_depend_on_order"),
    Rule("... and from `data.split_seed`", "splitting.py", 'prefix = f"{seed}/".encode()', 'prefix = b""', "test_splitting.py::test_another_seed_gives_another_split"),
    Rule("... and is the same under every name and place", "dataset.py", '[("label", "ascending"), ("content", "ascending"), ("path", "ascending")]).combine_chunks()', '[("path", "descending")]).combine_chunks()', "test_dataset.py::test_the_split_survives_renaming_moving_and_another_order"),
    Rule("copies of one content share a side, in other classes too", "splitting.py", "free = members[taken_sides < 0]", "free = members", "test_splitting.py::test_copies_share_a_side_within_and_across_classes"),
    Rule("80/20/0 is without test", "opening.py", "        if fractions[side] > 0\n", "", "test_dataset.py::test_without_a_test_fraction_there_is_no_test"),
    Rule("images of one group share a side", "opening.py", "if images.groups.null_count == len(images):", "if True:", "test_grouping.py::test_a_column_makes_the_groups"),
    Rule("a pattern is searched in the path; its first bracket is the group", "grouping.py", "m[1 if compiled.groups else 0]", "m[0]", "test_grouping.py::test_the_group_of_a_pattern_is_its_first_bracket_or_all_of_it"),
    Rule("... or all of it", "grouping.py", "m[1 if compiled.groups else 0]", "m[1]", "test_grouping.py::test_the_group_of_a_pattern_is_its_first_bracket_or_all_of_it"),
    Rule("groups and copies are bound together", "grouping.py", "for kind_n in (content_n, group_n):", "for kind_n in (group_n,):", "test_grouping.py::test_what_is_bound_through_others_is_one_unit"),
    Rule("units go where the need is greatest", "grouping.py", "best = max(allowed,", "best = min(allowed,", "test_grouping.py::test_shares_are_kept_where_groups_are_small"),
    Rule("rare classes first", "grouping.py", "key=lambda u: (rarest[u], -held[u].total(), int(first_u[u]))", "key=lambda u: (-rarest[u], -held[u].total(), int(first_u[u]))", "test_grouping.py::test_groups_of_rare_classes_are_placed_first"),
    Rule("folds: f is tested, f + 1 validates", "dataset.py", "for place in (fold, fold + 1)", "for place in (fold, fold + 2)", "test_grouping.py::test_every_image_is_tested_in_one_fold_and_validates_in_one"),
    Rule("folds: the rest is learned from", "dataset.py", "if images is not test and images is not validation", "if images is not test", "test_grouping.py::test_every_image_is_tested_in_one_fold_and_validates_in_one"),
    Rule("data with a split of its own has no folds", "opening.py", 'if survey.split_by != "retop" or pc.unique', 'if False and pc.unique', "test_grouping.py::test_folds_of_data_with_a_split_are_refused"),
    Rule("a split file is taken again", "opening.py", '_take_again(table, recipe.split_file, listener), "file"', 'table, "file"', "test_grouping.py::test_a_split_file_gives_the_same_split_again"),
    Rule("images that the split file does not name are left out, and said", "opening.py", "        if number:\n            listener(Notice(\"warning\", f\"{count", "        if False:\n            listener(Notice(\"warning\", f\"{count", "test_grouping.py::test_a_split_file_of_a_person_is_taken_and_what_it_lacks_is_said"),
    Rule("a file that says neither split nor fold is refused", "opening.py", 'if said["split"].null_count == said["fold"].null_count == said.num_rows:', "if False:", "test_grouping.py::test_a_list_that_says_no_split_is_refused_as_a_split_file"),
    Rule("one that puts an image on two sides is refused", "lists.py", 'elif first[row["path"]] != side:', "elif False:", "test_grouping.py::test_an_image_that_a_split_file_puts_on_two_sides_is_refused_and_a_repeated_row_counts_once"),
    Rule("folds are numbered from 0 without a gap", "lists.py", "or folds != list(range(len(folds)))", "", "test_grouping.py::test_folds_of_a_split_file_are_numbered_from_0_and_at_least_three"),
    Rule("... and at least three", "lists.py", "FEWEST_FOLDS = 3", "FEWEST_FOLDS = 1", "test_grouping.py::test_folds_of_a_split_file_are_numbered_from_0_and_at_least_three"),
    Rule("`--exclude` leaves images out", "survey.py", "table = leave_out(table, recipe.exclude, listener)", "pass", "test_lists.py::test_what_is_left_out_and_what_is_not_there_is_said_and_not_everything_may_go"),
    Rule("... a CSV with a column path, or one path a line", "lists.py", 'return [lines[place].strip() for place in said]', "return []", "test_lists.py::test_a_list_has_one_path_a_line_and_comments_or_a_column_of_paths"),
    Rule("relative paths: lists are found again from every folder", "api/arguments.py", "    return file and str(Path(file).absolute())", "    return file", "api/test_elsewhere.py::test_a_comparison_of_relative_paths_is_resumed_from_another_folder"),
    Rule("... and so are data and weights", "api/arguments.py", "        place = known and value is not None and Path(str(value)).exists()\n", "        place = False\n", "api/test_elsewhere.py::test_a_comparison_of_relative_paths_is_resumed_from_another_folder"),
    Rule("... by what reads the images of a finished run too", "opening.py", "str(Path(location).expanduser().absolute())", "location", "export/test_export.py::test_a_run_of_a_relative_path_is_checked_from_another_folder"),
    Rule("balanced weights: in inverse proportion", "records/imbalance.py", "weights_k = 1 / np.maximum(counts_k, 1)", "weights_k = np.ones(len(counts_k))", "training/test_weighting.py::test_balanced_weights_give_every_class_the_same_say_and_have_mean_1"),
    Rule("weights of a file keep their ratios", "records/imbalance.py", "weights_k = np.array([recipe.class_weights[name] for name in classes])", "weights_k = np.array([recipe.class_weights[name] ** 0.5 for name in classes])", "training/test_weighting.py::test_given_weights_keep_their_ratios"),
    Rule("weights have a mean of 1 over the training images", "records/imbalance.py", "* counts_k.sum() / (weights_k @ counts_k)", "", "training/test_weighting.py::test_balanced_weights_give_every_class_the_same_say_and_have_mean_1"),
    Rule("weights that do not fit the classes are refused", "records/imbalance.py", "    if wrong:\n", "    if False:\n", "training/test_weighting.py::test_weights_that_do_not_fit_the_classes_are_refused_by_name"),
    Rule("balanced sampling draws every class equally often", "training/order.py", "        rounds = [generator.permutation(rows) for _ in range(-(-share // len(rows)))]", "        share = len(rows)\n        rounds = [generator.permutation(rows)]", "training/test_weighting.py::test_balanced_sampling_draws_every_class_alike_and_no_image_twice_before_all_of_its_class"),
    Rule("the probe gets the same weights", "pipeline/fitting.py", "None if weights_k is None else weights_k.tolist(),", "None,", "training/test_weighting.py::test_what_is_asked_for_reaches_training[probe]"),
    Rule("who corrects for classes of different sizes is not advised to", "audit/__init__.py", "for finding in (finding for finding in record.findings if finding.code not in followed):", "for finding in record.findings:", "test_audit.py::test_who_corrects_for_unequal_classes_is_not_advised_to"),
    Rule("both together are refused", "recipe/recipe.py", 'self.class_weights == "none" or self.sampling == "natural"', "True", "training/test_weighting.py::test_both_corrections_at_once_are_refused"),
    Rule("an exclusion list may be separated by semicolons or tabs", "lists.py", 'for delimiter in ",;\\t":', 'for delimiter in ",":', "test_lists.py::test_a_list_may_be_written_by_any_table_program"),
    Rule("... and have blanks behind its commas", "lists.py", "skipinitialspace=form.spaced", "skipinitialspace=False", "test_lists.py::test_a_list_may_be_written_by_any_table_program"),
    Rule("`retop predict` leaves out what a list excludes", "predictor/inputs.py", "if unwanted is None or not", "if True or not", "test_lists.py::test_what_is_classified_may_be_left_out_by_its_path_or_below_its_folder"),
    Rule("`retop check` takes folds", "cli/check.py", "read_data_settings(split, folds,", "read_data_settings(split, None,", "cli/test_check.py::test_folds_are_audited"),
    Rule("weights of a JSON file are read as JSON", "cli/reading.py", 'case ".json":', 'case ".none":', "cli/test_option_texts.py::test_class_weights_are_read_as_they_are_written"),
    Rule("an audit refuses folds of images with a split", "audit/__init__.py", "        check_own_split(survey, recipe, listener)\n", "        pass\n", "test_audit.py::test_an_audit_tells_what_a_run_would_of_options_that_do_not_fit_a_split"),
    Rule("... and says what a split file leaves out", "audit/__init__.py", "split_survey(survey, recipe, listener)", "split_survey(survey, recipe)", "test_audit.py::test_an_audit_tells_what_a_run_would_of_options_that_do_not_fit_a_split"),
    Rule("class names of weights are text: yes, no, 007", "cli/reading.py", "yaml.load(content, yaml.BaseLoader)", "yaml.safe_load(content)", "cli/test_option_texts.py::test_class_weights_are_read_as_they_are_written"),
    Rule("a line of weights that is not a class and its weight is refused", "cli/reading.py", "if cells and len(cells) != 2:", "if False:", "cli/test_option_texts.py::test_class_weights_that_cannot_be_meant_are_refused"),
    Rule("weights that are not finite and above 0 are refused", "cli/reading.py", "if not 0 < weight < math.inf]:", "if False]:", "cli/test_option_texts.py::test_class_weights_that_cannot_be_meant_are_refused"),
]  # fmt: skip

AUDIT = [
    Rule("D01 unreadable files", "audit/files.py", "    if unreadable:\n", "    if False:\n", "test_audit.py::test_unreadable_files_are_listed_with_their_reason"),
    Rule("D02 names that lie", "audit/files.py", "    if lying:\n", "    if False:\n", "test_audit.py::test_names_that_lie_are_listed"),
    Rule("D03 one image in several classes", "audit/copies.py", "if len(set(labels[group])) > 1]", "if False]", "test_audit.py::test_one_image_in_two_classes_is_a_conflict"),
    Rule("D04 copies across splits", "audit/copies.py", 'yield from _leaks(images, groups, LEAK, "exact copies")', "yield from ()", "test_audit.py::test_copies_across_splits_are_an_error_and_the_copy_that_training_sees_is_to_go"),
    Rule("D05 copies within a class", "audit/copies.py", "    if within:\n", "    if False:\n", "test_audit.py::test_copies_within_a_class_are_a_note"),
    Rule("D06 near copies across splits", "audit/copies.py", 'yield from _leaks(images, crossing, NEAR_LEAK, "near copies")', "yield from ()", "test_audit.py::test_near_copies_across_splits_are_found"),
    Rule("D06 at most 15 bits", "likeness.py", "NEAR_BITS = 15\n", "NEAR_BITS = 16\n", "test_rules.py::test_near_copies_differ_in_15_bits_and_12_levels_at_most"),
    Rule("D06 at least 15 bits", "likeness.py", "NEAR_BITS = 15\n", "NEAR_BITS = 14\n", "test_rules.py::test_near_copies_differ_in_15_bits_and_12_levels_at_most"),
    Rule("D06 at most 12 levels", "likeness.py", "NEAR_LEVELS = 12.0\n", "NEAR_LEVELS = 13.0\n", "test_rules.py::test_near_copies_differ_in_15_bits_and_12_levels_at_most"),
    Rule("D06 mirrored", "likeness.py", "odd[:, 1::2] = True", "odd[:, 1::2] = False", "test_audit.py::test_near_copies_across_splits_are_found"),
    Rule("D06 pictures of one colour are left aside", "likeness.py", "_PLAIN_LEVELS = 2.0", "_PLAIN_LEVELS = 0.0", "test_audit.py::test_pictures_of_one_colour_and_the_same_shape_in_other_colours_are_not_near_copies"),
    Rule("D07 near copies in several classes", "audit/copies.py", "    if conflicts:\n        files = sum(map(len, conflicts))\n        yield NEAR_CONFLICT", "    if False:\n        files = sum(map(len, conflicts))\n        yield NEAR_CONFLICT", "test_audit.py::test_near_copies_in_two_classes_are_found"),
    Rule("D08 a class is missing from a split", "audit/classes.py", "    if lacking:\n", "    if False:\n", "test_audit.py::test_a_class_missing_from_a_split_is_an_error_where_training_refuses"),
    Rule("D09 fewer than 10 training images", "audit/classes.py", "FEWEST = 10\n", "FEWEST = 11\n", "test_rules.py::test_nine_training_images_are_few_and_ten_are_not"),
    Rule("D09 nine are few", "audit/classes.py", "FEWEST = 10\n", "FEWEST = 9\n", "test_rules.py::test_nine_training_images_are_few_and_ten_are_not"),
    Rule("D10 ten times the images", "audit/classes.py", "ratio >= RATIO", "ratio > RATIO", "test_rules.py::test_classes_are_badly_imbalanced_from_ten_times_on"),
    Rule("D10 not below", "audit/classes.py", "RATIO = 10.0", "RATIO = 9.7", "test_rules.py::test_classes_are_badly_imbalanced_from_ten_times_on"),
    Rule("D11 case", "audit/classes.py", ".casefold())\n", ")\n", "test_audit.py::test_class_names_spelt_in_two_ways_are_named"),
    Rule("D11 spaces and signs", "audit/classes.py", 're.sub(r"[\\s_.\\-]+", "", ', "str(", "test_audit.py::test_class_names_spelt_in_two_ways_are_named"),
    Rule("D12 empty folders", "audit/classes.py", "    if empty.count:\n", "    if False:\n", "test_audit.py::test_empty_folders_are_named"),
    *(
        Rule(f"D13 {name} gives the label away", "audit/giveaway.py", f'        "{name}": ', f'        "not {name}": np.zeros(len(width), np.int64) if True else ', test)
        for name, test in (
            ("pixel size", "test_audit.py::test_a_property_that_tells_the_class_is_found"),
            ("aspect", "test_audit.py::test_a_property_that_tells_the_class_is_found"),
            ("format", "test_audit.py::test_a_property_that_tells_the_class_is_found"),
            ("mode", "test_audit.py::test_a_mode_that_tells_the_class_is_found"),
            ("JPEG quality", "test_audit.py::test_a_property_that_tells_the_class_is_found"),
        )
    ),
    Rule("D13 source folder gives the label away", "audit/giveaway.py", 'found["source folder"] = _categories(folders)', "pass", "test_audit.py::test_a_source_folder_that_tells_the_class_is_found_in_a_table"),
    Rule("D13 from one half on", "audit/giveaway.py", "TELLING = 0.5\n", "TELLING = 0.6\n", "test_rules.py::test_a_class_is_given_away_from_one_half_on"),
    Rule("D13 not below one half", "audit/giveaway.py", "TELLING = 0.5\n", "TELLING = 0.4\n", "test_rules.py::test_a_class_is_given_away_from_one_half_on"),
    Rule("D13 cross-validated", "audit/giveaway.py", "np.add.at(table, (values[learned], labels[learned]), 1)", "np.add.at(table, (values, labels), 1)", "test_rules.py::test_a_property_is_judged_on_images_that_its_rule_was_not_made_from"),
    Rule("D13 from 60 images", "audit/giveaway.py", "FEWEST_IMAGES = 60", "FEWEST_IMAGES = 59", "test_rules.py::test_give_aways_are_looked_for_from_60_images_and_in_classes_of_15"),
    Rule("D13 for classes of 15", "audit/giveaway.py", "FEWEST_OF_CLASS = 15", "FEWEST_OF_CLASS = 14", "test_rules.py::test_give_aways_are_looked_for_from_60_images_and_in_classes_of_15"),
    Rule("D14 a side below 32 pixels", "audit/files.py", "SMALLEST = 32", "SMALLEST = 33", "test_rules.py::test_below_32_pixels_an_image_is_very_small"),
    Rule("D14 31 is small", "audit/files.py", "SMALLEST = 32", "SMALLEST = 31", "test_rules.py::test_below_32_pixels_an_image_is_very_small"),
    Rule("D15 groups across splits", "audit/copies.py", "    if crossing:\n        files = sum(map(len, crossing))\n        yield GROUP_LEAK", "    if False:\n        files = sum(map(len, crossing))\n        yield GROUP_LEAK", "test_audit.py::test_groups_across_splits_are_an_error"),
    Rule("D16 what is ignored", "audit/files.py", "    if any(said):\n", "    if False:\n", "test_audit.py::test_what_is_ignored_is_listed"),
    Rule("D17 a cosine of 0.98", "audit/copies.py", "SIMILARITY = 0.98\n", "SIMILARITY = 0.985\n", "test_rules.py::test_embeddings_are_alike_from_a_cosine_of_098_on"),
    Rule("D17 not below", "audit/copies.py", "SIMILARITY = 0.98\n", "SIMILARITY = 0.975\n", "test_rules.py::test_embeddings_are_alike_from_a_cosine_of_098_on"),
    Rule("D18 not all pairs were compared", "audit/copies.py", "    if crowded:\n", "    if False:\n", "test_audit.py::test_pictures_too_many_of_which_share_a_part_of_their_hash_are_counted"),
    Rule("D18 from 256 pairs a picture on", "likeness.py", "PAIRS_PER_PICTURE = 256\n", "PAIRS_PER_PICTURE = 257\n", "test_rules.py::test_that_not_all_near_copies_were_looked_for_is_said_from_256_pairs_a_picture_on"),
    Rule("a rule that lacks what it looks at has not found nothing", "audit/__init__.py", "for rule in RULES if rule not in unknown", "for rule in RULES", "test_audit.py::test_without_groups_and_below_60_images_nothing_is_said_of_them"),
    Rule("with folds, what may share no image are the folds", "audit/examined.py", 'if "fold" in self.table.column_names and', "if False and", "test_audit.py::test_copies_and_groups_across_the_folds_of_a_file_are_found"),
    Rule("exclusions: unreadable files", "audit/files.py", '"exclude": [image.path for image in unreadable],', "", "test_audit.py::test_unreadable_files_are_listed_with_their_reason"),
    Rule("exclusions: all files of a label conflict", "audit/copies.py", '{"images": len(conflicts)}, np.concatenate(conflicts))', '{"images": len(conflicts)})', "test_audit.py::test_one_image_in_two_classes_is_a_conflict"),
    Rule("exclusions: of leaks the copies that training sees", "audit/copies.py", "group[sides[group] < sides[group].max()]", "group[sides[group] > sides[group].min()]", "test_audit.py::test_copies_across_splits_are_an_error_and_the_copy_that_training_sees_is_to_go"),
    Rule("exit code 3 where a finding is an error", "cli/check.py", "    if errors:\n", "    if False:\n", "cli/test_check.py::test_the_exit_code_is_3_for_errors_alone"),
    Rule("before a run only what cannot wait is said", "audit/__init__.py", "        if level is not None:\n", "        if True:\n", "test_audit.py::test_before_a_run_only_what_cannot_wait_is_said"),
    Rule("the evidence names test images with copies among those learned from", "audit/copies.py", 'evidence["leaks"] = _learned_from(images, crossing, sides)', 'evidence["leaks"] = {}', "test_audit.py::test_before_a_run_only_what_cannot_wait_is_said"),
    Rule("D10 after a run: who corrected for it is not advised to", "audit/__init__.py", "return tuple(replace(one, fix=fix) if one.code == IMBALANCE.code else one for one in findings)", "return tuple(findings)", "report/test_findings_beside_predictions.py::test_who_corrected_for_unequal_classes_is_not_advised_to_afterwards"),
]  # fmt: skip

RULES = {"Sources": SOURCES, "Decoding": DECODING, "Splits and weights": SPLITS, "Audit": AUDIT}
