"""retop: replace the top of a pretrained network, thaw what lies beneath."""

__version__ = "0.1.0"
