"""Other formats, each proven by a parity check in its own runtime."""

from retop.export.exporting import FORMATS, Exported, ExportRequest, Format, export_model

__all__ = ["FORMATS", "ExportRequest", "Exported", "Format", "export_model"]
