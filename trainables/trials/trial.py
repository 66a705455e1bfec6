"""One trial: what identifies it, and the folder that holds everything known about it.

A trial's folder is named by the hash of everything its figures depend on, so that a relaunch finds finished work and a changed plan
redoes only what the change affects. Files are written atomically.

    <storage>/trials/<key>/trial.json                    the trial, for people and reports
                           state.pt                      training state after the last epoch; removed when training ends
                           history.json                  one record per epoch
                           weights.pt                    the trained network; search trials keep none
                           scores/<split>/<condition>.json     metrics and rate of one condition
                           replicates/<split>.npz        bootstrap replicates of every scored condition, float32
                           outputs/<split>/<condition>.npy     the network's output for each item, for fusions
                           pictures/<condition>.png      drawn predictions
                           panels/<codec>.png            the same, conditions side by side
                           done.json                     manifest: size and CRC-32 of each file above but state.pt
                           failure.json                  why the last attempt ended

The manifest is written when training ends and again when scoring ends. A trial is trained when its manifest lists intact training
files, and done when the manifest also lists every score asked for.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from trainables.codecs import find_codec, identity_of
from trainables.contracts import CLEAN, Codec, Condition, Numerics, Score, SplitName, View
from trainables.networks.initial import RANDOM, is_digest
from trainables.trials.panels import panel, strip
from trainables.trials.storage import Folder

FORMAT = 2
"""Format of every file in a trial's folder; raise it when their meaning changes."""
MANIFEST = "done.json"
UNLISTED = frozenset({MANIFEST, "state.pt", "failure.json"})
"""Files that a manifest does not list."""

Plain = bool | int | float | str | Sequence[float] | None
Hyper = Mapping[str, Plain]
Stage = Literal["search", "screening", "final"]
"""Search and screening trials never read the test split; search trials keep no weights."""


def _names(of: type[Any]) -> set[str]:
    return {each.name for each in fields(of)}


def without_defaults(value: Any) -> dict[str, Any]:
    """The fields of a dataclass value that differ from their default."""
    found = {}
    for each in fields(value):
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if getattr(value, each.name) != default:
            found[each.name] = getattr(value, each.name)
    return found


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training and scoring, by names and numbers alone, so that it can be sent to a Ray worker.

    Fields that equal their default are left out of the hash and of records, so that adding a field with a default renames no trial.
    Never change a default.
    """

    architecture: str
    """Name, or `package.module:NAME`."""
    recipe: str
    dataset: str
    """Name, or `package.module:NAME`."""
    fingerprint: str
    """The data set's fingerprint; empty where the data are missing: such a trial can be planned but not run."""
    seed: int
    codec: str | None = None
    """Name, or `package.module:NAME`; None: clean imagery only."""
    ladder: tuple[int, ...] = ()
    """Levels that the recipe is built over, mildest first: the part of the space's ladder that the recipe depends on."""
    shape: Hyper = field(default_factory=dict)
    """Fields of the recipe's schedule that differ from the recipe's own."""
    stage: Stage = "final"
    withheld: float = 0.0
    """Share of the training split's groups that it does not train on."""
    source_codec: str | None = None
    """Codec by name, or `package.module:NAME`, that all imagery passes first, clean included; None: imagery as distributed."""
    source_level: int | None = None
    epochs: int = 0
    hyper: Hyper = field(default_factory=dict)
    """Hyper-parameters that differ from the defaults of their dataclass."""
    initial: str = RANDOM
    """Initial weights where it has no parents: `none`, a name the architecture knows, or the digest of a file."""
    numerics: Numerics = field(default_factory=Numerics)
    parents: tuple[str, ...] = ()
    """Keys of the trials whose weights it starts from."""
    identities: tuple[str, ...] = ()
    """The codec's identity at each level of the training imagery."""
    architecture_revision: int = 0
    recipe_revision: int = 0

    @property
    def imported(self) -> bool:
        """Whether the network is a user's own: the weights of a file, without training."""
        return is_digest(self.initial) and not self.epochs

    @property
    def source(self) -> Condition:
        """What all imagery passes first; clean: nothing."""
        return Condition(codec=self.source_codec, level=self.source_level)

    @property
    def key(self) -> str:
        """16 hexadecimal digits: the digest of all fields that differ from their default."""
        return hashlib.sha256(json.dumps(self._record(), sort_keys=True).encode()).hexdigest()[:16]

    def _record(self) -> dict[str, Any]:
        record = without_defaults(self)
        return record | {"numerics": without_defaults(self.numerics)} if "numerics" in record else record

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the format."""
        return {"format": FORMAT, **self._record()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Trial":
        """Read what `to_json` wrote; missing fields get their default. Raises ValueError for another format or unknown fields."""
        if record.get("format") != FORMAT:
            raise ValueError(f"trial record has format {record.get('format')}; this version reads format {FORMAT}")
        values = {name: value for name, value in record.items() if name != "format"}
        numerics: Mapping[str, Any] = values.get("numerics", {})
        unknown = sorted({*values} - _names(cls)) + sorted(f"numerics.{name}" for name in {*numerics} - _names(Numerics))
        if unknown:
            raise ValueError(f"trial record has unknown fields {', '.join(unknown)}: a newer version wrote it; update this one")
        for name in ("ladder", "parents", "identities"):
            values[name] = tuple(values.get(name, ()))
        for name in ("hyper", "shape"):
            given = values.get(name, {})
            values[name] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        return cls(**values | {"numerics": Numerics(**numerics)})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial with where and how to run it. Whatever does not change figures is here and not in `Trial`."""

    trial: Trial
    entry: str
    """Name of the trial in the plan, e.g. `segnet/jpeg/constant-10 seed 0`."""
    views: tuple[View, ...]
    """What the trained network is scored on."""
    validation: tuple[Condition, ...]
    """Conditions that each epoch is validated under."""
    folder: str
    """URI of the trial's folder."""
    parents: tuple[str, ...]
    """URIs of the parents' folders, in the recipe's order."""
    weights: str
    """URI of the folder that keeps weights files, named by their digests."""
    data: str | None
    """Path of the data set; None for embedded data."""
    launched: str
    """Launch directory, which holds the user's own modules."""
    threads: int
    workers: int
    gpu: bool
    """Whether it uses a share of a GPU, where there is one; otherwise it runs on the CPU everywhere."""

    def to_config(self) -> dict[str, Any]:
        """Plain values for Tune."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        views = [[split, each.codec, each.level] for split, each in self.views]
        validation = [[each.codec, each.level] for each in self.validation]
        return plain | {
            "views": views, "validation": validation, "trial": self.trial.to_json(), "parents": list(self.parents)
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Job":
        """Read what `to_config` wrote."""
        values = {each.name: config[each.name] for each in fields(cls)}
        values["views"] = tuple(View(split, Condition(codec=codec, level=level)) for split, codec, level in config["views"])
        values["validation"] = tuple(Condition(codec=codec, level=level) for codec, level in config["validation"])
        return cls(**values | {"trial": Trial.from_json(config["trial"]), "parents": tuple(config["parents"])})


class Mark(NamedTuple):
    """A manifest's entry for one file."""

    size: int
    """Bytes."""
    crc32: int

    @classmethod
    def of(cls, data: bytes) -> "Mark":
        """The entry for a file's contents."""
        return cls(len(data), zlib.crc32(data))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state of a trial's folder at the time of a listing."""

    started: bool
    trained: bool
    """The manifest lists the training's files, and all are intact."""
    missing: tuple[View, ...]
    """Views without a score by the codec's present identity."""
    sealed: bool
    """The manifest lists every score asked for, with the replicates, and all are intact."""
    failed: bool

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.trained and self.sealed and not self.missing


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial."""

    folder: Folder
    _written: dict[str, Mark] = field(default_factory=dict, repr=False, compare=False)

    def progress(self, views: Sequence[View] = ()) -> Progress:
        """Progress according to one listing and the manifest."""
        sizes = self.folder.sizes()
        manifest = self.manifest() if MANIFEST in sizes else {}
        intact = {name for name, mark in manifest.items() if sizes.get(name) == mark.size}
        scores = {view: score_file(view.condition, view.split) for view in views}
        replicates = [replicate_file(split) for split in dict.fromkeys(split for split, _ in views)]
        return Progress(
            started="trial.json" in sizes,
            trained=bool(manifest) and all(name in intact for name in manifest if _of_training(name)),
            missing=tuple(each for each, name in scores.items() if name not in (intact if name in manifest else sizes)),
            sealed=all(name in intact for name in (*scores.values(), *replicates)),
            failed="failure.json" in sizes,
        )

    def manifest(self) -> dict[str, Mark]:
        """The manifest by file name; empty where there is none or it has another format."""
        try:
            record = self.read_json(MANIFEST)
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            return {}
        return {name: Mark(*mark) for name, mark in record["files"].items()}

    def seal(self) -> None:
        """Write the manifest over all files of the trial."""
        known = {name: mark for name, mark in self.manifest().items() if _of_training(name)}
        marks = {}
        for name, size in sorted(self.folder.sizes().items()):
            if name in UNLISTED:
                continue
            mark = self._written.get(name) or known.get(name)
            marks[name] = mark if mark is not None and mark.size == size else Mark.of(self.folder.read(name))
        self.write_json(MANIFEST, {"format": FORMAT, "files": marks})

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically."""
        self.folder.write(name, data)
        self._written[name] = Mark.of(data)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.write(name, json.dumps(value, indent=1).encode())

    def read_json(self, name: str) -> Any:
        """Read what `write_json` wrote. Raises FileNotFoundError."""
        return json.loads(self.folder.read(name))

    def write_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Write tensors and plain values, to be read by torch with `weights_only`."""
        import torch

        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        self.write(name, buffer.getvalue())

    def read_state(self, name: str) -> dict[str, Any]:
        """Read what `write_state` wrote, to the CPU.

        Raises FileNotFoundError, and ValueError where the checksum or the format is wrong.
        """
        import torch

        data, mark = self.folder.read(name), self.manifest().get(name)
        if mark is not None and mark != Mark.of(data):
            raise ValueError(f"{self.folder.uri}/{name}: corrupt file (checksum mismatch); delete it, and it is made again")
        try:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # torch, pickle and zipfile raise their own types for damaged files
            raise ValueError(f"{self.folder.uri}/{name}: corrupt file; delete it, and it is made again") from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(f"{self.folder.uri}/{name}: not of format {FORMAT}; delete it, and it is made again")
        return state

    def history(self) -> list[dict[str, Any]]:
        """One record per epoch: losses, validation by condition, seconds, waiting, time (UTC, ISO)."""
        try:
            return list(self.read_json("history.json"))
        except FileNotFoundError:
            return []

    def failure(self) -> str | None:
        """Why the last attempt ended, if it failed."""
        try:
            return str(self.read_json("failure.json")["reason"])
        except FileNotFoundError:
            return None

    def write_failure(self, reason: str) -> None:
        """Record why an attempt ended."""
        self.write_json("failure.json", {"format": FORMAT, "reason": reason, "time": now()})

    def write_score(self, score: Score) -> None:
        """Store a score. The record is written last, since it marks the condition as scored."""
        name = score_file(score.condition, score.split)
        if score.outputs is not None:
            self.write(output_file(score.condition, score.split), _npy(score.outputs))
        if score.pictures:
            self.write(picture_file(score.condition), strip(score.pictures))
        replicates = self.replicates(score.split)
        replicates[label(score.condition)] = {key: np.asarray(value, np.float32) for key, value in score.replicates.items()}
        self.write(replicate_file(score.split), _npz(replicates))
        record = {
            "format": FORMAT,
            "split": score.split,
            "codec": score.condition.codec,
            "level": score.condition.level,
            "time": now(),
            "bits_per_pixel": score.bits_per_pixel,
            "stream_bits_per_pixel": score.stream_bits_per_pixel,
            "bytes_per_item": score.bytes_per_item,
            "metrics": dict(score.metrics),
            "chosen": dict(score.chosen),
        }
        self.write_json(name, record)

    def scores(self, conditions: Sequence[Condition], split: SplitName = "test") -> list[dict[str, Any]]:
        """Records of the conditions that are scored, in the order given."""
        names = self.folder.names()
        found = [(condition, score_file(condition, split)) for condition in conditions]
        return [self.read_json(name) for condition, name in found if name in names]

    def replicates(self, split: SplitName = "test") -> dict[str, dict[str, npt.NDArray[np.float32]]]:
        """Bootstrap replicates (R,) by `label` of the condition and by metric; empty where there are none or they are corrupt."""
        try:
            data = self.folder.read(replicate_file(split))
        except FileNotFoundError:
            return {}
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                found: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
                for name in archive.files:
                    condition, _, metric = name.partition("/")
                    found.setdefault(condition, {})[metric] = archive[name]
                return found
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):  # what damaged archives raise
            return {}

    def unscored(self, views: Sequence[View]) -> tuple[View, ...]:
        """Views without a score, or whose replicates are missing or corrupt."""
        missing = self.progress(views).missing
        replicates = {split: self.replicates(split) for split in dict.fromkeys(split for split, _ in views)}
        return tuple(each for each in views if each in missing or label(each.condition) not in replicates[each.split])

    def outputs(self, condition: Condition, split: SplitName = "test") -> npt.NDArray[np.float32]:
        """The network's output for each item under a condition. Raises FileNotFoundError."""
        found: npt.NDArray[np.float32] = np.load(io.BytesIO(self.folder.read(output_file(condition, split))), allow_pickle=False)
        return found

    def write_panel(self, codec: Codec, conditions: Sequence[Condition]) -> None:
        """Set the pictures of clean and of the codec's shown levels, where among `conditions`, side by side."""
        names = self.folder.names()
        shown = [each for each in conditions if each == CLEAN or each.level in codec.shown]
        strips = {label(each): self.folder.read(picture_file(each)) for each in shown if picture_file(each) in names}
        if strips:
            self.write(panel_file(codec.name), panel(strips))


def _of_training(name: str) -> bool:
    """Whether a file belongs to training, which ends before the first seal, rather than to scoring."""
    return "/" not in name


def _npy(values: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _npz(replicates: Mapping[str, Mapping[str, npt.NDArray[np.float32]]]) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        f"{name}/{metric}": values for name, of_one in replicates.items() for metric, values in of_one.items()
    }
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def label(condition: Condition) -> str:
    """Name of a condition in file names: `clean`, or the codec's name and the level, `jpeg-10`."""
    return "clean" if condition.codec is None else f"{find_codec(condition.codec).name}-{condition.level}"


def score_file(condition: Condition, split: SplitName = "test") -> str:
    """Named by split, condition and codec identity, so that a codec whose output changes is scored again."""
    identity = identity_of(condition)
    return f"scores/{split}/{label(condition)}{'' if identity is None else f'-{identity}'}.json"


def replicate_file(split: SplitName = "test") -> str:
    """The bootstrap replicates of all conditions of a split."""
    return f"replicates/{split}.npz"


def output_file(condition: Condition, split: SplitName = "test") -> str:
    """The outputs a score was computed from."""
    return score_file(condition, split).replace("scores/", "outputs/").replace(".json", ".npy")


def picture_file(condition: Condition) -> str:
    """The drawn predictions of a condition."""
    return f"pictures/{label(condition)}.png"


def panel_file(codec: str) -> str:
    """The figure that sets conditions side by side."""
    return f"panels/{codec}.png"


def now() -> str:
    """UTC to the millisecond, the resolution of MLflow."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
