"""Several runs on the same data, ranked with ties."""

from retop.comparison.compare import compare_backbones
from retop.comparison.request import ComparisonRequest
from retop.comparison.schedule import make_plan

__all__ = ["ComparisonRequest", "compare_backbones", "make_plan"]
