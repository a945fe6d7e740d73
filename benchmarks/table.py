"""Results as Markdown."""

from typing import Any

from results import Results

NAMES = {
    "ours": "retop",
    "ours_choosing": "retop, with range test and penalty grid",
    "plain_torch": "plain PyTorch",
    "plain_torch_tuned": "plain PyTorch, tuned",
    "keras_tf": "Keras on TensorFlow",
}
BUSY_CORES = 0.15
"""Work of other processes, in cores, above which the page warns."""


def write_page(results: Results) -> str:
    """The whole page.

    Args:
        results: at least one measurement.

    Returns:
        Markdown.
    """
    sections = [
        "# Benchmark results",
        _describe_machine(results),
        _describe_work(results),
        *(_describe_times(results, views) for views in results.settings["views"]),
        _describe_prefixes(results),
        _describe_bars(results) if results.settings["device"] == "cpu" else "",
        _describe_failures(results),
        _describe_versions(results),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_machine(results: Results) -> str:
    machine = results.hardware
    bfloat16 = "has" if machine.native_bfloat16 else "does not have"
    features = ", ".join(machine.features) or "unknown"
    lines = [
        f"- {machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, {machine.platform}, "
        f"Python {machine.python}",
        f"- CPU features: {features}; torch uses {machine.torch_capability}. This CPU {bfloat16} native bfloat16 "
        f"(AVX-512).",
    ]
    if machine.accelerator:
        lines.append(f"- {machine.accelerator}")
    busy = [one["other_cores"] or 0 for one in results.measurements]
    if max(busy, default=0) > BUSY_CORES:
        lines.append(
            f"- **The machine was not idle**: other processes used up to {max(busy):.1f} cores during a measurement, "
            f"so these figures cannot be relied on."
        )
    return "\n".join(lines)


def _describe_work(results: Results) -> str:
    settings = results.settings
    return (
        f"{settings['num_train']} training and {settings['num_validation']} validation images "
        f"({settings['images']}), epochs: {settings['head_epochs']} of the head, {settings['late_epochs']} of the "
        f"late layers; batches of {settings['batch_size']}, random weights, validation after every epoch, "
        f"{settings['device']}. Seconds run from the library being imported to the last validation being done. "
        f"A figure with ~ is calculated from a few measured steps per pass (n: images timed)."
    )


def _describe_times(results: Results, views: int) -> str:
    title = "Without augmentation" if views == 1 else f"With augmentation (retop: {views} stored views)"
    rows = []
    for backbone in results.backbones:
        ours = results.result(backbone, "ours", views)
        for side, name in NAMES.items():
            if (result := results.result(backbone, side, views)) is not None:
                rows.append(_time_row(backbone, name, result, ours))
    if not rows:
        return ""
    header = _row("backbone", "side", "seconds", "times retop", "s/epoch head", "s/epoch late", "n", "GiB")
    return "\n".join([f"## {title}", "", header, "|---|---|--:|--:|--:|--:|--:|--:|", *rows])


def _time_row(backbone: str, name: str, result: dict[str, Any], ours: dict[str, Any] | None) -> str:
    mark = "~" if result["extrapolated"] else ""
    ratio = f"{result['seconds'] / ours['seconds']:.1f}" if ours else ""
    epochs = [_epoch_seconds(result["stages"][stage]) for stage in ("head", "late")]
    memory = f"{result['peak_memory_bytes'] / 2**30:.1f}" if result["peak_memory_bytes"] else ""
    return _row(
        backbone, name, f"{mark}{result['seconds']:.0f}", ratio, *epochs, str(result["measured_images"]), memory
    )


def _epoch_seconds(stage: dict[str, Any]) -> str:
    return f"{stage['train_epoch_seconds'] + (stage['validation_seconds'] or 0):.3g}"


def _describe_prefixes(results: Results) -> str:
    found = {name: result for name in results.backbones if (result := results.result(name, "prefix", 1))}
    if not found:
        return ""
    lines = [
        "## The prefix",
        "",
        _row("backbone", "images/s", "GFLOP/s", "precision", "of its matmul rate", "decoding images/s"),
        "|---|--:|--:|---|--:|--:|",
        *(
            _row(
                name,
                f"{one['images_per_second']:.1f}",
                f"{one['gigaflops']:.0f}",
                one["precision"],
                f"{one['matmul_share']:.0%}",
                f"{one['decode_images_per_second']:.0f}",
            )
            for name, one in found.items()
        ),
        "",
        *(_describe_groups(name, one) for name, one in found.items()),
    ]
    return "\n".join(lines)


def _describe_groups(name: str, prefix: dict[str, Any]) -> str:
    groups = prefix["groups"]
    total = sum(group["milliseconds_per_image"] for group in groups)
    told = "; ".join(
        f"{group['name']} {group['milliseconds_per_image'] / total:.0%} of the time"
        + (f" at {group['matmul_share']:.0%}" if group["matmul_share"] is not None else "")
        for group in groups
    )
    measured = [group for group in groups if group["matmul_share"] is not None]
    worst = max(measured, key=lambda group: group["milliseconds_per_image"] * (1 - group["matmul_share"]))
    return (
        f"- {name} ({prefix['float32_matmul_gigaflops']:.0f} GFLOP/s float32 and "
        f"{prefix['bfloat16_matmul_gigaflops']:.0f} bfloat16 in matrix products): {told}. Most is lost in "
        f"{worst['name']}. Decoding alone would take {prefix['decode_share']:.0%} of the prefix's time"
        f"{', so it is not the bottleneck' if prefix['decode_share'] < 1 else ': **it is the bottleneck**'}."
    )


def _describe_bars(results: Results) -> str:
    if results.judged:
        judged = "This CPU is of the kind the bars were set for, so they are judged."
    elif results.settings["quick"]:
        judged = "This was a quick run, which shows that everything works and measures nothing: no bar is judged."
    else:
        judged = (
            "The bars were set on a 2-core CPU with native bfloat16 (AVX-512). This CPU does not have it, so the "
            "bars are reported and not judged."
        )
    rows = [
        _row(one.backbone, one.what, f"{one.bar:g}", f"{one.measured:.2f}" if one.measured else "", one.verdict)
        for one in results.verdicts()
    ]
    return "\n".join(["## Bars", "", judged, "", _row("backbone", "", "at least", "measured", ""), _rule(5), *rows])


def _describe_failures(results: Results) -> str:
    failed = [one for one in results.measurements if one["status"] != "measured"]
    told = [
        f"- {one['backbone']}, {one['side']}, {one['views']} views: {one['status']} after "
        f"{one['process_seconds']:.0f} s\n\n  ```\n  {one['error'].replace(chr(10), chr(10) + '  ')}\n  ```"
        for one in failed
    ]
    return "\n".join(["## Not measured", "", *told]) if told else ""


def _describe_versions(results: Results) -> str:
    versions: dict[str, dict[str, None]] = {}
    for one in results.measurements:
        for package, version in ((one["result"] or {}).get("versions") or {}).items():
            versions.setdefault(package, {})[version] = None
    told = ", ".join(f"{package} {' and '.join(found)}" for package, found in sorted(versions.items()))
    return f"Versions: {told}." if told else ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
