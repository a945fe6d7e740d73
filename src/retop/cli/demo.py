"""`retop demo`."""

import typer

from retop.cli.options import Device, DeviceOption, JsonOption, OutOption, SeedsOption
from retop.cli.running import run_comparison
from retop.cli.training_options import TrainingOptions
from retop.errors import WeightsError

# Digits must not be mirrored, so there is no augmentation. They were 8 pixels wide, so 32 show all of them in a quarter
# of the time. They are so far from photographs that all layers adapt, and the few steps that 300 images make go further
# with AdamW; its first large steps cost accuracy, so patience would end it before the cosine has reached its end.
# Means of three seeds with 9 epochs of stage 2: 96.5 to 97.7 %; of five with 12: 96.8 to 97.7 %. Scratch: 96.7 with 20,
# 96.5 with 30.
SETTINGS = (
    "data.images_per_class=30",
    "views.preset=none",
    "views.count=1",
    "image_size=32",
    "thaw=all",
    "stage2.optimiser=adamw",
    "stage2.learning_rate=0.001",
    "stage2.epochs=9",
    "stage2.patience=null",
    "scratch.stage2.learning_rate=0.002",
    "scratch.stage2.epochs=20",
    "scratch.stage2.patience=20",
)


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
    options = TrainingOptions(
        data=str(demo_data()), set_=list(SETTINGS), seeds=seeds, baseline=["probe", "scratch"], device=device
    )
    run_comparison(options, backbones, out, json)
    if not json:
        names = ",".join(backbones)
        typer.echo(f"The same on your own photos: retop compare PHOTOS --backbones {names} --baseline probe,scratch")
