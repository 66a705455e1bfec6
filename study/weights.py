"""Weights files that a study starts from, kept beside its trials, where workers on every machine find them."""

from rich.console import Console

from study.plan import WEIGHTS, Plan, hyper_of
from trainables import Architecture, examine, file_of


def keep(plan: Plan, console: Console) -> None:
    """Check that every weights file fits its network, then copy it into the storage, named by its digest.

    Raises ValueError in one line for a file that cannot be read as plain tensors or does not fit, before anything is trained.
    """
    folder = plan.storage.child(WEIGHTS)
    kept = folder.names()
    roots = {(entry.initial, entry.cell.architecture.name): entry for entry in plan.entries if entry.initial in plan.weights}
    for (digest, name), entry in roots.items():
        architecture = entry.cell.architecture
        if file_of(digest) in kept or not isinstance(architecture, Architecture):
            continue
        path, source = plan.weights[digest], plan.sources[entry.cell.dataset]
        hyper = hyper_of(architecture, entry.cell.budget.hyper)
        fresh = examine(architecture, hyper, source, path, whole=entry.imported)
        if fresh:
            console.print(
                f"{path}: starts {name}; it was trained for other classes, so these tensors stay random: {', '.join(fresh)}",
                soft_wrap=True,
                highlight=False,
            )
        folder.write(file_of(digest), path.read_bytes())
