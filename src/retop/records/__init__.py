"""What a run leaves on disk, as frozen dataclasses: the waist that everything after training reads.

`docs/records.md` is generated from the docstrings in this package.
"""

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
from retop.records.isolation import (
    BATCH_STATISTICS,
    DepthResult,
    IsolationRecord,
    SampleResult,
    SkippedTest,
    SureAnswers,
    SuspectedLabel,
)
from retop.records.metrics import CalibratedMetrics, ClassMetrics, Interval, Metrics, MissedImage, SeedSummary
from retop.records.network import GroupRecord, NetworkRecord, Preprocessing, WeightsRecord
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
    "write_predictions",
    "write_record",
    "write_split",
]
