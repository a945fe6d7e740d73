"""The file that a benchmark leaves, written anew after every measurement."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from bars import Verdict, judge
from hardware import Hardware
from processes import Outcome
from spec import write_json

VERSION = 1


class Results:
    """Measurements of one machine under one set of settings; measuring again replaces the earlier figure.

    Args:
        path: of the JSON file; measurements that it holds are kept.
        hardware: this machine.
        settings: what was asked for, as plain data.

    Raises:
        SystemExit: the file is of another machine or other settings.
    """

    def __init__(self, path: Path, hardware: Hardware, settings: dict[str, Any]) -> None:
        self.path = path
        self.hardware = hardware
        self.settings = settings
        self.measurements: list[dict[str, Any]] = []
        if path.exists():
            self._continue(json.loads(path.read_text(encoding="utf-8")))
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, backbone: str, side: str, views: int, outcome: Outcome) -> None:
        """Keep one measurement and write the file."""
        identity = {"backbone": backbone, "side": side, "views": views}
        others = [one for one in self.measurements if any(one[key] != value for key, value in identity.items())]
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        measurement = {**identity, "measured": now, **asdict(outcome)}
        self.measurements = [*others, measurement]
        write_json(self.path, self.plain())

    def find(self, backbone: str, side: str, views: int) -> dict[str, Any] | None:
        """One measurement, or None where it was not made."""
        wanted = (backbone, side, views)
        return next((one for one in self.measurements if (one["backbone"], one["side"], one["views"]) == wanted), None)

    def result(self, backbone: str, side: str, views: int) -> dict[str, Any] | None:
        """What a side measured; None where it failed or was not run."""
        found = self.find(backbone, side, views)
        return found["result"] if found else None

    @property
    def backbones(self) -> list[str]:
        """Those with a measurement, in the order of the settings."""
        measured = {one["backbone"] for one in self.measurements}
        return [name for name in self.settings["order"] if name in measured]

    @property
    def judged(self) -> bool:
        """Whether this machine and these settings are those the bars were set for."""
        return self.hardware.native_bfloat16 and not self.settings["quick"] and self.settings["device"] == "cpu"

    def verdicts(self) -> list[Verdict]:
        """All bars."""
        found = []
        for backbone in self.backbones:
            sides = {side: self.result(backbone, side, 1) for side in ("ours", "plain_torch", "keras_tf")}
            seconds = {side: result["seconds"] for side, result in sides.items() if result}
            found += judge(backbone, seconds, self.result(backbone, "prefix", 1), self.judged)
        return found

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "version": VERSION,
            "hardware": asdict(self.hardware),
            "settings": self.settings,
            "bars_judged": self.judged,
            "bars": [asdict(verdict) for verdict in self.verdicts()] if self.settings["device"] == "cpu" else [],
            "measurements": self.measurements,
        }

    def _continue(self, earlier: dict[str, Any]) -> None:
        same = earlier["hardware"]["processor"] == self.hardware.processor and earlier["settings"] == self.settings
        if not same:
            raise SystemExit(
                f"{self.path} holds measurements of another machine or with other settings; give another --out"
            )
        self.measurements = earlier["measurements"]
