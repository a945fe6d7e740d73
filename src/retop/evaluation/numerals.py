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
    return f"{number:,} {word(number, singular, plural or singular + 's')}"


def word(number: int, singular: str, plural: str) -> str:
    """What agrees with a number: ``"is"`` with 1, ``"are"`` with others."""
    return singular if number == 1 else plural


def listing(names: tuple[str, ...], most: int = 5) -> str:
    """Names in a sentence: ``"a, b and c"``, ``"a, b and 7 more"``."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def seconds(value: float) -> str:
    """A duration: ``"0.4 s"``, ``"35 s"``, ``"4 min 10 s"``, ``"2 h 5 min"``."""
    whole = round(value)
    if whole < 1:
        return f"{value:.1f} s"
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: float) -> str:
    """A size in binary units: ``"512 B"``, ``"392 KiB"``, ``"1.4 GiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1000:
            break
        num_bytes, unit = num_bytes / 1024, {"B": "KiB", "KiB": "MiB", "MiB": "GiB", "GiB": "TiB"}[unit]
    return f"{num_bytes:.0f} {unit}" if num_bytes >= 10 or unit == "B" else f"{num_bytes:.1f} {unit}"


def short(number: float) -> str:
    """A large number in three digits: ``"14.7 M"``, ``"2.56 k"``."""
    for power, unit in ((9, " G"), (6, " M"), (3, " k")):
        if abs(number) >= 0.9995 * 10**power:
            return (
                f"{number / 10**power:.3g}{unit}" if number < 999.5 * 10**power else f"{number / 10**power:.0f}{unit}"
            )
    return f"{number:.0f}"


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
