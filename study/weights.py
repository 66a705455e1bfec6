"""Files of weights that a study starts from, kept beside its trials, where workers on every machine find them."""

from rich.console import Console

from study.plan import WEIGHTS, Plan
from trainables import examine, file_of


def keep(plan: Plan, console: Console) -> None:
    """Try every weights file on its network, then copy it into the storage, named by its digest.

    Raises ValueError in one line for a file that cannot be read as plain tensors or does not fit, before anything is trained.
    """
    folder = plan.storage.child(WEIGHTS)
    kept = folder.names()
    roots = {
        (entry.trial.initial, entry.cell.architecture.name): entry for entry in plan.entries if entry.trial.initial in plan.weights
    }
    for (digest, name), entry in roots.items():
        if file_of(digest) in kept:
            continue
        path, architecture = plan.weights[digest], entry.cell.architecture
        hyper = architecture.hyper(**entry.trial.hyper)
        fresh = examine(architecture, hyper, plan.sources[entry.cell.dataset], path, whole=entry.trial.imported)
        if fresh:
            console.print(
                f"{path}: starts {name}, for other classes; random stay {', '.join(fresh)}", soft_wrap=True, highlight=False
            )
        folder.write(file_of(digest), path.read_bytes())
