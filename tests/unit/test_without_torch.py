"""What runs without torch, checked where it counts: in a fresh process, whatever is imported on the way."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "lightning_fabric")
IMPORT_ALL = """
import importlib, pkgutil, sys
part = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(getattr(part, "__path__", []), part.__name__ + "."):
    importlib.import_module(module.name)
print(",".join(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize("part", ["evaluation", "report", "records", "recipe", "schema", "serving.decoder"])
def test_every_module_of_a_part_is_imported_without_torch(part: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, f"retop.{part}", *HEAVY], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
