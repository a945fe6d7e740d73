"""One run from data to model folder."""

from retop.pipeline.request import RunFolder, RunRequest, Setting, probe_request, scratch_request
from retop.pipeline.run import run_backbone
from retop.records.lock import is_held, only_process_in, refuse_if_held

__all__ = [
    "RunFolder",
    "RunRequest",
    "Setting",
    "is_held",
    "only_process_in",
    "probe_request",
    "refuse_if_held",
    "run_backbone",
    "scratch_request",
]
