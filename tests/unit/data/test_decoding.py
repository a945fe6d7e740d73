import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from retop.data import decode_image, open_source
from retop.data.decoding import inspect_image
from retop.errors import UnreadableImageError

from .pictures import encoded, picture, write_classes


def pixels(content, **options):
    image = decode_image(content, "picture", **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_every_format_is_told_by_content(kind):
    content = encoded(picture(1), kind, **({"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}))
    assert inspect_image(content, "wrong.txt").format == kind
    assert np.abs(pixels(content) - np.asarray(picture(1))).mean() < 9


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(1), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    assert np.array_equal(pixels(content), np.asarray(upright))
    assert decode_image(content, "x").size == ((40, 48) if orientation > 4 else (48, 40))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"junk", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"]
)
def test_damaged_exif_leaves_the_image_upright(exif):
    assert decode_image(encoded(picture(1), "PNG", exif=exif), "x").size == (48, 40)


def test_big_endian_exif_is_read():
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    assert decode_image(encoded(picture(1), "PNG", exif=exif), "x").size == (40, 48)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_256_levels(kind):
    levels = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    got = pixels(encoded(Image.fromarray(levels), kind))
    assert np.array_equal(got[..., 0], np.arange(256).reshape(16, 16))
    assert np.array_equal(got[..., 0], got[..., 2])


def test_32_bit_integer_within_16_bits_equals_16_bit():
    levels = (np.arange(256, dtype=np.int32) * 257).reshape(16, 16)
    assert np.array_equal(pixels(encoded(Image.fromarray(levels), "TIFF"))[..., 1], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize(("values", "grey"), [(np.uint16([[2570, 5140]]), 257), (np.float32([[0.2, 0.4]]), 1 / 255)])
def test_a_dim_picture_is_not_stretched(values, grey):
    assert pixels(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == np.rint(values[0] / grey).tolist()


def test_floating_point_from_0_to_1_fills_all_levels_and_nan_is_black():
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    got = pixels(encoded(Image.fromarray(values), "TIFF"))
    assert got.min() == 0 and got.max() == 255 and len(np.unique(got)) == 256
    values[0, 0] = np.nan
    assert pixels(encoded(Image.fromarray(values), "TIFF"))[0, 0, 0] == 0


def test_floating_point_beyond_1_is_stretched():
    values = np.linspace(-7, 900, 256, dtype=np.float32).reshape(16, 16)
    got = pixels(encoded(Image.fromarray(values), "TIFF"))
    assert got.min() == 0 and got.max() == 255 and (np.diff(got[..., 0].ravel()) >= 0).all()


def test_cmyk_becomes_the_colours_it_was_made_from():
    plain = picture(2)
    got = pixels(encoded(plain.convert("CMYK"), "JPEG", quality=98))
    assert np.abs(got - np.asarray(plain)).mean() < 6


def test_alpha_lies_over_white():
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert pixels(encoded(image)).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    image.putpixel((1, 0), (0, 0, 0, 128))
    assert abs(pixels(encoded(image))[0, 1, 0] - 127) <= 1


def test_grey_with_alpha_lies_over_white():
    image = Image.new("LA", (2, 1), (90, 255))
    image.putpixel((1, 0), (0, 0))
    assert pixels(encoded(image))[..., 1].tolist() == [[90, 255]]


def test_palette_with_a_transparent_entry_lies_over_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert pixels(encoded(image, transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert pixels(encoded(image, "GIF", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_rgb_with_a_transparent_colour_lies_over_white():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert pixels(encoded(image, transparency=(9, 9, 9))).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_black_and_white_becomes_0_and_255():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image))[..., 0].tolist() == [[0, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind):
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    got = pixels(encoded(first, kind, save_all=True, append_images=[second]))
    assert got[..., 0].min() > 240 and got[..., 2].max() < 15


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_frames_behind_the_first_are_not_looked_at(kind, monkeypatch):
    def refuse(image, frame=0):
        assert frame == 0

    first, second = picture(1), picture(2)
    file = type(Image.open(io.BytesIO(encoded(first, kind, save_all=True, append_images=[second]))))
    monkeypatch.setattr(file, "seek", refuse)
    if "n_frames" in vars(file):  # PNG says in its header how many there are.
        monkeypatch.setattr(file, "n_frames", property(lambda image: refuse(image, 1)))
    alone = encoded(first, kind, save_all=True, append_images=[first])
    content = bytearray(encoded(first, kind, save_all=True, append_images=[second]))
    content[-200:-30] = bytes(range(170))
    assert np.array_equal(pixels(bytes(content)), pixels(alone))


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_become_the_colours_they_were_made_from(mode):
    plain = picture(2)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.applyTransform(plain, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    else:
        image = plain.convert(mode)
    assert np.abs(pixels(encoded(image, "TIFF")) - np.asarray(plain)).mean() < 3


def test_several_photos_in_one_jpeg_give_the_first():
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    assert inspect_image(content, "x").format == "JPEG"
    assert pixels(content)[..., 0].min() > 240


def profile_of_another_space():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def test_a_profile_that_is_srgb_or_of_another_space_or_damaged_changes_nothing():
    plain = picture(3)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, profile_of_another_space(), b"junk" * 40):
        assert np.array_equal(pixels(encoded(plain, icc_profile=profile)), np.asarray(plain))


def test_a_profile_of_another_space_changes_no_mode():
    spaces = {
        "LAB": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "XYZ": profile_of_another_space(),
    }
    spaces |= {"CMYK": ink_profile(), "RGB": renamed_linear_profile(), "L": grey_profile()}
    for mode in ("RGB", "L", "CMYK"):
        image = picture(3).convert(mode)
        for space, profile in spaces.items():
            changed = not np.array_equal(
                pixels(encoded(image, "TIFF", icc_profile=profile)), pixels(encoded(image, "TIFF"))
            )
            assert changed == (space == mode), (mode, space)


def grey_profile():
    """Of grey with a straight tone curve."""
    curve = b"curv" + struct.pack(">4xI", 0)
    xyz = b"XYZ " + struct.pack(">4x3i", *(round(65536 * value) for value in (0.9642, 1.0, 0.8249)))
    name = b"desc" + struct.pack(">4xI", 5) + b"grey\0" + bytes(78)
    body, tags = b"", b""
    for tag, data in ((b"desc", name), (b"wtpt", xyz), (b"kTRC", curve)):
        tags += struct.pack(">4sII", tag, 128 + 4 + 3 * 12 + len(body), len(data))
        body += data.ljust(-len(data) % 4 + len(data), b"\0")
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x3i", 168 + len(body), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp", 63190, 65536, 54061
    )
    return head.ljust(128, b"\0") + struct.pack(">I", 3) + tags + body


def renamed_linear_profile():
    """sRGB's profile with its tone curves replaced by straight lines and its name by another."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for i in range(count):
        tag, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            profile[offset : offset + 12] = b"curv" + bytes(8)
            struct.pack_into(">I", profile, 132 + 12 * i + 8, 12)
        if tag == b"desc":
            body = bytes(profile[offset : offset + size]).replace(
                "sRGB".encode("utf-16-be"), "line".encode("utf-16-be")
            )
            profile[offset : offset + size] = body
    return bytes(profile)


def test_a_linear_profile_is_converted_to_srgb():
    grey = Image.new("RGB", (4, 4), (55, 55, 55))
    got = pixels(encoded(grey, icc_profile=renamed_linear_profile()))
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)
    assert np.abs(got - expected).max() <= 2


def ink_profile():
    """A profile of CMYK with yellowish paper: no ink is white, some are blue, all of all four a dark grey."""
    paper, ink, black = (255, 128, 128), (128, 160, 60), (51, 128, 128)
    nodes = [paper, *[ink] * 14, black]
    identity = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    ramp = bytes(range(256))
    table = b"mft1" + struct.pack(">4xBBBx", 4, 3, 2) + identity + 4 * ramp + b"".join(map(bytes, nodes)) + 3 * ramp
    xyz = b"XYZ " + struct.pack(">4x3i", *(round(65536 * value) for value in (0.9, 0.9, 0.5)))
    text = b"text" + bytes(4) + b"none\0"
    name = b"desc" + struct.pack(">4xI", 5) + b"inks\0" + bytes(78)
    body, tags = b"", b""
    for tag, data in ((b"desc", name), (b"cprt", text), (b"wtpt", xyz), (b"A2B1", table)):
        tags += struct.pack(">4sII", tag, 128 + 4 + 4 * 12 + len(body), len(data))
        body += data.ljust(-len(data) % 4 + len(data), b"\0")
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x3i", 180 + len(body), 0x02400000, b"scnr", b"CMYK", b"Lab ", b"acsp", 63190, 65536, 54061
    )
    return head.ljust(128, b"\0") + struct.pack(">I", 4) + tags + body


def test_cmyk_with_a_profile_is_converted_by_it_white_to_white_and_black_to_black():
    image = Image.new("CMYK", (3, 1))
    for x, inks in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (255, 255, 255, 255)]):
        image.putpixel((x, 0), inks)
    white, cyan, black = pixels(encoded(image, "TIFF", icc_profile=ink_profile()))[0]
    assert white.min() >= 254 and black.max() <= 3
    assert cyan[2] > cyan[0] + 60 and abs(pixels(encoded(image, "TIFF"))[0, 1] - cyan).max() > 60


def test_the_profile_holds_under_transparency():
    image = Image.new("RGBA", (2, 1), (55, 55, 55, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    got = pixels(encoded(image, icc_profile=renamed_linear_profile()))
    assert got[0, 0, 0] > 110 and got[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_truncated_files_are_refused_by_name(kind):
    content = encoded(picture(4, 200, 200), kind)
    with pytest.raises(UnreadableImageError, match=r"photo\.jpg: the \w+ is (truncated|damaged)"):
        decode_image(content[: len(content) // 2], "photo.jpg")


def test_truncated_progressive_jpeg_is_noticed_at_reduced_scale():
    content = encoded(picture(4, 800, 800), "JPEG", progressive=True)
    with pytest.raises(UnreadableImageError, match="truncated"):
        inspect_image(content[:-400], "photo.jpg")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"PK\x03\x04zip", "ZIP"),
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "film"),
        (b"hello, world, this is text", "not an image"),
        (encoded(picture(1), "PPM"), "PPM picture"),
        (encoded(picture(1), "ICO"), "icon"),
        (encoded(picture(1), "JPEG2000"), "JPEG 2000"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (encoded(picture(1), "TGA"), "not an image"),
    ],
)
def test_what_is_no_image_is_refused_with_its_kind_and_the_accepted_formats(content, reason):
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(content, "x.jpg")
    assert reason in str(caught.value) and caught.value.path == "x.jpg"
    assert not content or "JPEG, PNG" in caught.value.reason


def giant_png(side):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(UnreadableImageError, match="50,000 x 50,000 pixels; at most 200,000,000"):
        decode_image(giant_png(50_000), "bomb.png")


def test_too_many_bytes_are_refused(tmp_path):
    with pytest.raises(UnreadableImageError, match="536,870,913 bytes; at most 536,870,912 are read"):
        decode_image(bytes(512 * 2**20 + 1), "large.jpg")
    write_classes(tmp_path, {"a": 1, "b": 1})
    with (tmp_path / "a/large.jpg").open("wb") as file:
        file.truncate(512 * 2**20 + 1)
    with pytest.raises(UnreadableImageError, match=r"large\.jpg: 536,870,913 bytes"):
        open_source(tmp_path).read("a/large.jpg")


def test_a_name_that_lies_does_not_matter(shared):
    found = {
        path.name: inspect_image(path.read_bytes(), path.name).format
        for path in (shared / "data/awkward").rglob("*.jpg")
    }
    assert found["rain141.jpg"] == "GIF" and found["rain26.jpg"] == "PNG" and found["cloudy71.jpg"] == "JPEG"


def test_plain_images_equal_pillows_conversion(shared):
    for path in sorted((shared / "data/cats_dogs/validation").rglob("*.jpg"))[:20]:
        with Image.open(path) as image:
            assert np.array_equal(pixels(path.read_bytes()), np.asarray(image.convert("RGB")))


def rough_texture(height, width):
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    values = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1e-3), (height, width))
    values = (values - values.mean()) / values.std() * 50 + 127
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def test_reduced_decoding_keeps_twice_the_size_and_the_stated_tolerance():
    content = encoded(rough_texture(1030, 1500), "JPEG", quality=92)
    reduced = decode_image(content, "x", at_least=256)
    assert min(reduced.size) == 515
    full = decode_image(content, "x")
    assert full.size == (1500, 1030)
    small, large = (np.asarray(i.resize((372, 256), Image.Resampling.BICUBIC)).astype(int) for i in (reduced, full))
    assert np.abs(small - large).mean() < 1.5 and np.abs(small - large).max() <= 12


def test_decoding_is_not_reduced_below_the_margin():
    content = encoded(picture(1, 1500, 1023), "JPEG")
    assert np.array_equal(pixels(content, at_least=256), pixels(content))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_damage_anywhere_gives_an_image_or_the_one_error(kind):
    rng = np.random.default_rng(7)
    whole = encoded(picture(5, 60, 50), kind)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 6))):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        if rng.random() < 0.3:
            content = content[: int(rng.integers(1, len(content)))]
        try:
            assert decode_image(bytes(content), "damaged").mode == "RGB"
        except UnreadableImageError as error:
            assert error.path == "damaged" and error.reason


def test_16_bit_grey_with_a_transparent_value_lies_over_white():
    values = np.array([[0, 2570, 5140], [65535, 2570, 2571]], dtype=np.uint16)
    plain = encoded(Image.fromarray(values))
    body = b"tRNS" + struct.pack(">H", 2570)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    at = plain.index(b"IDAT") - 4
    assert pixels(plain[:at] + chunk + plain[at:])[..., 1].tolist() == [[0, 255, 20], [255, 255, 10]]
    assert pixels(plain)[..., 1].tolist() == [[0, 10, 20], [255, 10, 10]]
