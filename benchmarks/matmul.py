"""How fast this machine multiplies matrices: the yardstick of the prefix."""

import time

import torch

SIZES = (512, 1024, 2048, 4096)
SECONDS_PER_SIZE = 2.0
SLOWEST_SECONDS = 1.5
"""A size is not tried where a product would take longer than this."""


def measure_matmul(dtype: torch.dtype, device: str = "cpu") -> float:
    """The best rate over several sizes.

    Args:
        dtype: of both factors and of the product.
        device: ``cpu`` or ``cuda``.

    Returns:
        Floating-point operations per second; a multiply-add counts as two.
    """
    best = 0.0
    for size in SIZES:
        fastest = _fastest_product(size, dtype, device)
        best = max(best, 2 * size**3 / fastest)
        if 8 * fastest > SLOWEST_SECONDS:
            break
    return best


def _fastest_product(size: int, dtype: torch.dtype, device: str) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    fastest, ends = float("inf"), time.perf_counter() + SECONDS_PER_SIZE
    while True:
        started = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - started)
        if time.perf_counter() > ends:
            return fastest


if __name__ == "__main__":
    for kind in (torch.float32, torch.bfloat16):
        print(f"{kind}: {measure_matmul(kind) / 1e9:.0f} GFLOP/s")
