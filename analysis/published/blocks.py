"""The README's blocks: tables and sentences rendered from the files of results.

A block is the text between `<!-- results:NAME -->` and `<!-- /results:NAME -->`; NAME is the file's name without its suffix.
Nothing within is written by hand. To add a sentence, add it to `_sentences`.
"""

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimands import compression
from analysis.figures import Drawing, by_level
from analysis.provenance import own_weights
from analysis.published.files import Published, load
from analysis.recovery import Study, matrix, recovery, select
from analysis.words import better, decimals, uneven

WIDTH = 132
NO_BREAK = "\N{NO-BREAK SPACE}"
MARK = re.compile(r"<!-- (?P<end>/?)results:(?P<name>[\w.-]+) -->\n")
METRICS: Mapping[str, str] = {"miou": "mIoU", "map": "mAP", "rmse": "RMSE in m", "oks_map": "OKS mAP", "top1": "top-1"}
"""Metrics as the README writes them; others keep their name."""
LEVELS: Mapping[str, str] = {"jpeg": "JPEG quality", "h264": "H.264 CRF"}
"""Levels of a codec as the README writes them; others are `CODEC level`."""
TUNED = "_tuned"
"""Suffix of metrics whose thresholds are tuned for each level."""


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """One architecture on one data set under one codec, scored by its primary metric."""

    architecture: str
    dataset: str
    codec: str
    rows: pd.DataFrame
    """Its rows of `recovery`."""
    scores: pd.DataFrame
    """Its rows of `matrix`."""
    trials: pd.DataFrame

    @property
    def metric(self) -> str:
        name = str(self.scores["metric"].iloc[0])
        return METRICS.get(name, name)

    @property
    def level(self) -> str:
        return LEVELS.get(self.codec, f"{self.codec} level")

    @property
    def digits(self) -> int:
        return max(2, decimals(self.scores["value"]))

    @property
    def streams(self) -> str:
        """All streams of a fusion; empty for a network."""
        return max(map(str, self.trials["streams"]), key=len)

    @property
    def partial(self) -> set[str]:
        """Cells of a fusion in which only some of its streams were trained on."""
        return set(self.trials.loc[self.trials["streams"] != self.streams, "cell"])


def block(published: Published) -> str:
    """The tables, sentences and origin of one file as Markdown."""
    study = _primary(published)
    subjects = list(_subjects(study))
    parts = [part for subject in subjects for part in (_caption(subject), _table(subject), *_warnings(subject))]
    parts += [_wrapped(f"{line}.") for line in own_weights(study)]
    sentences = [*(line for subject in subjects for line in _sentences(subject, study)), *_tuned(published)]
    listed = "\n".join(_wrapped(f"- {line}", "  ") for line in sentences)
    return "\n\n".join([*parts, *([listed] if listed else []), _made(published)])


def figures(published: Published) -> dict[str, Drawing]:
    """Degradation curves by file name: NAME.svg, or NAME-ARCHITECTURE.svg where the file holds several architectures.

    Fusions of which only some streams were trained on are left out.
    """
    drawn = {}
    subjects = list(_subjects(_primary(published)))
    for subject in subjects:
        names = (subject.architecture, subject.dataset, subject.codec)
        told = [name for name, every in zip(names, zip(*map(_names, subjects), strict=True), strict=True) if len(set(every)) > 1]
        shown = subject.scores[~subject.scores["cell"].isin(subject.partial)]
        drawn["-".join([published.name, *told]) + ".svg"] = by_level(shown, subject.codec)
    return drawn


def rendered(text: str, folder: Path, names: Sequence[str] = ()) -> str:
    """A README with its blocks rendered anew from the files in a folder: all blocks, or those named.

    Raises ValueError in one line where a block's file does not exist, or a file or a name has no block.
    """
    blocks = _blocks(text)
    for name in names or [path.stem for path in sorted(folder.glob("*.parquet"))]:
        if name not in blocks:
            raise ValueError(f"no block for {name}: add the lines `<!-- results:{name} -->` and `<!-- /results:{name} -->`")
    wanted = {name: block(load(folder / f"{name}.parquet")) for name in names or blocks}
    for name, (start, end) in reversed(blocks.items()):
        if name in wanted:
            text = f"{text[:start]}\n{wanted[name]}\n\n{text[end:]}"
    return text


def stale(text: str, folder: Path) -> list[str]:
    """Names of the blocks of a README that differ from their file; a block without a file is left out."""
    known = [name for name in _blocks(text) if (folder / f"{name}.parquet").is_file()]
    return [name for name in known if rendered(text, folder, [name]) != text]


# --- inside -----------------------------------------------------------------------------------------------------------


def _blocks(text: str) -> dict[str, tuple[int, int]]:
    """Start and end of the text within each block, in the order of the README."""
    marks = list(MARK.finditer(text))
    found = {}
    for place, mark in enumerate(marks[::2]):
        closing = marks[2 * place + 1] if 2 * place + 1 < len(marks) else None
        if mark["end"] or closing is None or not closing["end"] or closing["name"] != mark["name"]:
            raise ValueError(f"block {mark['name']} is not closed, or not opened: it needs both of its lines, and no block within")
        if mark["name"] in found:
            raise ValueError(f"block {mark['name']} occurs twice: keep one")
        found[mark["name"]] = (mark.end(), closing.start())
    return found


def _primary(published: Published) -> Study:
    """The study's trials with the scores of their primary metric, which have replicates."""
    results = published.results
    wanted = results.scores["metric"] == results.scores["trial"].map(results.trials["metric"])
    return Study(replace(results, scores=results.scores[wanted]))


def _subjects(study: Study) -> Iterator[_Subject]:
    rows, scores = recovery(study), matrix(study)
    for (architecture, dataset), of_one in scores.groupby(["architecture", "dataset"], sort=False):
        for codec in dict.fromkeys(codec for codec in of_one["codec"] if codec):
            yield _Subject(
                architecture=str(architecture),
                dataset=str(dataset),
                codec=str(codec),
                rows=select(rows, architecture=architecture, dataset=dataset, codec=codec),
                scores=of_one[of_one["codec"].isin(["", codec]) & of_one["trained_on"].isin(["", codec])],
                trials=select(study.trials, architecture=architecture, dataset=dataset),
            )


def _names(subject: _Subject) -> tuple[str, str, str]:
    return subject.architecture, subject.dataset, subject.codec


def _caption(subject: _Subject) -> str:
    seeds = int(subject.scores["seeds"].max())
    shown = f"mean of {seeds} seeds ± their standard deviation" if seeds > 1 else "one seed"
    parts = [f"{subject.metric} ({better(subject.scores)}), {shown}", *_trained(subject), *_tested(subject)]
    if not subject.rows.empty:
        kinds = " or ".join(f'"{kind}"' for kind in dict.fromkeys(subject.rows["interval"]))
        parts.append(f"R - C with its 95 % interval {kinds}, above zero is better")
    return _wrapped(f"**{subject.architecture} on {subject.dataset}**: {'; '.join(parts)}.")


def _trained(subject: _Subject) -> Iterator[str]:
    """Epochs of the baseline, and of the networks trained on from it."""
    trained = subject.trials[subject.trials["epochs"] > 0]
    first, further = (dict.fromkeys(trained.loc[(trained["role"] == "baseline") == own, "epochs"]) for own in (True, False))
    if first:
        yield f"{_listed(first, 'or')} epochs" + (f", then {_listed(further, 'or')} more" if further else "")


def _tested(subject: _Subject) -> Iterator[str]:
    """Number of test items and of the groups that are resampled whole, where they are known."""
    for sizes in dict.fromkeys(tuple(sizes) for sizes in subject.trials["group_sizes"] if len(sizes)):
        yield f"{sum(sizes)} test items" + (f" in {len(sizes)} groups" if max(sizes) > 1 else "")


def _warnings(subject: _Subject) -> list[str]:
    return [_wrapped(line) for line in [uneven(subject.scores)] if line]


def _table(subject: _Subject) -> str:
    """Baseline, control, and each way of retraining with R - C, by level."""
    conditions = subject.scores.drop_duplicates("condition")
    rates = dict(zip(conditions["level"], conditions["bits_per_pixel"], strict=True))
    columns: dict[str, Mapping[int, str]] = {
        "bit/px": {level: "" if math.isnan(rate) else f"{rate:.2f}" for level, rate in rates.items()}
    }
    for role in ("baseline", "continued"):
        of_role = subject.scores[(subject.scores["role"] == role) & ~subject.scores["cell"].isin(subject.partial)]
        if not of_role.empty:
            columns[role] = {int(row["level"]): _spread(row, "value", "sd", subject.digits) for _, row in of_role.iterrows()}
    gains = {}
    for heading, rows in _retrained(subject):
        columns[heading] = {
            int(row["level"]): _spread(row, "retrained", "retrained_sd", subject.digits) for _, row in rows.iterrows()
        }
        gains[heading] = {int(row["level"]): _bounded(row, "compression", subject.digits) for _, row in rows.iterrows()}
    headings, fields = [subject.level], [[str(level) if level else "clean" for level in rates]]
    for heading, column in columns.items():
        headings.append(heading)
        fields.append([column.get(level, "") for level in rates])
        if heading in gains:
            headings.append("R - C")
            fields.append([gains[heading].get(level, "") for level in rates])
    lines = ["|---" * len(headings) + "|", *map(_line, zip(*fields, strict=True))]
    return "\n".join([_line(headings), *lines])


def _line(values: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "|" + "".join(f" {value} |" if value else " |" for value in values)


def _retrained(subject: _Subject) -> Iterator[tuple[str, pd.DataFrame]]:
    """Headings and rows: networks trained at the level tested, then each recipe of several levels."""
    matched = subject.rows[subject.rows["matched"] & ~subject.rows["recalibrated"]]
    for streams, rows in sorted(matched.groupby("streams", sort=False), key=lambda group: group[0] != subject.streams):
        yield "retrained at this level" + ("" if streams == subject.streams else f", {streams} alone"), rows
    several = subject.rows[~subject.rows["cell"].isin(set(subject.rows.loc[subject.rows["matched"], "cell"]))]
    for recipe, rows in several.groupby("recipe", sort=False):
        yield str(recipe), rows


def _sentences(subject: _Subject, study: Study) -> Iterator[str]:
    """The gains of retraining: at the heaviest level trained at, by recipes of several levels, the largest; of recalibration."""
    whole = subject.rows[subject.rows["streams"] == subject.streams]
    if len(whole) < len(subject.rows):
        yield "Where one stream alone is retrained, one stream alone is trained on in the control too."
    trained, recalibrated = whole[~whole["recalibrated"]], whole[whole["recalibrated"] & whole["matched"]]
    if trained.empty:
        return
    own = trained[trained["matched"]]
    several = trained[~trained["cell"].isin(set(own["cell"]))].groupby("cell", sort=False).tail(1)
    ladder = list(dict.fromkeys(subject.rows["level"]))
    heaviest = own[own["level"].map(ladder.index) == own["level"].map(ladder.index).max()]
    largest = own[own["compression"] == own["compression"].max()]
    chosen = [row for rows in (heaviest, several, largest) for _, row in rows.iterrows()]
    for row in {(row["cell"], row["level"]): row for row in chosen}.values():
        yield " ".join(_outcome(subject, row, study))
    for _, row in recalibrated.iterrows():
        yield (
            f"{row['recipe']} changes the baseline's score at {subject.level} {row['level']} by "
            f"{_bounded(row, 'compression', subject.digits)}, without training any weight."
        )


def _outcome(subject: _Subject, row: "pd.Series[Any]", study: Study) -> Iterator[str]:
    """What one row of `recovery` says: R - C of each seed, the share of the gap that it closes, its clean cost."""

    def known(ratio: str) -> bool:
        return not (row[f"{ratio}_too_small"] or math.isnan(row[ratio]))

    name = f"{subject.architecture} {row['recipe']}"
    each = _by_seed(study, row)
    beats, digits = sum(gain > 0 for gain in each), subject.digits
    told = _listed([f"{gain:+.{digits}f}" for gain in each], "and")
    beaten = (
        f"beats its control in {beats} of {len(each)} seeds"
        if len(each) > 1
        else ("does not beat", "beats")[beats] + " its control"
    )
    yield f"At {subject.level} {row['level']}, {name} {beaten} (R - C: {told})."
    if known("attributable_gap_closed_clean") and row["attributable_gap_closed_clean"] > 0:
        share, low, high = (f"{100 * row[f'attributable_gap_closed_clean{end}']:.0f} %" for end in ("", "_low", "_high"))
        without = f"{100 * row['gap_closed_clean']:.0f} %" if known("gap_closed_clean") else ""
        seeming = f"; without the control it would seem to close {without}" if without else ""
        yield f"It closes {share} [{low}, {high}] of the gap that compression opens{seeming}."
    yield f"On clean imagery R - C is {_bounded(row, 'clean_cost', digits)}."


def _by_seed(study: Study, row: "pd.Series[Any]") -> list[float]:
    """R - C of each seed, oriented, for a row of `recovery`."""
    cell = next(each for each in study.retrained if each.cell == row["cell"] and each.labels["dataset"] == row["dataset"])
    at = (row["codec"], int(row["level"])) if row["level"] else ("", 0)
    retrained, control = (study.scores(trials, at, row["metric"]) for trials in (cell.retrained, cell.control))
    if retrained is None or control is None:
        return []
    return [float(gain) for gain in compression(retrained[0], control[0], study.modes[row["metric"]])]


def _tuned(published: Published) -> Iterator[str]:
    """How much thresholds that are tuned for each level change any score."""
    values = published.results.scores.pivot_table(index=["trial", "codec", "level"], columns="metric", values="value", sort=False)
    for name in values:
        plain = str(name).removesuffix(TUNED)
        if plain != name and plain in values:
            most = float(np.abs(values[name] - values[plain]).max())
            yield f"A threshold tuned for each level changes no network's {METRICS.get(plain, plain)} by more than {most:.3f}."


def _made(published: Published) -> str:
    origin = published.origin
    commits = ", ".join(re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", commit) for commit in origin.commit.split(", "))
    plural = "s" if "," in commits else ""
    lines = ", ".join(f"`{line}`" for line in origin.command.splitlines())
    return _wrapped(f"Made on {origin.processor}, at commit{plural} {commits}, {origin.date}, by {lines}.")


def _spread(row: "pd.Series[Any]", name: str, deviation: str, digits: int) -> str:
    return f"{row[name]:.{digits}f}" + ("" if math.isnan(row[deviation]) else f" ± {row[deviation]:.{digits}f}")


def _bounded(row: "pd.Series[Any]", name: str, digits: int) -> str:
    return f"{row[name]:+.{digits}f} [{row[f'{name}_low']:+.{digits}f}, {row[f'{name}_high']:+.{digits}f}]"


def _listed(values: Sequence[object] | Mapping[object, object], last: str) -> str:
    """Values as "1, 2 and 3"."""
    *most, end = map(str, values)
    return f"{', '.join(most)} {last} {end}" if most else end


def _wrapped(text: str, indent: str = "") -> str:
    """Lines of at most `WIDTH` characters. None begins with a minus or a percent sign: Markdown reads the former as a list."""
    kept = re.sub(r" (?=[-±%] )| (?=%)|(?<= [-±]) ", NO_BREAK, text)
    lines = textwrap.wrap(kept, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(NO_BREAK, " ")
