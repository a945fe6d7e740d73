"""The public functions; the command line calls them and prints.

A function reads its arguments, hands them to the parts below, and has the docstring that users read.
"""

from retop.api.auditing import check
from retop.api.comparing import Comparison, compare, resume
from retop.api.demo import demo_data
from retop.api.models import evaluate, explain, load
from retop.api.planning import plan
from retop.api.reporting import diagnose, write_report
from retop.api.sharing import export, push, serve
from retop.api.training import pretrain, train

__all__ = [
    "Comparison",
    "check",
    "compare",
    "demo_data",
    "diagnose",
    "evaluate",
    "explain",
    "export",
    "load",
    "plan",
    "pretrain",
    "push",
    "resume",
    "serve",
    "train",
    "write_report",
]
