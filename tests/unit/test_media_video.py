"""Frames of video files, with their time."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edgewise.errors import DecodeError, MissingExtraError, NotFoundError, TooLargeError
from edgewise.media import video

av = pytest.importorskip("av")


def film(path: Path, *, frames: int = 12, fps: int = 10) -> Path:
    """A light bar that wanders to the right over a dark ground."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(frames):
            picture = np.full((64, 96, 3), 20, np.uint8)
            picture[:, number * 6 : number * 6 + 6] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_come_in_order_with_their_time(tmp_path: Path) -> None:
    found = list(video.frames(film(tmp_path / "bar.mp4")))
    assert [round(time_s, 3) for time_s, _ in found] == [round(number / 10, 3) for number in range(12)]
    for number, (_, picture) in enumerate(found):
        assert picture.shape == (64, 96, 3)
        assert abs(int(picture[:, :, 1].mean(axis=0).argmax()) - (number * 6 + 2)) <= 3


def test_a_film_from_a_telephone_held_upright_is_upright(tmp_path: Path) -> None:
    """Telephones store the sensor's frames and a matrix: here, turn a quarter clockwise to show."""
    path = film(tmp_path / "bar.mp4")
    data = bytearray(path.read_bytes())
    track = data.index(b"tkhd")
    as_stored = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    matrix = data.index(as_stored, track)
    data[matrix : matrix + 36] = clockwise
    path.write_bytes(data)
    _, picture = next(video.frames(path))
    assert picture.shape == (96, 64, 3)
    assert int(picture[:, :, 1].mean(axis=1).argmax()) <= 5
    _, turned = next(video.pictures(path))
    assert (turned.height, turned.width) == turned.luma.shape == (96, 64)
    assert int(turned.luma.mean(axis=1).argmax()) <= 5


def test_a_picture_is_turned_into_rgb_once_and_only_when_somebody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    convert = video.DecodedPicture._make_image

    def counted(picture: video.DecodedPicture) -> object:
        made.append(picture)
        return convert(picture)

    monkeypatch.setattr(video.DecodedPicture, "_make_image", counted)
    pictures = [picture for _, picture in video.pictures(film(tmp_path / "bar.mp4"))]
    for number, picture in enumerate(pictures):
        assert (picture.width, picture.height) == (96, 64)
        assert picture.luma.shape == (64, 96)
        assert abs(int(picture.luma.mean(axis=0).argmax()) - (number * 6 + 2)) <= 3
    assert made == []
    assert pictures[3].image is pictures[3].image
    assert made == [pictures[3]]


def test_brightness_is_there_also_where_the_decoder_gives_colours(tmp_path: Path) -> None:
    """Such as PNG, or the losslessly coded RGB of screen recordings."""
    path = tmp_path / "bar.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "bgr0"
        colours = np.zeros((64, 96, 3), np.uint8)
        colours[:, :48], colours[:, 48:] = (200, 0, 0), (0, 200, 0)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(colours, format="rgb24")))
        container.mux(stream.encode())
    (_, picture), *_ = video.pictures(path)
    assert picture.luma[10, 10] == pytest.approx(0.299 * 200, abs=1)
    assert picture.luma[10, 90] == pytest.approx(0.587 * 200, abs=1)
    assert (picture.image == colours).all()


def test_a_recording_that_was_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    whole = film(tmp_path / "bar.avi", frames=40).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) * 4 // 5])
    assert 5 < sum(1 for _ in video.frames(cut)) < 40


def test_a_video_that_is_none_is_refused(tmp_path: Path) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"no video at all" * 100)
    with pytest.raises(DecodeError):
        next(video.frames(noise))
    with pytest.raises(NotFoundError):
        next(video.frames(tmp_path / "nowhere.mp4"))


def test_a_playlist_does_not_reach_out(tmp_path: Path) -> None:
    """A video file from a stranger must not make the node open addresses."""
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DecodeError):
        next(video.frames(playlist))


def test_ffmpeg_opens_nothing_but_what_the_list_of_protocols_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list reaches FFmpeg: without files on it, a good film cannot be opened either."""
    bar = film(tmp_path / "bar.mp4")
    assert next(video.frames(bar))
    monkeypatch.setattr(video, "_PROTOCOLS", "crypto")
    with pytest.raises(DecodeError):
        next(video.frames(bar))


def test_frames_past_the_bound_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        next(video.frames(film(tmp_path / "bar.mp4"), max_pixels=1000))


def test_a_sound_file_holds_no_video(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        tone.rate = 8000
        container.mux(stream.encode(tone))
        container.mux(stream.encode())
    with pytest.raises(DecodeError, match="no video"):
        next(video.frames(path))


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError) as caught:
        next(video.frames(tmp_path / "any.mp4"))
    assert caught.value.hint == "pip install 'edgewise[video]'"
