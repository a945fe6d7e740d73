"""Names of strangers on a terminal."""

import json
import re

# C0 and C1, what changes the direction of text, ends lines, or is half a character.
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text as one line of a terminal, on which it moves nothing: what controls is written as JSON escapes it.

    A line of JSON remains the same JSON.

    Args:
        text: of a stranger, e.g. the name of a class or file.
    """
    return _CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1], text)
