"""Pictures from strangers: whatever is inside, an upright RGB array comes out, or a clear refusal."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import DecodeError, InputError, NotFoundError, TooLargeError
from edgewise.media import images

WIDTH, HEIGHT = 48, 32


def scene() -> np.ndarray:
    """Each corner of another colour, so that a turned or mirrored picture shows."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:16, :24] = (250, 10, 10)
    picture[:16, 24:] = (10, 250, 10)
    picture[16:, :24] = (10, 10, 250)
    picture[16:, 24:] = (250, 250, 10)
    return picture


def encoded(ending: str, picture: np.ndarray | None = None) -> bytes:
    """The scene, or OpenCV's pixels (BGR, BGRA, grey, 16 bits), as a file."""
    bgr = scene()[..., ::-1] if picture is None else picture
    return cv2.imencode(ending, np.ascontiguousarray(bgr))[1].tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)


def with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    segment = b"Exif\0\0" + exif(orientation, order)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def near(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for what JPEG does to the borders between colours."""
    return actual.shape == expected.shape and float(np.abs(actual.astype(int) - expected).mean()) < 12


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff", ".ppm"])
def test_every_accepted_format_decodes_to_the_same_rgb_picture(ending: str) -> None:
    data = encoded(ending)
    assert images.probe(data)[:2] == (WIDTH, HEIGHT)
    assert near(images.decode(data), scene())


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff", ".ppm"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused(ending: str, share: float) -> None:
    data = encoded(ending, cv2.resize(scene(), (480, 320)))
    with pytest.raises(DecodeError):
        images.decode(data[: int(len(data) * share)])


def upright(orientation: int) -> np.ndarray:
    """What the stored scene looks like when it is shown as EXIF says."""
    picture = scene()
    return {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.transpose(1, 0, 2),
        6: np.rot90(picture, -1),
        7: picture[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(picture),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_photograph_is_turned_upright(orientation: int, order: str) -> None:
    data = with_exif(encoded(".jpg"), orientation, order)
    assert near(images.decode(data), upright(orientation))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    assert near(images.decode(with_exif(encoded(".jpg"), orientation)), scene())


def test_broken_exif_does_not_spoil_a_photograph() -> None:
    jpeg = encoded(".jpg")
    segment = b"Exif\0\0II*\0\xff\xff\xff\xff"
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    assert near(images.decode(data), scene())


def test_a_png_is_turned_upright_too() -> None:
    png = encoded(".png")
    body = b"eXIf" + exif(6)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert near(images.decode(png[:33] + chunk + png[33:]), upright(6))


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = scene()[..., ::-1].astype(np.uint16) * 257
    assert np.array_equal(images.decode(encoded(".png", deep)), scene())
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert images.decode(encoded(".tiff", grey))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_grey_pictures_become_rgb() -> None:
    grey = scene()[..., 0]
    for ending in (".png", ".pgm", ".jpg"):
        assert near(images.decode(encoded(ending, grey)), np.dstack([grey] * 3))


def test_transparent_pixels_lie_over_white() -> None:
    bgra = np.dstack((scene()[..., ::-1], np.full((HEIGHT, WIDTH), 255, np.uint8)))
    bgra[0, 0, 3], bgra[0, 1, 3] = 0, 51
    picture = images.decode(encoded(".png", bgra))
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert picture[0, 1].tolist() == [254, 206, 206]
    assert picture[0, 2].tolist() == [250, 10, 10]


def test_a_palette_is_expanded() -> None:
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    parts = [b"IHDR" + header, b"PLTE" + bytes([1, 2, 3, 200, 100, 50]), b"IDAT" + zlib.compress(b"\0\0\1"), b"IEND"]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts
    )
    assert images.decode(png).tolist() == [[[1, 2, 3], [200, 100, 50]]]


def test_a_cmyk_jpeg_as_printers_make_it_decodes() -> None:
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[...] = (0, 255, 255, 255)  # Adobe's inverted inks: no cyan is full, so this is pure cyan
    jpeg = simplejpeg.encode_jpeg(cmyk, colorspace="CMYK", colorsubsampling="444", quality=95)
    picture = images.decode(jpeg)
    assert picture.shape == (16, 16, 3)
    assert np.ptp(picture.reshape(-1, 3), axis=0).max() <= 4


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 60_000, 60_000) + b"\x08\x02\0\0\0",
        b"GIF89a" + struct.pack("<HH", 65535, 65535),
        b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 1_000_000, -1_000_000),
        b"P6\n# hello\n999999999 999999999\n255\n",
        b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + b"\xff\xff\xff\xff\xff\xff",
        b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65500, 65500) + b"\x03",
    ],
    ids=["png", "gif", "bmp", "pnm", "webp", "jpeg"],
)
def test_a_bomb_is_refused_before_anything_is_decoded(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_decode_with_opencv", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(images, "_decode_jpeg", lambda *_: pytest.fail("decoded"))
    with pytest.raises(TooLargeError) as caught:
        images.decode(data)
    assert caught.value.facts["limit"] == images.MAX_PIXELS


def test_the_bound_is_the_callers() -> None:
    assert images.decode(encoded(".png"), max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(TooLargeError):
        images.decode(encoded(".png"), max_pixels=WIDTH * HEIGHT - 1)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    jpeg = encoded(".jpg")
    with pytest.raises(TooLargeError):
        images.decode(jpeg[:-2] + b"\xff\xda\0\x02" * 1000 + jpeg[-2:])


@pytest.mark.parametrize(("bits", "samples"), [(8, 400), (64, 1)])
def test_a_tiff_of_large_pixels_is_refused_by_its_header(bits: int, samples: int) -> None:
    tags = [(256, 4, 1, 4000), (257, 4, 1, 4000), (258, 3, 1, bits), (277, 3, 1, samples)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    with pytest.raises(DecodeError):
        images.probe(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4)


@pytest.mark.parametrize(
    "data", [b"", b"GIF", b"\xff\xd8\xff", b"<svg/>", b"%PDF-1.4", b"v/1\x01" * 9, b"#?RADIANCE\n", b"\0" * 100]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        images.decode(data)


def test_a_camera_that_pads_its_jpeg_is_understood() -> None:
    jpeg = encoded(".jpg")
    assert near(images.decode(jpeg[:-2] + b"\0" * 7 + jpeg[-2:]), scene())


@pytest.mark.parametrize("at", [3, 21, 178])
def test_a_jpeg_whose_head_is_taken_for_padding_is_refused(at: int) -> None:
    jpeg = bytearray(encoded(".jpg"))
    assert jpeg[at - 1] == 0xFF  # the kind of a segment stands here
    jpeg[at] = 0
    with pytest.raises(DecodeError):
        images.decode(bytes(jpeg))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pictures_are_refused_or_decoded_but_nothing_else(data: st.DataObject) -> None:
    ending = data.draw(st.sampled_from([".jpg", ".png", ".webp", ".bmp", ".gif", ".tiff", ".ppm"]))
    content = bytearray(encoded(ending))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = images.decode(bytes(content), max_pixels=1_000_000)
    except InputError:
        return
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"P5 ", b"BM"]))
def test_random_bytes_never_get_past_the_header_unseen(tail: bytes, head: bytes) -> None:
    try:
        header = images.probe(head + tail)
    except DecodeError:
        return
    assert header.width > 0
    assert header.height > 0


def test_a_large_photograph_may_be_decoded_small() -> None:
    large = encoded(".jpg", cv2.resize(scene(), (1600, 1200)))
    assert images.decode(large).shape == (1200, 1600, 3)
    small = images.decode(large, min_side=224)
    assert small.shape[:2] == (300, 400)


def test_encoding_and_decoding_give_the_picture_back() -> None:
    assert np.array_equal(images.decode(images.encode_png(scene())), scene())
    assert near(images.decode(images.encode_jpeg(scene()[:, ::-1], quality=95)), scene()[:, ::-1])


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(NotFoundError, match=r"dog\.jpg"):
        images.read(tmp_path / "dog.jpg")
    with pytest.raises(InputError):
        images.read(tmp_path)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_png_from_a_stranger_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """libpng would: of colour profiles, which many honest pictures have wrong, and of damage."""
    png = encoded(".png")
    profile = png[:33] + chunk(b"iCCP", b"x" * 20) + chunk(b"gAMA", struct.pack(">I", 220000)) + png[33:]
    assert (images.decode(profile) == scene()).all()
    for place in (29, 33 + 12, len(png) - 30):
        with pytest.raises(DecodeError):
            images.decode(png[:place] + bytes([png[place] ^ 0x55]) + png[place + 1 :])
    assert capfd.readouterr().err == ""
