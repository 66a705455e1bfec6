"""One trial: what identifies it, and the folder that is the truth about it.

A trial's folder is named by the hash of everything that its figures depend on, so that a relaunch finds what is done and a change
of plan redoes only what it touches. Files are written whole: a reader sees the old one or the new one, never a part.

    <storage>/trials/<key>/trial.json            the trial, for people and for reports
                           state.pt              training state after the last epoch; gone when training is done
                           history.json          one record an epoch
                           weights.pt            the trained network: training is done
                           scores/<name>.json    metrics, rate and replicates of one condition: that condition is done
                           outputs/<name>.npy    what the network put out for each test item, for fusions
                           pictures/<name>.png   drawn predictions
                           panels/<codec>.png    the same, conditions side by side
                           failure.json          why the last attempt ended
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.codecs import identity_of
from trainables.contracts import Codec, Condition, Numerics, Score
from trainables.networks.initial import is_digest
from trainables.trials.panels import panel, strip
from trainables.trials.storage import Folder

FORMAT = 1
"""Of every file in a trial's folder; raise it when their meaning changes."""

Hyper = Mapping[str, bool | int | float | str | Sequence[int] | None]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training, and scoring, by names and numbers alone: what crosses the border to a Ray worker."""

    architecture: str
    recipe: str
    codec: str | None
    dataset: str
    fingerprint: str
    """Of the data set; empty where it is not at hand: such a trial can be planned, not run."""
    seed: int
    stage: str
    epochs: int
    hyper: Hyper
    initial: str
    """What it starts from where it has no parents: `none`, a name that the architecture knows, or a file by its digest."""
    numerics: Numerics
    parents: tuple[str, ...]
    """Keys of the trials whose weights it starts from."""
    identities: tuple[str, ...]
    """Of the codec at each level of the schedule."""

    @property
    def imported(self) -> bool:
        """Whether its network is somebody's own: a file's weights as they are."""
        return is_digest(self.initial) and not self.epochs

    @property
    def key(self) -> str:
        """16 hexadecimal digits: the digest of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the format."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Trial":
        """What `to_json` made. Raises ValueError for another format."""
        if record.get("format") != FORMAT:
            raise ValueError(f"trial record of format {record.get('format')}, this version reads {FORMAT}")
        values = {field.name: record[field.name] for field in fields(cls)}
        hyper = {name: tuple(value) if isinstance(value, list) else value for name, value in values["hyper"].items()}
        tuples = {name: tuple(values[name]) for name in ("parents", "identities")}
        return cls(**values | tuples | {"hyper": hyper, "numerics": Numerics(**values["numerics"])})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial with where and how to run it; what changes no figure is here and not in `Trial`."""

    trial: Trial
    conditions: tuple[Condition, ...]
    folder: str
    """URI of the trial's folder."""
    parents: tuple[str, ...]
    """URIs of the parents' folders, in the recipe's order."""
    weights: str
    """URI of the folder that keeps weights files, named by their digests."""
    data: str | None
    """Where the data set lies; None for embedded data."""
    launched: str
    """The directory of the launch, where somebody's own modules are."""
    threads: int
    workers: int
    gpu: bool
    """Whether it takes a share of a GPU, where there is one; a trial that takes none runs on processors wherever it is."""

    def to_config(self) -> dict[str, Any]:
        """Plain values for Tune."""
        return {
            "trial": self.trial.to_json(),
            "conditions": [[condition.codec, condition.level] for condition in self.conditions],
            "folder": self.folder,
            "parents": list(self.parents),
            "weights": self.weights,
            "data": self.data,
            "launched": self.launched,
            "threads": self.threads,
            "workers": self.workers,
            "gpu": self.gpu,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Job":
        """What `to_config` made."""
        return cls(
            trial=Trial.from_json(config["trial"]),
            conditions=tuple(Condition(codec=codec, level=level) for codec, level in config["conditions"]),
            folder=config["folder"],
            parents=tuple(config["parents"]),
            weights=config["weights"],
            data=config["data"],
            launched=config["launched"],
            threads=config["threads"],
            workers=config["workers"],
            gpu=config["gpu"],
        )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a trial's folder held when it was listed."""

    started: bool
    trained: bool
    missing: tuple[Condition, ...]
    """Conditions without a score by the codec as it is now."""
    failed: bool

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.trained and not self.missing


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial."""

    folder: Folder

    def progress(self, conditions: Sequence[Condition]) -> Progress:
        """What is done, by one listing."""
        names = self.folder.names()
        return Progress(
            started="trial.json" in names,
            trained="weights.pt" in names,
            missing=tuple(condition for condition in conditions if score_file(condition) not in names),
            failed="failure.json" in names,
        )

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.folder.write(name, json.dumps(value, indent=1).encode())

    def read_json(self, name: str) -> Any:
        """Read what `write_json` wrote. Raises FileNotFoundError."""
        return json.loads(self.folder.read(name))

    def write_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Write tensors and plain values, to be read by torch with `weights_only`."""
        import torch

        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        self.folder.write(name, buffer.getvalue())

    def read_state(self, name: str) -> dict[str, Any]:
        """Read what `write_state` wrote, on the processor. Raises FileNotFoundError, and ValueError for another format."""
        import torch

        state = torch.load(io.BytesIO(self.folder.read(name)), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(f"{self.folder.uri}/{name}: not of format {FORMAT}; remove it to have it made again")
        return state

    def history(self) -> list[dict[str, Any]]:
        """One record an epoch: losses, validation, seconds, waiting, time (UTC, ISO)."""
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
        """Keep why an attempt ended."""
        self.write_json("failure.json", {"format": FORMAT, "reason": reason, "time": now()})

    def write_score(self, score: Score) -> None:
        """Keep a score: what belongs to it first, since the score says that the condition is done."""
        if score.outputs is not None:
            buffer = io.BytesIO()
            np.save(buffer, score.outputs, allow_pickle=False)
            self.folder.write(output_file(score.condition), buffer.getvalue())
        if score.pictures:
            self.folder.write(picture_file(score.condition), strip(score.pictures))
        record = {
            "format": FORMAT,
            "codec": score.condition.codec,
            "level": score.condition.level,
            "time": now(),
            "bits_per_pixel": score.bits_per_pixel,
            "stream_bits_per_pixel": score.stream_bits_per_pixel,
            "bytes_per_item": score.bytes_per_item,
            "metrics": dict(score.metrics),
            "chosen": dict(score.chosen),
            "replicates": {name: [float(value) for value in values] for name, values in score.replicates.items()},
        }
        self.write_json(score_file(score.condition), record)

    def scores(self, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
        """The records of those conditions that are done, in the order given."""
        names = self.folder.names()
        return [self.read_json(score_file(condition)) for condition in conditions if score_file(condition) in names]

    def outputs(self, condition: Condition) -> npt.NDArray[np.float32]:
        """What the network put out for each test item under a condition. Raises FileNotFoundError."""
        found: npt.NDArray[np.float32] = np.load(io.BytesIO(self.folder.read(output_file(condition))), allow_pickle=False)
        return found

    def write_panel(self, codec: Codec) -> None:
        """Set the pictures of clean and of the codec's shown levels side by side, as far as there are any."""
        names = self.folder.names()
        conditions = (Condition(), *(Condition(codec=codec.name, level=level) for level in codec.shown))
        strips = {str(each): self.folder.read(picture_file(each)) for each in conditions if picture_file(each) in names}
        if strips:
            self.folder.write(panel_file(codec.name), panel(strips))


def score_file(condition: Condition) -> str:
    """Named by condition and codec identity, so that a codec whose bytes change is scored again."""
    identity = identity_of(condition)
    return f"scores/{condition}.json" if identity is None else f"scores/{condition}-{identity}.json"


def output_file(condition: Condition) -> str:
    """The outputs that a score was made of."""
    return score_file(condition).replace("scores/", "outputs/").replace(".json", ".npy")


def picture_file(condition: Condition) -> str:
    """The drawn predictions of a condition."""
    return f"pictures/{condition}.png"


def panel_file(codec: str) -> str:
    """The figure that sets conditions side by side."""
    return f"panels/{codec}.png"


def now() -> str:
    """UTC to the millisecond, which is what MLflow keeps."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
