"""Every number of one training run, as frozen dataclasses."""

from dataclasses import dataclass
from typing import ClassVar

from pisa_kit.core.errors import InputError, check_choice


@dataclass(frozen=True)
class Training:
    """Every number of one training run.

    Args:
        steps: optimizer steps.
        batch: clips per step, over all processes.
        learning_rate: after `warmup` steps of linear growth; over the last `decay` share of the steps it falls to 0.
        max_grad_norm: longer gradients are scaled down to it.
        ema: decay of the average of the weights, which is what is kept.
        precision: "no" (float32) or "bf16".
        optimizer: "adamw", or "muon" for the weight matrices and AdamW for the rest.
        place_weight: what a place of the picture counts in the velocity loss, see `psft.PLACE_WEIGHTS`.
        mixed_noise: share of clips whose latent frames have noise levels of their own in the velocity loss.
        lora_rank: train low-rank additions to the attention weights of a transformer instead of all weights; 0: all.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 20
    decay: float = 0.2
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    ema: float = 0.99
    seed: int = 0
    precision: str = "no"
    optimizer: str = "adamw"
    place_weight: str = "even"
    mixed_noise: float = 0.0
    lora_rank: int = 0
    log_every: int = 10
    checkpoint_every: int = 100

    MAY_CHANGE: ClassVar[tuple[str, ...]] = ("steps", "decay", "log_every", "checkpoint_every")  # between two calls

    def __post_init__(self):
        for name in ("steps", "batch", "learning_rate", "max_grad_norm", "log_every", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise InputError("training", name, f"is {getattr(self, name)}", "Give a number above 0.")
        if not 0 <= self.ema < 1:
            raise InputError("training", "ema", f"is {self.ema}", "Give a decay in [0, 1).")
        check_choice(self.precision, ("no", "bf16"), "precision")
        check_choice(self.optimizer, ("adamw", "muon"), "optimizer")
        check_choice(self.place_weight, ("even", "moving", "below"), "place_weight")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0."""
        up = min(1.0, (step + 1) / max(self.warmup, 1))
        down = (self.steps - step) / max(self.decay * self.steps, 1)
        return self.learning_rate * min(up, down, 1.0)


@dataclass(frozen=True)
class OroSettings:
    """Every number of one reward tuning (ORO).

    Args:
        training: optimizer and steps.
        weights: weight of each reward, see `rewards.MAKERS`.
        sampling_steps: of the videos that are rewarded.
        guidance: classifier-free guidance scale of the sampler; 1: none. It doubles the work and memory of a step.
        gradient_steps: how many of the last sampling steps carry gradients; 0 draws 1 to all anew for each batch. The
            very last one is tiny (diffusers' schedule ends with sigma 0.016 to 0 for 5 steps), so 1 teaches little.
        reference_weight: of the distance to the reference model, the one that tuning starts from.
        gradient_checkpointing: what is computed again in the backward pass instead of kept, less memory for more time:
            "nothing", "views" (decoder frame by frame, rewards clip by clip), or "all" (the transformer's calls too).
        eval_steps: numbers of steps after which held-out clips are judged.
        early_stopping_metric: the metric of these evaluations that must fall; one that counts lost objects.
        patience: evaluations without a better one after which training stops.
    """

    training: Training
    weights: dict[str, float]
    sampling_steps: int = 5
    guidance: float = 1.0
    gradient_steps: int = 2
    reference_weight: float = 1.0
    gradient_checkpointing: str = "nothing"
    eval_steps: tuple[int, ...] = ()
    early_stopping_metric: str = "fixed_l2"
    patience: int = 2

    def __post_init__(self):
        if not 0 <= self.gradient_steps <= self.sampling_steps:
            problem = f"is {self.gradient_steps} of {self.sampling_steps} sampling steps"
            raise InputError("tuning", "gradient_steps", problem, "Give 1 to all of them, or 0 to draw the number.")
        check_choice(self.gradient_checkpointing, ("nothing", "views", "all"), "gradient_checkpointing")
        if not self.weights or any(weight < 0 for weight in self.weights.values()):
            raise InputError("tuning", "weights", f"are {self.weights}", "Give at least one reward, none below 0.")
