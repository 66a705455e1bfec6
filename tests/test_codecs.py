import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, is_dataclass, replace

import av
import numpy as np
import pytest
from PIL import Image

from trainables import CODECS, Codec, Condition, Frames, codecs, identity, identity_of
from trainables.codecs import probe
from trainables.scenes import street

JPEG = CODECS["jpeg"]
H264 = codecs.H264()
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
SIZES = [(1, 1), (1, 7), (7, 1), (8, 8), (15, 16), (16, 17), (17, 33), (96, 128)]


def natural(index: int = 0) -> Frames:
    return street(0, index).rgb[None]


def sample(codec: Codec, index: int = 0) -> Frames:
    """What the codec is for: a natural still, or a clip of a camera that moves over it."""
    still = natural(index)[0]
    return np.stack([still[8 + n : 80 + n, 2 * n : 96 + 2 * n] for n in range(12)]) if codec.clips else still[None]


def noise(height: int, width: int) -> Frames:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (1, height, width, 3), np.uint8)


def flat(height: int, width: int) -> Frames:
    return np.broadcast_to(np.array([200, 30, 90], np.uint8), (1, height, width, 3)).copy()


def grey(height: int, width: int) -> Frames:
    return np.repeat(noise(height, width)[..., :1], 3, axis=-1)


def pillow_encode(frames: Frames, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frames[0]).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def pillow_decode(data: bytes) -> Frames:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[None]


def test_jpeg_makes_the_bytes_of_pillow_at_every_quality() -> None:
    assert [q for q in range(1, 101) if JPEG.encode(probe(), q) != pillow_encode(probe(), q)] == []


def test_jpeg_decodes_to_the_pixels_of_pillow_at_every_quality() -> None:
    files = {quality: pillow_encode(probe(), quality) for quality in range(1, 101)}
    assert [quality for quality, data in files.items() if not np.array_equal(JPEG.decode(data), pillow_decode(data))] == []


@pytest.mark.parametrize("make", [noise, flat, grey])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_jpeg_is_pillow_along_the_ladder_at_every_size_and_content(
    make: Callable[[int, int], Frames], height: int, width: int
) -> None:
    frames = make(height, width)
    for level in JPEG.levels:
        data = JPEG.encode(frames, level)
        assert data == pillow_encode(frames, level)
        assert np.array_equal(JPEG.decode(data), pillow_decode(data))


def test_jpeg_takes_frames_that_are_not_contiguous() -> None:
    mirrored = natural()[:, :, ::-1]
    assert JPEG.encode(mirrored, 50) == JPEG.encode(mirrored.copy(), 50)


def test_jpeg_decodes_a_grey_file_to_rgb() -> None:
    buffer = io.BytesIO()
    Image.fromarray(natural()[0, :, :, 0]).save(buffer, format="JPEG")
    assert np.array_equal(JPEG.decode(buffer.getvalue()), pillow_decode(buffer.getvalue()))


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_quality_outside_1_to_100_is_refused_by_value(quality: int) -> None:
    with pytest.raises(ValueError, match=rf"jpeg: quality {quality} is outside 1\.\.100"):
        JPEG.encode(probe(), quality)


@pytest.mark.parametrize("shape", [(8, 8, 3), (2, 8, 8, 3), (0, 8, 8, 3), (1, 8, 8, 1), (1, 8, 8, 4), (1, 0, 8, 3), (1, 8, 0, 3)])
def test_jpeg_refuses_frames_of_another_shape_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"jpeg: .*" + ", ".join(map(str, shape))):
        JPEG.encode(np.zeros(shape, np.uint8), 50)


@pytest.mark.parametrize("kind", [np.float32, np.uint16, np.int8, np.bool_])
def test_jpeg_refuses_frames_of_another_type_by_name(kind: type) -> None:
    with pytest.raises(ValueError, match=f"not {np.dtype(kind)}"):
        JPEG.encode(np.zeros((1, 8, 8, 3), kind), 50)


def test_jpeg_refuses_a_still_larger_than_the_format_allows() -> None:
    with pytest.raises(ValueError, match="65536"):
        JPEG.encode(np.zeros((1, 1, 65536, 3), np.uint8), 50)


def test_jpeg_refuses_to_decode_a_png() -> None:
    buffer = io.BytesIO()
    Image.fromarray(natural()[0]).save(buffer, format="PNG")
    with pytest.raises(ValueError, match="jpeg"):
        JPEG.decode(buffer.getvalue())


@pytest.mark.parametrize("level", [0, 52, -1])
def test_a_crf_outside_1_to_51_is_refused_by_value(level: int) -> None:
    with pytest.raises(ValueError, match=rf"h264: CRF {level} is outside 1\.\.51"):
        H264.encode(probe(3), level)


@pytest.mark.parametrize("shape", [(8, 8, 3), (0, 8, 8, 3), (2, 8, 8, 1), (2, 0, 8, 3)])
def test_h264_refuses_frames_of_another_shape_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"h264: .*" + ", ".join(map(str, shape))):
        H264.encode(np.zeros(shape, np.uint8), 30)


def test_the_settings_of_h264_change_its_bytes_and_so_its_identity() -> None:
    variants = [
        H264,
        replace(H264, preset="veryfast"),
        replace(H264, gop=2),
        replace(H264, b_frames=0),
        replace(H264, pixel_format="yuv444p"),
    ]
    assert len({identity(codec, 30) for codec in variants}) == len(variants)


def test_a_picture_that_stands_alone_comes_as_often_as_the_gop_says() -> None:
    # Each starts with a sequence parameter set, unit type 7 after a start code.
    alone = [replace(H264, gop=gop).encode(probe(12), 30).count(b"\0\0\0\x01\x67") for gop in (250, 4, 1)]
    assert alone == [1, 3, 12]


def test_h264_is_what_a_player_shows() -> None:
    frames, data = sample(H264), H264.encode(sample(H264), 23)
    stream = data[data.index(b"\0\0\0\x01") :]
    with av.open(io.BytesIO(stream), "r", format="h264") as player:
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in player.decode(video=0)])
    assert np.array_equal(shown, H264.decode(data))
    assert float(np.mean((shown.astype(float) - frames) ** 2)) < 40


def test_the_probe_is_the_same_each_time() -> None:
    assert np.array_equal(probe(), probe())


@every_codec
def test_a_codec_is_listed_under_its_name(codec: Codec) -> None:
    assert CODECS[codec.name] is codec


@every_codec
def test_a_codec_is_a_value(codec: Codec) -> None:
    assert is_dataclass(codec)
    twin = replace(codec)
    assert (twin, hash(twin)) == (codec, hash(codec))


@every_codec
def test_a_codec_cannot_be_assigned_to(codec: Codec) -> None:
    with pytest.raises(FrozenInstanceError):
        codec.name = "another"  # type: ignore[misc]


@every_codec
def test_a_ladder_has_levels_and_none_twice(codec: Codec) -> None:
    assert len(codec.levels) > 0
    assert len(set(codec.levels)) == len(codec.levels)


@every_codec
def test_the_levels_shown_are_on_the_ladder(codec: Codec) -> None:
    assert len(codec.shown) > 0
    assert set(codec.shown) <= set(codec.levels)


@every_codec
def test_coding_keeps_shape_and_type(codec: Codec) -> None:
    for frames in (sample(codec), probe(), *([probe(2), probe(9)] if codec.clips else [])):
        for level in codec.levels:
            decoded = codec.decode(codec.encode(frames, level))
            assert (decoded.shape, decoded.dtype) == (frames.shape, np.dtype(np.uint8))


@every_codec
def test_the_frames_that_are_wanted_are_those_of_the_whole_in_the_order_asked_for(codec: Codec) -> None:
    frames = sample(codec)
    data = codec.encode(frames, codec.levels[2])
    whole = codec.decode(data)
    for wanted in ((0,), (len(frames) - 1, 0), (len(frames) // 2,) * 2, ()):
        assert np.array_equal(codec.decode(data, wanted), whole[list(wanted)])


@every_codec
def test_a_frame_that_there_is_not_is_refused(codec: Codec) -> None:
    frames = sample(codec)
    with pytest.raises(IndexError):
        codec.decode(codec.encode(frames, codec.levels[0]), (len(frames),))


@every_codec
def test_the_size_of_a_first_frame_alone_has_no_rest(codec: Codec) -> None:
    frames = sample(codec)
    data = codec.encode(frames[:1], codec.levels[0])
    assert codec.size(data).rest == 0
    assert 0 < codec.size(data).first <= len(data)


@every_codec
def test_a_size_is_that_of_the_data_but_for_a_head(codec: Codec) -> None:
    data = codec.encode(sample(codec), codec.levels[0])
    assert 0.97 * len(data) < codec.size(data).total <= len(data)


@every_codec
def test_coding_does_not_write_into_its_input(codec: Codec) -> None:
    frames = sample(codec)
    codec.encode(frames, codec.levels[-1])
    assert np.array_equal(frames, sample(codec))


@every_codec
@pytest.mark.parametrize("index", range(3))
def test_size_falls_strictly_along_the_ladder(codec: Codec, index: int) -> None:
    sizes = [codec.size(codec.encode(sample(codec, index), level)).total for level in codec.levels]
    assert sizes == sorted(set(sizes), reverse=True)


@every_codec
@pytest.mark.parametrize("index", range(3))
def test_error_grows_strictly_along_the_ladder(codec: Codec, index: int) -> None:
    frames = sample(codec, index)
    decoded = [codec.decode(codec.encode(frames, level)) for level in codec.levels]
    errors = [float(np.mean((each.astype(float) - frames) ** 2)) for each in decoded]
    assert errors == sorted(set(errors))


@every_codec
def test_encoding_is_repeatable(codec: Codec) -> None:
    for level in codec.levels:
        assert len({codec.encode(sample(codec), level) for _ in range(20)}) == 1


@every_codec
def test_encoding_is_repeatable_beside_others(codec: Codec) -> None:
    level = codec.levels[2]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: codec.encode(sample(codec), level), range(16)))) == 1


@pytest.mark.slow
@every_codec
def test_encoding_is_the_same_in_another_process(codec: Codec) -> None:
    code = f"from trainables import CODECS, identity; print([identity(CODECS[{codec.name!r}], n) for n in {codec.levels}])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == str([identity(codec, level) for level in codec.levels])


@every_codec
def test_damaged_files_are_refused(codec: Codec) -> None:
    data = codec.encode(sample(codec), codec.levels[0])
    for damaged in (data[: len(data) // 2], data[:20], data[100:], bytes(len(data)), b"no picture", b"\0"):
        with pytest.raises(ValueError, match=codec.name):
            codec.decode(damaged)


@every_codec
def test_an_empty_file_is_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match=codec.name):
        codec.decode(b"")


@every_codec
def test_identity_is_equal_on_repeat(codec: Codec) -> None:
    assert [identity(codec, level) for level in codec.levels] == [identity(codec, level) for level in codec.levels]


@every_codec
def test_identity_is_16_hexadecimal_digits(codec: Codec) -> None:
    for level in codec.levels:
        assert len(identity(codec, level)) == 16
        assert set(identity(codec, level)) <= set("0123456789abcdef")


def test_identities_differ_between_all_codecs_and_levels() -> None:
    identities = [identity(codec, level) for codec in CODECS.values() for level in codec.levels]
    assert len(set(identities)) == len(identities)


@every_codec
def test_the_identity_of_a_condition_is_that_of_its_codec_and_level(codec: Codec) -> None:
    for level in codec.levels:
        assert identity_of(Condition(codec=codec.name, level=level)) == identity(codec, level)


def test_clean_has_no_identity() -> None:
    assert identity_of(Condition()) is None
