"""Numbers as people read them, with no more digits than n supports."""

from retop.records import Interval


def percent(fraction: float, n: int) -> str:
    """A fraction in percent.

    Args:
        fraction: 0 to 1.
        n: images behind it; up to 100 of them support whole percents, up to 10,000 one decimal.

    Returns:
        E.g. ``"90 %"`` or ``"97.5 %"``. Only 1 is shown as 100 % and only 0 as 0 %.
    """
    return f"{_bare(fraction, n)} %"


def percent_range(interval: Interval, n: int) -> str:
    """The ends of an interval in percent.

    Args:
        interval: of a fraction.
        n: images behind it.

    Returns:
        E.g. ``"60 to 98 %"``.
    """
    return f"{_bare(interval.low, n)} to {_bare(interval.high, n)} %"


def points(difference: float, n: int) -> str:
    """A difference of two fractions in percentage points, with its sign.

    Args:
        difference: -1 to 1.
        n: images behind it.

    Returns:
        E.g. ``"+2.5"`` or ``"-10"``.
    """
    text = f"{100 * difference:+.{_decimals(n)}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def p_value(p: float) -> str:
    """A p-value with its relation: ``"p = 0.012"`` or ``"p < 0.001"``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: ``"1 image"``, ``"2,000 images"``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listing(names: tuple[str, ...], most: int = 5) -> str:
    """Names in a sentence: ``"a, b and c"``, ``"a, b and 7 more"``."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _bare(fraction: float, n: int) -> str:
    decimals = _decimals(n)
    text = f"{100 * fraction:.{decimals}f}"
    if fraction < 1 and float(text) == 100:
        text = f"{100 - 10**-decimals:.{decimals}f}"
    if fraction > 0 and float(text) == 0:
        text = f"{10**-decimals:.{decimals}f}"
    return text


def _decimals(n: int) -> int:
    return 0 if n <= 100 else 1 if n <= 10_000 else 2
