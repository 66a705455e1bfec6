import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, is_dataclass, replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import trainables
from trainables.codecs import CODECS, find_codec, identity, identity_of, probe
from trainables.codecs.stills import PillowStill
from trainables.codecs.video import H264, PyAVClip
from trainables.contracts import CLEAN, Codec, Condition, Frames
from trainables.scenes import street

JPEG = CODECS["jpeg"]
PILLOW_JPEG = PillowStill(name="jpeg", format="JPEG", levels=JPEG.levels, shown=JPEG.shown)
WEBP = PillowStill(name="webp", format="WEBP", levels=(95, 75, 50, 15, 5), shown=(15, 5), options=(("method", 4),))
JPEG2000 = PillowStill(
    name="jpeg2000",
    format="JPEG2000",
    levels=(10, 20, 40, 80),
    shown=(40,),
    allowed=(1, 1000),
    parameter="quality_layers",
    listed=True,
    options=(("quality_mode", "rates"), ("irreversible", True)),
)
AVIF = PillowStill(name="avif", format="AVIF", levels=(80, 50, 20), shown=(20,), allowed=(0, 100), options=(("speed", 10),))
H265 = PyAVClip(
    name="h265",
    encoder="libx265",
    decoder="hevc",
    levels=(25, 35, 45),
    shown=(35,),
    allowed=(1, 51),
    preset="medium",
    option="x265-params",
    # x265 writes the processor's features into the stream unless info=0.
    parameters=(("pools", "none"), ("frame-threads", 1), ("info", 0), ("log-level", "error")),
)
VALUES: tuple[Codec, ...] = (*CODECS.values(), WEBP, H265)
"""The table, and two codecs that could be appended to it."""
every_codec = pytest.mark.parametrize("codec", VALUES, ids=lambda codec: codec.name)
every_entry = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
SIZES = [(1, 1), (1, 7), (7, 1), (8, 8), (15, 16), (16, 17), (17, 33), (96, 128)]


def natural(index: int = 0) -> Frames:
    return street(0, index).rgb[None]


def sample(codec: Codec, index: int = 0) -> Frames:
    """A natural still, or a clip of a camera that moves over it."""
    still = natural(index)[0]
    return np.stack([still[8 + n : 80 + n, 2 * n : 96 + 2 * n] for n in range(12)]) if codec.clips else still[None]


def noise(height: int, width: int) -> Frames:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (1, height, width, 3), np.uint8)


def flat(height: int, width: int) -> Frames:
    return np.broadcast_to(np.array([200, 30, 90], np.uint8), (1, height, width, 3)).copy()


def grey(height: int, width: int) -> Frames:
    return np.repeat(noise(height, width)[..., :1], 3, axis=-1)


def test_jpeg_equals_pillow_at_every_quality() -> None:
    files = {quality: PILLOW_JPEG.encode(probe(), quality) for quality in range(1, 101)}
    assert [quality for quality, data in files.items() if JPEG.encode(probe(), quality) != data] == []
    assert [quality for quality, data in files.items() if not np.array_equal(JPEG.decode(data), PILLOW_JPEG.decode(data))] == []


@pytest.mark.parametrize("make", [noise, flat, grey])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_jpeg_equals_pillow_at_every_size_and_content(make: Callable[[int, int], Frames], height: int, width: int) -> None:
    frames = make(height, width)
    for level in JPEG.levels:
        data = JPEG.encode(frames, level)
        assert data == PILLOW_JPEG.encode(frames, level)
        assert np.array_equal(JPEG.decode(data), PILLOW_JPEG.decode(data))


@every_codec
def test_frames_need_not_be_contiguous(codec: Codec) -> None:
    mirrored = sample(codec)[:, :, ::-1]
    assert codec.encode(mirrored, codec.levels[0]) == codec.encode(mirrored.copy(), codec.levels[0])


def test_jpeg_decodes_a_greyscale_file_to_rgb() -> None:
    buffer = io.BytesIO()
    Image.fromarray(natural()[0, :, :, 0]).save(buffer, format="JPEG")
    assert np.array_equal(JPEG.decode(buffer.getvalue()), PILLOW_JPEG.decode(buffer.getvalue()))


@pytest.mark.parametrize("codec", [JPEG, PILLOW_JPEG, WEBP], ids=["jpeg", "pillow", "webp"])
@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_quality_outside_1_to_100_is_refused_by_value(codec: Codec, quality: int) -> None:
    with pytest.raises(ValueError, match=rf"^{codec.name}: quality {quality} is outside 1\.\.100$"):
        codec.encode(probe(), quality)


@pytest.mark.parametrize("codec", [JPEG, WEBP], ids=["jpeg", "webp"])
@pytest.mark.parametrize("shape", [(8, 8, 3), (2, 8, 8, 3), (0, 8, 8, 3), (1, 8, 8, 1), (1, 8, 8, 4), (1, 0, 8, 3), (1, 8, 0, 3)])
def test_stills_of_another_shape_are_refused_by_name(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"^{codec.name}: expected one .*" + ", ".join(map(str, shape))):
        codec.encode(np.zeros(shape, np.uint8), 50)


@every_codec
@pytest.mark.parametrize("kind", [np.float32, np.uint16, np.int8, np.bool_])
def test_frames_of_another_type_are_refused_by_name(codec: Codec, kind: type) -> None:
    with pytest.raises(ValueError, match=f"^{codec.name}: .*got {np.dtype(kind)}"):
        codec.encode(np.zeros((1, 8, 8, 3), kind), 50)


@pytest.mark.parametrize("codec", [JPEG, PILLOW_JPEG, WEBP], ids=["jpeg", "pillow", "webp"])
def test_a_still_larger_than_the_format_allows_is_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match=rf"^{codec.name}: cannot encode .*65536.* at quality 50"):
        codec.encode(np.zeros((1, 1, 65536, 3), np.uint8), 50)


def test_a_format_that_pillow_cannot_write_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^jxl: the installed Pillow cannot write JPEGXL$"):
        replace(WEBP, name="jxl", format="JPEGXL").encode(natural(), 50)


@pytest.mark.parametrize("codec", [JPEG, PILLOW_JPEG, WEBP], ids=["jpeg", "pillow", "webp"])
def test_a_file_of_another_format_is_refused(codec: Codec) -> None:
    buffer = io.BytesIO()
    Image.fromarray(natural()[0]).save(buffer, format="PNG")
    data = buffer.getvalue()
    with pytest.raises(ValueError, match=rf"^{codec.name}: corrupt data \({len(data)} bytes do not decode\)$"):
        codec.decode(data)


@pytest.mark.parametrize("codec", [AVIF, JPEG2000], ids=["avif", "jpeg2000"])
def test_other_formats_of_pillow_lose_quality_along_their_ladder(codec: Codec) -> None:
    files = [codec.encode(natural(), level) for level in codec.levels]
    errors = [float(np.mean((codec.decode(data).astype(float) - natural()) ** 2)) for data in files]
    assert errors == sorted(set(errors))
    assert list(map(len, files)) == sorted(set(map(len, files)), reverse=True)


@pytest.mark.parametrize("level", [0, 52, -1])
def test_a_crf_outside_1_to_51_is_refused_by_value(level: int) -> None:
    with pytest.raises(ValueError, match=rf"h264: CRF {level} is outside 1\.\.51"):
        H264.encode(probe(3), level)


@pytest.mark.parametrize("shape", [(8, 8, 3), (0, 8, 8, 3), (2, 8, 8, 1), (2, 0, 8, 3)])
def test_h264_refuses_frames_of_another_shape_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^h264: expected .*" + ", ".join(map(str, shape))):
        H264.encode(np.zeros(shape, np.uint8), 30)


def without_b_frames(codec: PyAVClip) -> PyAVClip:
    return replace(codec, parameters=tuple((name, 0 if name == "bframes" else value) for name, value in codec.parameters))


def test_the_settings_of_h264_change_its_bytes_and_so_its_identity() -> None:
    variants = [
        H264,
        replace(H264, preset="veryfast"),
        replace(H264, gop=2),
        without_b_frames(H264),
        replace(H264, pixel_format="yuv444p"),
    ]
    assert len({identity(codec, 30) for codec in variants}) == len(variants)


def test_the_gop_sets_how_often_a_keyframe_comes() -> None:
    # Each keyframe starts with a sequence parameter set, unit type 7 after a start code.
    keyframes = [replace(H264, gop=gop).encode(probe(12), 30).count(b"\0\0\0\x01\x67") for gop in (250, 4, 1)]
    assert keyframes == [1, 3, 12]


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (replace(H264, encoder="libnone"), "has no video encoder 'libnone'$"),
        (replace(H264, decoder="none264"), "has no video decoder 'none264'$"),
        (replace(H264, encoder="aac"), "has no video encoder 'aac'$"),
        (replace(H264, preset="glacial"), "cannot encode .* at CRF 30"),
    ],
    ids=["encoder", "decoder", "audio", "preset"],
)
def test_what_ffmpeg_does_not_have_is_refused_by_name(codec: PyAVClip, message: str) -> None:
    with pytest.raises(ValueError, match=f"^h264: .*{message}"):
        codec.decode(codec.encode(probe(3), 30))


def test_a_clip_of_another_codec_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^h265: corrupt data"):
        H265.decode(H264.encode(sample(H264), 30))


def test_h264_decodes_as_a_player_does() -> None:
    frames, data = sample(H264), H264.encode(sample(H264), 23)
    stream = data[data.index(b"\0\0\0\x01") :]
    with av.open(io.BytesIO(stream), "r", format="h264") as player:
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in player.decode(video=0)])
    assert np.array_equal(shown, H264.decode(data))
    assert float(np.mean((shown.astype(float) - frames) ** 2)) < 40


def test_the_probe_is_the_same_each_time() -> None:
    assert np.array_equal(probe(), probe())


def test_a_codec_is_found_in_the_table_or_by_reference() -> None:
    assert find_codec("h264") is CODECS["h264"]
    assert find_codec("tests.test_codecs:H265") is H265


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jpg", "unknown codec 'jpg'; did you mean 'jpeg'?"),
        ("tests.test_codecs:SIZES", "codec 'tests.test_codecs:SIZES': expected Codec, got list"),
        ("no.such.module:H265", "codec 'no.such.module:H265': cannot import"),
    ],
)
def test_a_codec_that_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        find_codec(name)
    assert str(refused.value).startswith(message)


NUMPY_ALONE = """
import sys, types
package = types.ModuleType("trainables")
package.__path__ = [sys.argv[1]]
sys.modules.update({"trainables": package, **dict.fromkeys(sys.argv[2:])})
from trainables.codecs import CODECS, identity
for name in ("jpeg", "h264"):
    try:
        print(identity(CODECS[name], CODECS[name].levels[0]))
    except ImportError as error:
        print(name, "needs", error.name)
"""


@pytest.mark.parametrize(
    ("missing", "jpeg", "h264"),
    [
        (["av"], identity(JPEG, 95), "h264 needs av"),
        (["av", "cv2", "PIL", "torch"], "jpeg needs cv2", "h264 needs av"),
    ],
    ids=["without-av", "numpy-alone"],
)
def test_a_missing_library_breaks_only_the_codecs_that_need_it(missing: list[str], jpeg: str, h264: str) -> None:
    command = [sys.executable, "-c", NUMPY_ALONE, str(Path(trainables.__file__).parent), *missing]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.splitlines() == [jpeg, h264]


def test_the_package_is_imported_without_av() -> None:
    code = "import sys; sys.modules['av'] = None; import trainables; print(trainables.CODECS['jpeg'].name)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "jpeg\n"


@every_entry
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
def test_a_ladder_has_distinct_levels(codec: Codec) -> None:
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
def test_wanted_frames_equal_those_of_the_whole_clip_in_the_order_asked_for(codec: Codec) -> None:
    frames = sample(codec)
    data = codec.encode(frames, codec.levels[2])
    whole = codec.decode(data)
    for wanted in ((0,), (len(frames) - 1, 0), (len(frames) // 2,) * 2, ()):
        assert np.array_equal(codec.decode(data, wanted), whole[list(wanted)])


@every_codec
def test_a_frame_outside_the_clip_is_refused(codec: Codec) -> None:
    frames = sample(codec)
    with pytest.raises(IndexError):
        codec.decode(codec.encode(frames, codec.levels[0]), (len(frames),))


@every_codec
def test_a_single_frame_has_no_bytes_of_later_frames(codec: Codec) -> None:
    frames = sample(codec)
    data = codec.encode(frames[:1], codec.levels[0])
    assert codec.size(data).rest == 0
    assert 0 < codec.size(data).first <= len(data)


@every_codec
def test_the_size_is_that_of_the_data_less_a_small_header(codec: Codec) -> None:
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
def test_encoding_is_repeatable_in_parallel_threads(codec: Codec) -> None:
    level = codec.levels[2]
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: codec.encode(sample(codec), level), range(16)))) == 1


@pytest.mark.slow
@every_entry
def test_encoding_is_the_same_in_another_process(codec: Codec) -> None:
    code = f"from trainables.codecs import CODECS, identity; print([identity(CODECS[{codec.name!r}], n) for n in {codec.levels}])"
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


@every_entry
def test_the_identity_of_a_condition_is_that_of_its_codec_and_level(codec: Codec) -> None:
    for level in codec.levels:
        assert identity_of(Condition(codec=codec.name, level=level)) == identity(codec, level)


def test_clean_has_no_identity() -> None:
    assert identity_of(CLEAN) is None
