"""Images and labels: where they lie, what they hold, how they are split, decoded and viewed."""

from typing import TYPE_CHECKING, Any

from retop.data.dataset import Dataset, ImageSet
from retop.data.decoding import decode_image
from retop.data.opening import open_dataset, open_evaluation
from retop.data.sources import ImageSource, open_source
from retop.data.views import augmented_view, evaluation_view, preprocess_bytes, view_of

if TYPE_CHECKING:
    from retop.data.batches import decode_batches

__all__ = [
    "Dataset",
    "ImageSet",
    "ImageSource",
    "augmented_view",
    "decode_batches",
    "decode_image",
    "evaluation_view",
    "open_dataset",
    "open_evaluation",
    "open_source",
    "preprocess_bytes",
    "view_of",
]


def __getattr__(name: str) -> Any:
    # Batches are tensors; everything else here works without loading torch.
    if name == "decode_batches":
        from retop.data.batches import decode_batches

        return decode_batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
