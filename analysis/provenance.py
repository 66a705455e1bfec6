"""The origin of a study's figures: data, codecs, training, code, and the command that reproduces them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pandas as pd

from analysis.recovery import Study

OWN_WEIGHTS = "sha256:"
"""Prefix of `initial` where a trial starts from a user's weights file."""


def where_from(study: Study, tracking_uri: str) -> dict[str, str]:
    """Number of trials, when they were scored, tracking store (without credentials), commit and library versions."""
    trials = study.trials
    versions = dict.fromkeys(tuple(each.items()) for each in trials["versions"])
    return {
        "study": study.results.study,
        "trials": f"{len(trials)} in these tables, of {len(study.results.trials)} finished",
        "scored": f"{_moment(trials['scored'].min())} to {_moment(trials['scored'].max())}",
        "tracking store": without_credentials(tracking_uri),
        "git commit": ", ".join(dict.fromkeys(commit or "none (installed package)" for commit in trials["git_commit"])),
        "libraries": "; or ".join(", ".join(f"{name} {version}" for name, version in each) for each in versions),
    }


def how_made(trials: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """Title and facts on how the networks of one architecture on one data set were made."""
    first = trials.iloc[0]
    identities = {name: digest for each in trials["codec_identity"] for name, digest in each.items() if digest}
    rootless = [not parents for parents in trials["parents"]]
    return f"{first['architecture']} on {first['dataset']}", {
        "task": first["task"],
        "data fingerprint": _distinct(trials["data_fingerprint"]),
        "seeds": _distinct(trials["seed"].sort_values()),
        "epochs": "; ".join(
            f"{epochs}: {', '.join(dict.fromkeys(of_one['recipe']))}" for epochs, of_one in trials.groupby("epochs", sort=False)
        ),
        "initial weights of the baseline": _distinct(trials.loc[rootless, "initial"]) or "not in these tables",
        "hyper-parameters": "; or ".join(dict.fromkeys(_named(each) for each in trials["hyper"])),
        "numerics": "; or ".join(dict.fromkeys(_named(each) for each in trials["numerics"])),
        "codec identities": _named(identities),
    }


def own_weights(study: Study) -> list[str]:
    """A line per architecture and data set whose baseline is a user's own weights, with the cells that do not start from it."""
    trials = study.results.trials
    lines = []
    for (architecture, dataset), brought in trials[_brought(trials)].groupby(["architecture", "dataset"], sort=False):
        retrained = [
            cell for cell in study.retrained if cell.labels["architecture"] == architecture and cell.labels["dataset"] == dataset
        ]
        from_own = {cell.cell: cell.baseline[0] for cell in retrained if cell.baseline[0] in brought.index}
        others = [cell.cell for cell in retrained if cell.cell not in from_own]
        used = brought.loc[sorted({*from_own.values(), *brought.index.intersection(study.trials.index)}), "initial"]
        if used.empty:
            continue
        line = f"{architecture} on {dataset}: the baseline is your own weights {_distinct(used)}; seeds vary only the retraining"
        lines.append(f"{line}. These start from another baseline: {', '.join(others)}" if others else line)
    return lines


def commands(trials: pd.DataFrame, study: str) -> list[str]:
    """The commands that reproduce these trials, one per task and data set; the reader adds the paths of the data."""
    lines = []
    for (task, dataset), of_one in trials.groupby(["task", "dataset"], sort=False):
        cells = list(dict.fromkeys(of_one.loc[of_one["control"] != "", "cell"])) or list(dict.fromkeys(of_one["cell"]))
        named = " ".join(f"'{cell}'" for cell in cells)
        own = "".join(f" --baseline {name}=WEIGHTS" for name in dict.fromkeys(of_one.loc[_brought(of_one), "architecture"]))
        lines.append(f"study run {study} {named} --seeds {int(of_one['seed'].max()) + 1} --data {task}={dataset}{own}")
    return lines


def without_credentials(uri: str) -> str:
    """A tracking URI without user name, password and query."""
    parts = urlsplit(uri)
    if not (parts.query or "@" in parts.netloc):
        return uri
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _brought(trials: pd.DataFrame) -> "pd.Series[bool]":
    return trials["initial"].str.startswith(OWN_WEIGHTS) & (trials["epochs"] == 0)


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _named(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _moment(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
