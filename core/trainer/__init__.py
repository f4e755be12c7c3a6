"""Training: `train(TrainConfig(...))` runs one stage and returns the folder of its model."""

from core.trainer.trainer import train

__all__ = ["train"]
