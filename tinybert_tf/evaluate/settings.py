"""Settings of the programs that run a trained model."""

import dataclasses

from tinybert_tf.distribution import DeviceSettings
from tinybert_tf.settings import UNUSED_SEED, check_at_least_one, nested, setting


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """A trained model and its batch size."""

    model_dir: str = setting("", "a model directory that was fine-tuned or distilled", required=True)
    batch_size: int = setting(64, "examples at a time")
    seed: int = setting(0, UNUSED_SEED)
    devices: DeviceSettings = nested(DeviceSettings)

    def __post_init__(self):
        check_at_least_one(self, "batch_size")
