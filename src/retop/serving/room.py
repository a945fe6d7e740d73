"""How much requests in progress may hold together; what is more is refused at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from retop.serving.limits import Limits
from retop.serving.metrics import ServerMetrics

LONGEST_WAIT_SECONDS = 60


class Room:
    """Images and bytes of all requests in progress.

    Args:
        limits: of the server.
        metrics: of the server.
    """

    def __init__(self, limits: Limits, metrics: ServerMetrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self.num_images = 0
        self.num_bytes = 0
        self._seconds_per_image = 0.05

    @contextmanager
    def enter(self) -> Iterator["Place"]:
        """A place with one image, until the request is answered or given up.

        Yields:
            The place.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        place = Place(self)
        try:
            place.take(num_images=1)
            yield place
        finally:
            self._change(-place.num_images, -place.num_bytes)

    def note_speed(self, seconds_per_image: float) -> None:
        """Remember how fast the network is, for Retry-After."""
        self._seconds_per_image += 0.1 * (seconds_per_image - self._seconds_per_image)

    def allow(self, num_images: int, num_bytes: int) -> None:
        """Make room, or refuse at once.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        images = self.num_images + num_images > self._limits.waiting_images
        if images or self.num_bytes + num_bytes > self._limits.waiting_bytes:
            held = f"{self.num_images} images" if images else f"{self.num_bytes:,} bytes"
            seconds = min(max(1, round(self.num_images * self._seconds_per_image)), LONGEST_WAIT_SECONDS)
            raise HTTPException(429, f"{held} are waiting already", {"Retry-After": str(seconds)})
        self._change(num_images, num_bytes)

    def _change(self, num_images: int, num_bytes: int) -> None:
        self.num_images += num_images
        self.num_bytes += num_bytes
        self._metrics.waiting.set(self.num_images)
        self._metrics.waiting_bytes.set(self.num_bytes)


class Place:
    """What one request holds.

    Args:
        room: of all requests.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.num_images = 0
        self.num_bytes = 0

    def take(self, num_images: int = 0, num_bytes: int = 0) -> None:
        """Hold more.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        self._room.allow(num_images, num_bytes)
        self.num_images += num_images
        self.num_bytes += num_bytes
