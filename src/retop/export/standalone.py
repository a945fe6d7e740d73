"""Predict with an exported whole.onnx: python predict.py PHOTO... It needs numpy, onnxruntime and pillow alone."""

import argparse
import json
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from retop.data.colour import to_rgb
from retop.data.orientation import read_orientation, turn_size, turn_upright

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
MOST_PIXELS = 200_000_000
# What Pillow's decoders raise on files that are damaged or hostile.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_image(content: bytes, shorter_side: int) -> dict[str, np.ndarray]:
    """The graph's inputs: upright RGB pixels, of a large JPEG at reduced scale, and its height and width as stored."""
    with Image.open(BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        stored = image.size
        # A phone's JPEG with a second picture behind the first is called MPO.
        reducible = image.format in ("JPEG", "MPO")
        if reducible:
            image.draft(None, (2 * shorter_side, 2 * shorter_side))
        image.load()
        orientation = read_orientation(image)
        pixels = np.asarray(turn_upright(to_rgb(image), orientation))
        full = turn_size(stored, orientation) if reducible else pixels.shape[1::-1]
        return {"image": pixels, "full_size": np.array(full[::-1], np.int64)}


def main() -> int:
    """One line per photo: path, class and probability; "none of these" below the model's threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--model", default=str(Path(__file__).with_name("whole.onnx")))
    parser.add_argument("--top", type=int, default=1)
    arguments = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["retop"])
    unreadable = 0
    for photo in arguments.photos:
        try:
            inputs = read_image(Path(photo).read_bytes(), about["shorter_side"])
        except FAILURES as error:
            sys.stdout.write(f"{photo}\tunreadable: {error}\n")
            unreadable += 1
            continue
        probability_k = session.run(["probabilities"], inputs)[0][0]
        order = np.argsort(-probability_k)[: max(1, arguments.top)]
        found = [f"{about['classes'][k]} {probability_k[k]:.6f}" for k in order]
        if probability_k.max() < about["reject_below"]:
            found.insert(0, "none of these")
        sys.stdout.write("\t".join([photo, *found]) + "\n")
    return 1 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
