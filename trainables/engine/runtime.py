"""Where the work of a training or a scoring is done."""

from dataclasses import dataclass

from trainables.store.imagery import Store


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """It changes speed; the device alone changes figures (in the last digits)."""

    device: str = "cpu"
    workers: int = 0
    """Loader processes; 0 loads in the training process."""
    store: Store | None = None
    """Where encoded imagery is kept; without one it is encoded each time, to the same bytes."""
