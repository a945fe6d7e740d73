"""How much requests in progress may hold together; what is more is refused at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import HTTPException
from starlette.types import Receive

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
        self._places: set[Place] = set()

    @property
    def num_requests(self) -> int:
        """Requests in progress."""
        return len(self._places)

    @property
    def full_queue_seconds(self) -> float:
        """Time that the network needs for as many images as may wait."""
        return self._limits.waiting_images * self._seconds_per_image

    @asynccontextmanager
    async def enter(self) -> AsyncIterator["Place"]:
        """A place, until the request is answered or given up.

        It holds nothing before something has arrived, so that bodies that never do keep nobody out.

        Yields:
            The place.

        Raises:
            HTTPException: 429 with Retry-After, or what the place was given up for.
        """
        clock = asyncio.timeout(None)
        place = Place(self, clock)
        try:
            self.judge(num_images=1)
            async with clock:
                self._places.add(place)
                try:
                    yield place
                finally:
                    self._places.remove(place)
        except TimeoutError as error:
            if place.refusal is None:
                raise
            raise place.refusal from error
        finally:
            place.leave()
            self.change(-place.num_images, -place.num_bytes)

    def give_up(self, refusal: HTTPException) -> None:
        """Answer every request in progress with a refusal; see `Place.give_up`."""
        for place in list(self._places):
            place.give_up(refusal)

    def expect_speed(self, seconds_per_image: float) -> None:
        """Begin with how fast the network was before any request."""
        self._seconds_per_image = seconds_per_image

    def note_speed(self, seconds_per_image: float) -> None:
        """Remember how fast the network is, for Retry-After."""
        self._seconds_per_image += 0.1 * (seconds_per_image - self._seconds_per_image)

    def judge(self, num_images: int = 0, num_bytes: int = 0) -> None:
        """Refuse what there is no room for now.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        images = self.num_images + num_images > self._limits.waiting_images
        if images or self.num_bytes + num_bytes > self._limits.waiting_bytes:
            held = f"{self.num_images} images" if images else f"{self.num_bytes:,} bytes"
            seconds = min(max(1, round(self.num_images * self._seconds_per_image)), LONGEST_WAIT_SECONDS)
            raise HTTPException(429, f"{held} are waiting already", {"Retry-After": str(seconds)})

    def change(self, num_images: int, num_bytes: int) -> None:
        """Hold more, or less."""
        self.num_images += num_images
        self.num_bytes += num_bytes
        self._metrics.waiting.set(self.num_images)
        self._metrics.waiting_bytes.set(self.num_bytes)


class Place:
    """What one request holds.

    Args:
        room: of all requests.
        clock: around all that the request does; it has no end yet.
    """

    def __init__(self, room: Room, clock: asyncio.Timeout) -> None:
        self._room = room
        self._clock = clock
        self.num_images = 0
        self.num_bytes = 0
        self.refusal: HTTPException | None = None
        self._watching: asyncio.Task[None] | None = None

    def give_up(self, refusal: HTTPException) -> None:
        """End what the request does where it stands; what waits for its turn never gets it.

        Args:
            refusal: the answer.
        """
        if self.refusal is None:
            self.refusal = refusal
            self._clock.reschedule(asyncio.get_running_loop().time())

    def watch(self, receive: Receive) -> None:
        """Give up as soon as the client goes away, so that nothing is computed for nobody.

        Args:
            receive: of the request, whose body has been read.
        """

        async def wait_until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                continue
            self.give_up(HTTPException(400, "the client went away"))

        self._watching = asyncio.create_task(wait_until_gone())

    def leave(self) -> None:
        """The request is answered or given up."""
        if self._watching is not None:
            self._watching.cancel()

    def judge(self, num_images: int = 0, num_bytes: int = 0) -> None:
        """Whether there would be room for more now.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        self._room.judge(num_images, num_bytes)

    def take(self, num_images: int = 0, num_bytes: int = 0) -> None:
        """Hold more.

        Raises:
            HTTPException: 429 with Retry-After.
        """
        self.judge(num_images, num_bytes)
        self._room.change(num_images, num_bytes)
        self.num_images += num_images
        self.num_bytes += num_bytes
