"""What a run leaves on disk, as frozen dataclasses: the waist that everything after training reads.

`docs/records.md` is generated from the docstrings in this package. Names are imported on first use: who needs the
record of a network waits for no Arrow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retop.records.audit import AuditRecord, leaked_test_images
    from retop.records.calibration import Acceptance, AcceptancePoint, Calibration
    from retop.records.comparison import ComparisonRecord, ComparisonRow, FailedRun, PairedComparison
    from retop.records.finding import Finding
    from retop.records.finished import (
        FinishedComparison,
        FinishedRun,
        kind_of_folder,
        read_finished_comparison,
        read_finished_run,
    )
    from retop.records.heatmap import HeatMap, HeatMapRecord
    from retop.records.imbalance import ClassShare, class_shares, describe_shares, shares_of
    from retop.records.isolation import (
        BATCH_STATISTICS,
        DepthResult,
        IsolationRecord,
        KeptStatistics,
        SampleResult,
        SkippedTest,
        SureAnswers,
        SuspectedLabel,
    )
    from retop.records.metrics import CalibratedMetrics, ClassMetrics, Interval, Metrics, MissedImage, SeedSummary
    from retop.records.network import GroupRecord, NetworkRecord
    from retop.records.plan import STORED_PARTS, PlannedPart, PlannedRun, PlanRecord
    from retop.records.predictions import (
        PREDICTIONS_SCHEMA,
        Predictions,
        merge_predictions,
        read_predictions,
        write_predictions,
    )
    from retop.records.run import (
        DataRecord,
        Environment,
        EpochRecord,
        RunRecord,
        SplitRecord,
        StageRecord,
        TimingRecord,
        UnreadableImage,
        read_epochs,
    )
    from retop.records.split import SPLIT, SPLIT_SCHEMA, read_split, recorded_contents, write_split
    from retop.records.storing import read_record, write_record
    from retop.records.trained import MODEL_FOLDER_VERSION, TrainedRecord, problem_of_classes
    from retop.records.weights import Preprocessing, WeightsRecord

_HOMES = {
    "Acceptance": "calibration",
    "AcceptancePoint": "calibration",
    "AuditRecord": "audit",
    "BATCH_STATISTICS": "isolation",
    "CalibratedMetrics": "metrics",
    "Calibration": "calibration",
    "ClassMetrics": "metrics",
    "ClassShare": "imbalance",
    "ComparisonRecord": "comparison",
    "ComparisonRow": "comparison",
    "DataRecord": "run",
    "DepthResult": "isolation",
    "Environment": "run",
    "EpochRecord": "run",
    "FailedRun": "comparison",
    "Finding": "finding",
    "FinishedComparison": "finished",
    "FinishedRun": "finished",
    "GroupRecord": "network",
    "HeatMap": "heatmap",
    "HeatMapRecord": "heatmap",
    "Interval": "metrics",
    "IsolationRecord": "isolation",
    "KeptStatistics": "isolation",
    "MODEL_FOLDER_VERSION": "trained",
    "Metrics": "metrics",
    "MissedImage": "metrics",
    "NetworkRecord": "network",
    "PREDICTIONS_SCHEMA": "predictions",
    "PairedComparison": "comparison",
    "PlanRecord": "plan",
    "PlannedPart": "plan",
    "PlannedRun": "plan",
    "Predictions": "predictions",
    "Preprocessing": "weights",
    "RunRecord": "run",
    "SPLIT": "split",
    "SPLIT_SCHEMA": "split",
    "STORED_PARTS": "plan",
    "SampleResult": "isolation",
    "SeedSummary": "metrics",
    "SkippedTest": "isolation",
    "SplitRecord": "run",
    "StageRecord": "run",
    "SureAnswers": "isolation",
    "SuspectedLabel": "isolation",
    "TimingRecord": "run",
    "TrainedRecord": "trained",
    "UnreadableImage": "run",
    "WeightsRecord": "weights",
    "class_shares": "imbalance",
    "describe_shares": "imbalance",
    "kind_of_folder": "finished",
    "leaked_test_images": "audit",
    "merge_predictions": "predictions",
    "problem_of_classes": "trained",
    "read_epochs": "run",
    "read_finished_comparison": "finished",
    "read_finished_run": "finished",
    "read_predictions": "predictions",
    "read_record": "storing",
    "read_split": "split",
    "recorded_contents": "split",
    "shares_of": "imbalance",
    "write_predictions": "predictions",
    "write_record": "storing",
    "write_split": "split",
}

__all__ = [
    "BATCH_STATISTICS",
    "MODEL_FOLDER_VERSION",
    "PREDICTIONS_SCHEMA",
    "SPLIT",
    "SPLIT_SCHEMA",
    "STORED_PARTS",
    "Acceptance",
    "AcceptancePoint",
    "AuditRecord",
    "CalibratedMetrics",
    "Calibration",
    "ClassMetrics",
    "ClassShare",
    "ComparisonRecord",
    "ComparisonRow",
    "DataRecord",
    "DepthResult",
    "Environment",
    "EpochRecord",
    "FailedRun",
    "Finding",
    "FinishedComparison",
    "FinishedRun",
    "GroupRecord",
    "HeatMap",
    "HeatMapRecord",
    "Interval",
    "IsolationRecord",
    "KeptStatistics",
    "Metrics",
    "MissedImage",
    "NetworkRecord",
    "PairedComparison",
    "PlanRecord",
    "PlannedPart",
    "PlannedRun",
    "Predictions",
    "Preprocessing",
    "RunRecord",
    "SampleResult",
    "SeedSummary",
    "SkippedTest",
    "SplitRecord",
    "StageRecord",
    "SureAnswers",
    "SuspectedLabel",
    "TimingRecord",
    "TrainedRecord",
    "UnreadableImage",
    "WeightsRecord",
    "class_shares",
    "describe_shares",
    "kind_of_folder",
    "leaked_test_images",
    "merge_predictions",
    "problem_of_classes",
    "read_epochs",
    "read_finished_comparison",
    "read_finished_run",
    "read_predictions",
    "read_record",
    "read_split",
    "recorded_contents",
    "shares_of",
    "write_predictions",
    "write_record",
    "write_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
