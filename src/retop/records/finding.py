"""Findings: what the audit of the data and the diagnosis of a run have to say."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """One thing a user should know: what was seen, why it matters, what to do."""

    code: str
    """Stable code of the rule, such as ``D03``: a letter for its part (``D`` data), and a number."""

    name: str
    """The rule in a few words, such as ``copies across splits``."""

    severity: Literal["error", "warning", "note"]
    """``error``: results are wrong or impossible until it is mended; ``warning``: they may mislead; ``note``: worth
    knowing."""

    seen: str
    """What was seen, in words, with its numbers and their n."""

    why: str
    """Why it matters."""

    fix: str
    """What to do: the exact option, or the change to the data."""

    evidence: dict[str, Any] = field(default_factory=dict)
    """The plain data behind `seen`, as JSON holds it. ``files``, where there are any, is a list of groups, each a list
    of paths that belong together; other keys are numbers or texts, named by the rule."""

    suspected: bool = False
    """Whether the cause is suspected only, because nothing isolated it."""

    isolating_test: str | None = None
    """What would isolate the cause, in words; None where nothing is left to be isolated."""

    references: tuple[str, ...] = ()
    """Papers, specifications or pages behind the rule."""
