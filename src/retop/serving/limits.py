"""How much of everything a server gives to one request, and to all."""

from dataclasses import dataclass

from retop.bounds import PIXEL_LIMIT
from retop.errors import UsageError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of a server; whatever exceeds one is refused with 413, 422 or 429 and changes nothing for the others."""

    body_bytes: int = 64 * MIB
    """Bytes of one request's body, however it is sent."""

    images: int = 32
    """Images in one request."""

    pixels: int = 50_000_000
    """Pixels of one image."""

    waiting_images: int = 256
    """Images of all requests whose body has arrived; more are answered 429 at once."""

    waiting_bytes: int = 256 * MIB
    """Bytes that have arrived of the bodies of all requests in progress; more are answered 429 at once. While a body is
    taken apart it needs up to four times its size."""

    heat_maps: int = 8
    """Heat maps of all requests in progress; more are answered 429 at once."""

    heat_map_seconds: float = 60.0
    """Time for which a heat map may wait for predictions, which go first, and be made; then it is answered 429."""

    decode_seconds: float = 10.0
    """Time for one image; a decoder that takes longer is killed."""

    decode_bytes: int = 1024 * MIB
    """Memory of one decoder process."""

    decoders: int = 2
    """Decoder processes."""

    header_seconds: float = 10.0
    """Time in which the header of a request has to arrive, the first one after the connection."""

    idle_connections: int = 256
    """Connections beyond those that a full queue has. When more come, the one that has been idle for longest is
    closed; there are fewer where the system allows fewer open files."""

    body_seconds: float = 60.0
    """Time in which a body has to arrive."""

    batch: int = 32
    """Images that the network sees at once, at most."""

    linger_seconds: float = 0.002
    """How long an image waits for company before the network runs; nobody waits while the network is busy anyway."""

    stop_seconds: float = 300.0
    """Most time for accepted requests after the signal to stop; the server ends as soon as all are answered. Whatever
    is left is answered 503. It suffices for a full queue of 256 images at 0.86 a second; once it has measured its
    models, the server says whether that suffices for them."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name == "linger_seconds" else 1e-9
            if value < least:
                raise UsageError(f"the limit {name} must be above 0; received {value}")
        if self.pixels > PIXEL_LIMIT:
            raise UsageError(
                f"no route takes images of more than {PIXEL_LIMIT:,} pixels; received --pixel-limit (pixels) "
                f"{self.pixels:,}"
            )
        for one, all_of_them in (("images", "waiting_images"), ("body_bytes", "waiting_bytes")):
            # Such a request would be told to come again for ever.
            if getattr(self, one) > getattr(self, all_of_them):
                raise UsageError(
                    f"one request may have {one} {getattr(self, one):,}, more than {all_of_them} "
                    f"{getattr(self, all_of_them):,} of all together; lower the first or raise the second"
                )
