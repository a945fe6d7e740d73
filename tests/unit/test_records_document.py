"""docs/records.md and docs/recipes.md say what records and recipes hold."""

import ast
import dataclasses
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

import retop.recipe
import retop.records
import retop.records.plan
from retop.artifact.config import write_config
from retop.pipeline import RunFolder
from retop.training.tracking import MLFLOW, TENSORBOARD

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = ("RunRecord", "EpochRecord", "ComparisonRecord", "PlanRecord", "AuditRecord", "HeatMapRecord", "TrainedRecord")
NOT_ON_DISK = {"Acceptance", "FinishedComparison", "FinishedRun", "Predictions"}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_records", CHECKOUT / "docs" / "generate_records.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_documents_are_up_to_date(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_check_refuses_a_stale_document_and_names_it(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main([], tmp_path) == 0
    assert generator.main(["--check"], tmp_path) == 0
    page = tmp_path / "recipes.md"
    page.write_text(page.read_text("utf-8").replace("stage2.patience", "stage2.endurance"), encoding="utf-8")
    assert generator.main(["--check"], tmp_path) == 1
    assert "recipes.md" in capsys.readouterr().err
    page.unlink()
    assert generator.main(["--check"], tmp_path) == 1


def test_the_tree_names_everything_that_a_comparison_can_leave() -> None:
    tree = (CHECKOUT / "docs" / "records.md").read_text("utf-8").split("```")[1]
    run = RunFolder(Path())
    files = (run.run, run.epochs, run.predictions, run.checkpoints, run.model)
    missing = [name for name in (*(file.name for file in files), TENSORBOARD, MLFLOW) if f"  {name}" not in tree]
    assert missing == []


def test_every_field_on_disk_has_a_docstring(generator: ModuleType) -> None:
    records = generator.read_records()
    silent = [
        f"{r.name}.{f.name}" for r in records.values() if r.name not in NOT_ON_DISK for f in r.fields if not f.about
    ]
    assert silent == []


def test_every_number_has_a_unit(generator: ModuleType) -> None:
    records = generator.read_records()
    fields = [(r.name, f) for r in records.values() if r.name not in NOT_ON_DISK for f in r.fields]
    lacking = [
        f"{record}.{field.name}"
        for record, field in fields
        if generator.holds_number(field.annotation)
        and not {field.name, f"{record}.{field.name}"} & set(generator.UNITS)
    ]
    assert lacking == []


def test_no_unit_is_given_to_a_field_that_is_gone(generator: ModuleType) -> None:
    fields = [(record.name, field.name) for record in generator.read_records().values() for field in record.fields]
    known = {name for _, name in fields} | {f"{record}.{name}" for record, name in fields}
    assert set(generator.UNITS) - known == set()


def test_every_field_of_every_record_on_disk_is_in_the_document(generator: ModuleType) -> None:
    records = generator.read_records()
    names = {name for root in ROOTS for name in (root, *generator.nested_records(records[root], records))}
    assert names == set(records) - NOT_ON_DISK
    page = (CHECKOUT / "docs" / "records.md").read_text("utf-8")
    for name in names:
        kind = getattr(retop.records, name, None) or getattr(retop.recipe, name)
        fields = [field.name for field in dataclasses.fields(kind)]
        assert [field.name for field in records[name].fields] == fields
        for field in fields:
            assert f"| `{field}` |" in page, f"{name}.{field}"


def test_every_column_of_the_predictions_is_in_the_document(generator: ModuleType) -> None:
    columns = generator.read_columns("predictions")
    assert [name for name, _, _ in columns] == retop.records.PREDICTIONS_SCHEMA.names
    assert all(meaning for _, _, meaning in columns)


def test_every_key_of_a_model_folder_is_in_the_document(generator: ModuleType) -> None:
    source = inspect.getsource(write_config)
    written = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict))
    assert [key for key, _, _ in generator.TIMM_KEYS] == [ast.literal_eval(key) for key in written.keys]


def test_the_defaults_in_the_document_are_those_of_the_recipe(generator: ModuleType) -> None:
    known = generator.read_records()
    written = {row[0].strip("`"): row[3].strip("`") for row in generator.recipe_rows(known["Recipe"], known)}
    recipe = retop.recipe.Recipe()
    for key, shown in written.items():
        value = recipe
        for part in key.split("."):
            value = getattr(value, part)
        plain = list(value) if isinstance(value, tuple) else value
        assert shown == ("null" if plain is None else str(plain)), key
