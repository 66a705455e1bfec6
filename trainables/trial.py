"""One trial: what identifies it, and the folder that is the truth about it.

A trial's folder is named by the hash of everything that its figures depend on, so that a relaunch finds what is done and a change
of plan redoes only what it touches. Files are written whole: a reader sees the old one or the new one, never a part.

    <storage>/trials/<key>/trial.json            the trial, for people and for reports
                           state.pt              training state after the last epoch; gone when training is done
                           history.json          one record an epoch
                           weights.pt            the trained network: training is done
                           scores/<name>.json    metrics, rate and replicates of one condition: that condition is done
                           pictures/<name>.png   drawn predictions
                           failure.json          why the last attempt ended
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from trainables.contracts import Condition, Score

FORMAT = 1
"""Of every file in a trial's folder; raise it when their meaning changes."""

Hyper = Mapping[str, bool | int | float | str | Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A training, and scoring, by names and numbers alone: what crosses the border to a Ray worker."""

    architecture: str
    recipe: str
    codec: str | None
    dataset: str
    fingerprint: str
    seed: int
    stage: str
    epochs: int
    hyper: Hyper
    parents: tuple[str, ...]
    """Keys of the trials whose weights it starts from."""
    identities: tuple[str, ...]
    """Of the codec at each level of the schedule."""

    @property
    def key(self) -> str:
        """16 hexadecimal digits: the digest of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def cell(self) -> str:
        """`segnet/jpeg/constant-10`."""
        return "/".join((self.architecture, self.codec or "clean", self.recipe))

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the format."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Trial":
        """What `to_json` made. Raises ValueError for another format."""
        if record.get("format") != FORMAT:
            raise ValueError(f"trial record of format {record.get('format')}, this version reads {FORMAT}")
        values = {field.name: record[field.name] for field in fields(cls)}
        return cls(**values | {"parents": tuple(values["parents"]), "identities": tuple(values["identities"])})


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial with where and how to run it; what changes no figure is here and not in `Trial`."""

    trial: Trial
    conditions: tuple[Condition, ...]
    folder: str
    parents: tuple[str, ...]
    """Folders of the parents, in the recipe's order."""
    data: str | None
    """Where the data set lies; None for embedded data."""
    threads: int
    workers: int

    def to_config(self) -> dict[str, Any]:
        """Plain values for Tune."""
        return {
            "trial": self.trial.to_json(),
            "conditions": [[condition.codec, condition.level] for condition in self.conditions],
            "folder": self.folder,
            "parents": list(self.parents),
            "data": self.data,
            "threads": self.threads,
            "workers": self.workers,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Job":
        """What `to_config` made."""
        return cls(
            trial=Trial.from_json(config["trial"]),
            conditions=tuple(Condition(codec=codec, level=level) for codec, level in config["conditions"]),
            folder=config["folder"],
            parents=tuple(config["parents"]),
            data=config["data"],
            threads=config["threads"],
            workers=config["workers"],
        )


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial."""

    path: Path

    def exists(self, name: str) -> bool:
        """Whether a file was written."""
        return (self.path / name).is_file()

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole and durably: a temporary file beside it, fsync, rename."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        return (self.path / name).read_bytes()

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.write(name, json.dumps(value, indent=1).encode())

    def read_json(self, name: str) -> Any:
        """Read what `write_json` wrote."""
        return json.loads(self.read(name))

    def write_state(self, name: str, state: Mapping[str, Any]) -> None:
        """Write tensors and plain values, to be read by torch with `weights_only`."""
        import torch

        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        self.write(name, buffer.getvalue())

    def read_state(self, name: str) -> dict[str, Any]:
        """Read what `write_state` wrote, on the processor. Raises ValueError for another format."""
        import torch

        state = torch.load(io.BytesIO(self.read(name)), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError(f"{self.path / name}: not of format {FORMAT}; remove it to have it made again")
        return state

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record an epoch: losses, validation, seconds, waiting, time (UTC, ISO)."""
        return list(self.read_json("history.json")) if self.exists("history.json") else []

    @property
    def trained(self) -> bool:
        """Whether training is done."""
        return self.exists("weights.pt")

    def scored(self, condition: Condition, identity: str | None) -> bool:
        """Whether a condition is done with the codec as it is now."""
        return self.exists(score_file(condition, identity))

    def write_score(self, score: Score, identity: str | None, time: str) -> None:
        """Keep a score: pictures first, since the score says that the condition is done."""
        if score.pictures:
            self.write(picture_file(score.condition), png(score.pictures))
        record = {
            "format": FORMAT,
            "codec": score.condition.codec,
            "level": score.condition.level,
            "identity": identity,
            "time": time,
            "bits_per_pixel": score.bits_per_pixel,
            "bytes_per_item": score.bytes_per_item,
            "metrics": dict(score.metrics),
            "replicates": {name: [float(value) for value in values] for name, values in score.replicates.items()},
        }
        self.write_json(score_file(score.condition, identity), record)

    def read_score(self, condition: Condition, identity: str | None) -> dict[str, Any]:
        """The record that `write_score` kept."""
        return dict(self.read_json(score_file(condition, identity)))


def score_file(condition: Condition, identity: str | None) -> str:
    """Named by condition and codec identity, so that a codec whose bytes change is scored again."""
    return str(PurePosixPath("scores", f"{condition}.json" if identity is None else f"{condition}-{identity}.json"))


def picture_file(condition: Condition) -> str:
    """The drawn predictions of a condition."""
    return str(PurePosixPath("pictures", f"{condition}.png"))


def png(pictures: Sequence[np.typing.NDArray[np.uint8]]) -> bytes:
    """Pictures below one another, as a lossless file."""
    from PIL import Image

    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(picture, ((0, 4), (0, width - picture.shape[1]), (0, 0)), constant_values=255) for picture in pictures]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(padded)).save(buffer, "PNG")
    return buffer.getvalue()
