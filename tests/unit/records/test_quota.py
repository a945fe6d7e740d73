"""A quota that is used up, on any kernel: the C library's own `write` answers EDQUOT."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[2]
# Lets 4 KiB through for every file below the folder named in QUOTA_FOLDER.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t write(int descriptor, const void *content, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    char link[64], place[PATH_MAX] = {0};
    struct stat status;
    const char *folder = getenv("QUOTA_FOLDER");
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    if (folder && readlink(link, place, sizeof place - 1) > 0 && !strncmp(place, folder, strlen(folder))
        && !fstat(descriptor, &status) && status.st_size + (long)count > 4096) { errno = EDQUOT; return -1; }
    return real(descriptor, content, count);
}
"""

WRITER = """
import sys
from pathlib import Path
from retop.errors import OutputError
from retop.records.storing import writing, write_record
from retop.schema import write_bytes

folder = Path(sys.argv[1])
write_bytes(folder / "state", b"old")
write_record(folder / "small.json", {"fits": True})
try:
    with writing(folder):
        write_bytes(folder / "state", bytes(2**16))
except OutputError as error:
    print(error)
print(sorted(path.name for path in folder.iterdir()), (folder / "state").read_bytes())
"""


# The quota is used up in stage 2, and somebody frees space before the run goes on.
RUN = """
import math, os, sys
from pathlib import Path
from images import write_split_shapes
from retop.activations import ActivationStore
from retop.data import open_dataset
from retop.errors import OutputError
from retop.recipe import DataRecipe
from retop.training import checkpoints
from small_runs import logits, model_bytes, run_small, saved_epochs, without_clock, write_weights

checkpoints.LARGEST_OVERHEAD = math.inf
run, whole = Path(sys.argv[1]), Path(sys.argv[1] + " whole")
shapes = open_dataset(write_split_shapes(Path(sys.argv[1] + " shapes"), train=6, validation=3), DataRecipe())
write_weights(Path(sys.argv[1] + " weights"), "test_resnet", 64)
arguments = {"weights": sys.argv[1] + " weights", "store": ActivationStore()}

def use_up(event):
    if getattr(event, "part", "").endswith("stage 2"):
        os.environ["QUOTA_FOLDER"] = str(run)

run_small(whole, shapes, **arguments)
try:
    run_small(run, shapes, listener=use_up, **arguments)
except OutputError as error:
    print(error)
del os.environ["QUOTA_FOLDER"]
print(len(list(run.glob("checkpoints/*.safetensors"))), (run / "model").exists())
run_small(run, shapes, **arguments)
for each in (run, whole):
    answers = {path: row.tobytes() for path, row in logits(each).items()}
    print(hash((model_bytes(each), str(answers), str([without_clock(epoch) for epoch in saved_epochs(each)]))))
"""


@pytest.fixture(scope="module")
def quota(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library."""
    compiler, folder = shutil.which("cc"), tmp_path_factory.mktemp("quota")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, and a system that preloads libraries as Linux does")
    (folder / "quota.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "quota.so", "quota.c", "-ldl"], cwd=folder, check=True)
    return folder / "quota.so"


def lines_of(program: str, quota: Path, run: Path, **more: str) -> list[str]:
    """What a program says for which the quota holds."""
    paths = (str(TESTS), os.environ.get("PYTHONPATH", ""))
    limited = os.environ | {"LD_PRELOAD": str(quota), "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(run)], env=limited, capture_output=True, text=True,
        check=False, timeout=250,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_run_that_used_up_its_quota_goes_on_bit_by_bit(quota: Path, tmp_path: Path) -> None:
    said, left, resumed, whole = lines_of(RUN, quota, (tmp_path / "run").resolve())
    assert "cannot be written" in said
    assert "quota" in said.lower()
    # Stage 1 was saved before.
    assert left in ("1 False", "2 False")
    assert resumed == whole


def test_a_quota_is_one_error_and_what_was_there_stays(quota: Path, tmp_path: Path) -> None:
    run = (tmp_path / "run").resolve()
    run.mkdir()
    said, left = lines_of(WRITER, quota, run, QUOTA_FOLDER=str(run))
    assert "cannot be written" in said
    assert "quota" in said.lower()
    assert left == "['small.json', 'state'] b'old'"
