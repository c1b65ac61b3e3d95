"""Trackers: where a run's curves go beside its own history.

They get numbers and the recipe only, never samples. accelerate's trackers are not used: each would
be wrapped in as many lines as its library is here.
"""

from pathlib import Path
from typing import Any, Literal, Protocol

PACKAGES = {
    "clintune.training.tracking.WandbTracker": "wandb",
    "clintune.training.tracking.TensorBoardTracker": "tensorboard",
}
"""The package that a tracker needs."""


class Tracker(Protocol):
    """What the loop needs of a tracker."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record values at a step."""

    def finish(self) -> None:
        """Flush and close."""


class NoTracker:
    """Track nothing; the run folder has the history anyway."""

    def __init__(self, *, folder: Path, name: str, settings: dict[str, Any]) -> None:
        del folder, name, settings

    def log(self, step: int, values: dict[str, float]) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """Track with Weights & Biases.

    With `mode` offline it writes below the run folder, needs no account and sends nothing.
    """

    def __init__(
        self,
        *,
        folder: Path,
        name: str,
        settings: dict[str, Any],
        project: str,
        mode: Literal["online", "offline"],
    ) -> None:
        import wandb

        self.run = wandb.init(
            project=project,
            name=name,
            config=settings,
            dir=str(folder),
            mode=mode,
            save_code=False,
            reinit="create_new",
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record values at a step."""
        self.run.log(values, step=step)

    def finish(self) -> None:
        """Flush and close."""
        self.run.finish()


class TensorBoardTracker:
    """Track with TensorBoard event files in `tensorboard/` of the run folder."""

    def __init__(self, *, folder: Path, name: str, settings: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        del settings
        self.writer = SummaryWriter(str(folder / "tensorboard" / name))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record values at a step."""
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def finish(self) -> None:
        """Flush and close."""
        self.writer.close()
