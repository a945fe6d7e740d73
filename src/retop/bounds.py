"""What an image may be, on every route."""

PIXEL_LIMIT = 200_000_000
