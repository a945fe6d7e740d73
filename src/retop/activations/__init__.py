"""The activation store: what the frozen part of a network computes, computed once and kept."""

from retop.activations.fill import StoredView, store_features, store_views
from retop.activations.key import EntryKey, weights_digest
from retop.activations.layout import EntryRecord
from retop.activations.store import ActivationStore, Entry

__all__ = [
    "ActivationStore",
    "Entry",
    "EntryKey",
    "EntryRecord",
    "StoredView",
    "store_features",
    "store_views",
    "weights_digest",
]
