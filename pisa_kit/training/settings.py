"""Every number of one training run, as frozen dataclasses."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pisa_kit.core.checks import Count, Finite, Positive, Seed, Share, Whole, check_fields
from pisa_kit.core.errors import InputError


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

    steps: Count
    batch: Count
    learning_rate: Positive
    warmup: Whole = 20
    decay: Share = 0.2
    weight_decay: Finite = 0.0
    epsilon: Finite = 1e-8
    max_grad_norm: Positive = 1.0
    ema: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.99
    seed: Seed = 0
    precision: Literal["no", "bf16"] = "no"
    optimizer: Literal["adamw", "muon"] = "adamw"
    place_weight: Literal["even", "moving", "below"] = "even"
    mixed_noise: Share = 0.0
    lora_rank: Whole = 0
    log_every: Count = 10
    checkpoint_every: Count = 100

    MAY_CHANGE: ClassVar[tuple[str, ...]] = ("steps", "decay", "log_every", "checkpoint_every")  # between two calls

    def __post_init__(self):
        check_fields(self, "training")

    @property
    def level_steps(self) -> int:
        """How many steps are done when the learning rate begins to fall."""
        return self.steps - int(self.decay * self.steps)

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
        weights: weight of each reward, see `rewards.REWARD_FUNCTIONS`.
        sampling_steps: of the videos that are rewarded.
        guidance: classifier-free guidance scale of the sampler; 1: none. It doubles the sampler's work.
        gradient_steps: how many of the last sampling steps carry gradients; 0 draws 1 to all anew for each batch. The
            very last one is tiny (diffusers' schedule ends with sigma 0.016 to 0 for 5 steps), and so is its gradient.
        reference_weight: of the distance to the reference model, the one that tuning starts from.
        gradient_checkpointing: what is computed again in the backward pass instead of kept, less memory for more time:
            "nothing", "views" (decoder frame by frame, rewards clip by clip), or "all" (the transformer's calls too).
        eval_steps: numbers of steps after which held-out clips are judged, beside 0 and the last.
        early_stopping_metric: the metric of these evaluations that must fall; one that counts lost objects.
        patience: evaluations without a better one after which training stops.
    """

    training: Training
    weights: Annotated[dict[str, Annotated[float, Field(strict=True, ge=0)]], Field(min_length=1)]
    sampling_steps: Count = 5
    guidance: Finite = 1.0
    gradient_steps: Whole = 2
    reference_weight: Finite = 1.0
    gradient_checkpointing: Literal["nothing", "views", "all"] = "nothing"
    eval_steps: tuple[Count, ...] = ()
    early_stopping_metric: Literal["l2", "fixed_l2", "fixed_chamfer_distance", "object_colour_error"] = "fixed_l2"
    patience: Whole = 2

    def __post_init__(self):
        check_fields(self, "tuning")
        if not 0 <= self.gradient_steps <= self.sampling_steps:
            problem = f"is {self.gradient_steps} of {self.sampling_steps} sampling steps"
            raise InputError("tuning", "gradient_steps", problem, "Give 1 to all of them, or 0 to draw the number.")

    def evaluations(self) -> tuple[int, ...]:
        """The numbers of steps, from 0 to the last, after which held-out clips are judged."""
        return (0, *(steps for steps in self.eval_steps if steps < self.training.steps), self.training.steps)
