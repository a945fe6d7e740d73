"""`retop demo`."""

import typer

from retop.cli.options import Device, DeviceOption, JsonOption, OutOption, SeedsOption
from retop.cli.running import TrainingOptions, run_comparison
from retop.errors import WeightsError

IMAGES_PER_CLASS = 30


def demo(
    seeds: SeedsOption = None,
    out: OutOption = None,
    device: DeviceOption = Device.AUTO,
    json: JsonOption = False,
) -> None:
    """Compare the networks that come with retop on handwritten digits; nothing is downloaded."""
    from retop.api import demo_data
    from retop.backbones import embedded_backbones

    backbones = list(embedded_backbones())
    if not backbones:
        raise WeightsError(
            "this copy of retop came without the weights of its small networks; make them with `retop pretrain`, or "
            "install a released one"
        )
    run_comparison(
        TrainingOptions(
            str(demo_data()), backbones, None, "default", [f"data.images_per_class={IMAGES_PER_CLASS}"], None, None,
            None, seeds, ["probe,scratch"], device, None, "on", None,
        ),
        out,
        json,
    )  # fmt: skip
    if not json:
        names = ",".join(backbones)
        typer.echo(f"The same on your own photos: retop compare PHOTOS --backbones {names} --baseline probe,scratch")
