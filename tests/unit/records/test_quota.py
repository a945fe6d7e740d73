"""A quota that is used up, on any kernel: the C library's own `write` answers EDQUOT."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads a library as Linux does")
def test_a_quota_is_one_error_and_what_was_there_stays(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the library that plays the quota")
    (tmp_path / "quota.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "quota.so", "quota.c", "-ldl"], cwd=tmp_path, check=True)
    (tmp_path / "run").mkdir()
    limited = os.environ | {"LD_PRELOAD": str(tmp_path / "quota.so"), "QUOTA_FOLDER": str((tmp_path / "run").resolve())}
    ended = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")], env=limited, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    said, left = ended.stdout.splitlines()
    assert "cannot be written" in said
    assert "quota" in said.lower()
    assert left == "['small.json', 'state'] b'old'"
