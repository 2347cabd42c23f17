"""Every number of a run, as frozen dataclasses."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.training.settings import OroSettings, Training

REWARDS = {
    "seg": {"seg": 1.0},
    "flow": {"flow": 4.0},
    "depth": {"depth": 100.0},
    "newton": {"newton": 1.0},
    "combined": {"seg": 1.0, "centre": 10.0},
    "iou": {"iou": 1.0},  # an ablation: seg without its term for presence
}


@dataclass(frozen=True)
class Preset:
    """Every number that shapes a run.

    Args:
        name: as in `PRESETS`.
        seeds: one run of everything random per entry.
        test_clips: held-out drops per split (seen, unseen).
        test_seed: scene seed of the first held-out clip; training scenes count up from 0 and never reach it.
        video: size of the videos.
        ranges: what held-out scenes are drawn from.
        phone_resamples: bootstrap repetitions behind the interval of the phone clip's gravity.
        base: folder of the image-to-video pipeline to study; "" for the embedded one, None if one must be named.
        perception: of the rewards: "tiny", the nets that ship, or "real": SAM 2.1, RAFT and Depth Anything V2.
        bench: folder of prepared clips (`pisa prepare`) that notebook 01 also evaluates, or None.
        guess: training of the best guess, where the one that ships does not fit the videos.
        sampling_steps: of the sampler.
        psft: training run of stage 1; without decay, so that a longer run continues a shorter one.
        psft_clips: simulated drops it sees.
        ambiguous_clips: the same of the model that learns from ambiguous drops (notebook 05).
        data_sizes: numbers of clips of the data ablation.
        data_steps: steps of its runs.
        step_counts: numbers of steps at which `psft` is evaluated.
        place_weights: other values of `psft.place_weight` that notebook 02 compares.
        generic_clips: held-out clips of generic motion, on which forgetting is measured.
        oro: reward tuning of stage 2; its weights are replaced by those in `rewards`.
        oro_clips: simulated drops it sees, others than PSFT's.
        validation_clips: drops that decide when it stops.
        rewards: the runs of stage 2: name to weights of the rewards, see `rewards.MAKERS`.
        gradient_steps: values of K in the ablation of `oro.gradient_steps`.
        map_distances, map_heights: edges of the generalization map's cells, metres.
        map_clips: held-out drops per cell.
        pairs: held-out clips of each two-object test.
        pictures: ambiguous pictures, whose fall times have a distribution.
        worlds: videos per picture and model; they are compared with twice as many independently drawn worlds.
        rehearsals: repetitions behind the alignment test's false-alarm rate and power.
        prior: distances of the worlds behind a picture, uniform, metres.
        simulated_falls: drops that check the analytic distribution, per picture.
    """

    name: str
    seeds: tuple[int, ...]
    test_clips: int
    test_seed: int = 10_000_000
    video: Video = field(default_factory=Video)
    ranges: Ranges = field(default_factory=Ranges)
    phone_resamples: int = 400
    base: str | None = ""
    perception: str = "tiny"
    bench: str | None = None
    guess: Training = Training(1500, 64, 2e-3, warmup=50, decay=0.5, log_every=50)
    sampling_steps: int = 5
    psft: Training = Training(
        steps=400, batch=16, learning_rate=4e-3, decay=0, ema=0.98, optimizer="muon", place_weight="moving"
    )
    psft_clips: int = 4096
    ambiguous_clips: int = 4096
    data_sizes: tuple[int, ...] = (16, 128, 1024, 4096)
    data_steps: int = 400
    step_counts: tuple[int, ...] = (100, 200, 400)
    place_weights: tuple[str, ...] = ("even", "below")
    generic_clips: int = 60
    oro: OroSettings = OroSettings(
        Training(steps=96, batch=4, learning_rate=3e-4, warmup=4, decay=0, ema=0.9, log_every=2, checkpoint_every=24),
        weights=REWARDS["seg"],
        gradient_steps=5,
        eval_steps=(32, 64, 96),
    )
    oro_clips: int = 512
    validation_clips: int = 32
    rewards: dict[str, dict[str, float]] = field(default_factory=lambda: {name: REWARDS[name] for name in REWARDS})
    gradient_steps: tuple[int, ...] = (1, 2, 5)
    map_distances: tuple[float, ...] = (1.5, 2.0, 2.75, 3.5, 4.25, 5.0)
    map_heights: tuple[float, ...] = (0.25, 0.5, 0.875, 1.25, 1.625, 2.0)
    map_clips: int = 6
    pairs: int = 40
    pictures: int = 3
    worlds: int = 256
    rehearsals: int = 1000
    prior: tuple[float, float] = (2.0, 3.5)
    simulated_falls: int = 5000

    def __post_init__(self):
        if not self.seeds or self.test_clips < 1:
            raise InputError(f"preset {self.name}", "seeds, test_clips", "are empty", "Give at least one of each.")

    def oro_settings(self, name: str) -> OroSettings:
        """The settings of one of the runs in `rewards`."""
        weights = self.rewards[check_choice(name, self.rewards, "reward")]
        return replace(self.oro, weights=weights)


PRESETS = {
    "smoke": Preset(
        "smoke",
        seeds=(0, 1),
        test_clips=4,
        phone_resamples=40,
        sampling_steps=2,
        psft=Training(steps=4, batch=4, learning_rate=5e-4, warmup=2, decay=0, ema=0.5, log_every=1),
        psft_clips=8,
        ambiguous_clips=8,
        data_sizes=(4, 8),
        data_steps=4,
        step_counts=(2, 4),
        place_weights=(),
        generic_clips=4,
        oro=OroSettings(
            Training(steps=2, batch=2, learning_rate=5e-5, warmup=1, decay=0, ema=0.5, log_every=1),
            weights=REWARDS["seg"],
            sampling_steps=2,
            eval_steps=(1, 2),
        ),
        oro_clips=4,
        validation_clips=4,
        rewards={"seg": REWARDS["seg"], "newton": REWARDS["newton"]},
        gradient_steps=(1,),
        map_distances=(2.0, 3.5, 5.0),
        map_heights=(0.5, 1.25, 2.0),
        map_clips=3,
        pairs=2,
        pictures=1,
        worlds=8,
        rehearsals=20,
        simulated_falls=50,
    ),
    "mini": Preset(
        "mini",
        seeds=(0,),
        test_clips=60,
        ambiguous_clips=512,
        data_sizes=(16, 256, 4096),
        data_steps=200,
        oro=OroSettings(
            Training(64, 4, 3e-4, warmup=4, decay=0, ema=0.9, log_every=2, checkpoint_every=24),
            weights=REWARDS["seg"],
            gradient_steps=5,
            eval_steps=(32, 64),
        ),
        rewards={name: REWARDS[name] for name in ("seg", "flow", "depth", "combined")},
        gradient_steps=(),
        place_weights=(),
        map_clips=3,
        pairs=20,
        pictures=1,
        rehearsals=500,
        simulated_falls=500,
    ),
    "full": Preset("full", seeds=(0, 1, 2), test_clips=120, phone_resamples=2000, generic_clips=120),
}
LARGE_VIDEO = Video(256, 33, 16)
PRESETS["gpu"] = Preset(  # one card of 24 to 80 GB: low-rank weights, last sampling step only
    "gpu",
    seeds=(0,),
    test_clips=60,
    video=LARGE_VIDEO,
    base=None,
    sampling_steps=30,
    psft=Training(400, 8, 1e-4, decay=0, ema=0.98, precision="bf16", lora_rank=64),
    psft_clips=1024,
    ambiguous_clips=1024,
    data_sizes=(16, 128, 1024),
    oro=OroSettings(
        Training(96, 4, 2e-5, warmup=4, decay=0, ema=0.9, precision="bf16", lora_rank=64, log_every=2),
        weights=REWARDS["seg"],
        sampling_steps=10,
        gradient_steps=1,
        gradient_checkpointing="views",
        eval_steps=(32, 64, 96),
    ),
    rewards={name: REWARDS[name] for name in ("seg", "flow", "depth")},
    gradient_steps=(),
    place_weights=(),
    map_clips=3,
    pairs=20,
    pictures=1,
)
PRESETS["paper"] = replace(  # paper.md, sections 5 and 6; it does not say how many steps, nor its ORO's sampling steps
    PRESETS["gpu"],
    name="paper",
    seeds=(0, 1, 2),
    test_clips=120,
    perception="real",
    psft=Training(2500, 128, 1e-4, warmup=0, decay=0, epsilon=1e-15, ema=0.99, precision="bf16"),
    psft_clips=5000,
    ambiguous_clips=5000,
    data_sizes=(16, 128, 1024, 5000),
    data_steps=2500,
    step_counts=(500, 1000, 2500),
    oro=replace(
        PRESETS["gpu"].oro,
        training=Training(500, 2, 1e-6, warmup=0, decay=0, ema=0.99, precision="bf16"),
        eval_steps=(100, 200, 300, 400, 500),
    ),
    oro_clips=1000,
    pictures=3,
)
PRESETS["gpu_smoke"] = replace(  # what `gpu` does, in numbers for tests
    PRESETS["smoke"],
    name="gpu_smoke",
    base=None,
    seeds=(0,),
    psft=replace(PRESETS["smoke"].psft, precision="bf16", lora_rank=4),
    oro=replace(
        PRESETS["smoke"].oro,
        training=replace(PRESETS["smoke"].oro.training, precision="bf16", lora_rank=4),
        gradient_steps=1,
        gradient_checkpointing="views",
    ),
    gradient_steps=(),
)


def get_preset(name: str, base: str | None = None, bench: str | None = None) -> Preset:
    """The preset of that name.

    Args:
        base: folder of the pipeline to study, in diffusers' format, instead of the preset's.
        bench: folder of prepared clips.

    Raises:
        InputError: an unknown name (the nearest is suggested), or a preset that needs a model and got none.
    """
    preset = PRESETS[check_choice(name, PRESETS, "preset")]
    preset = replace(preset, base=str(Path(base).resolve()) if base else preset.base, bench=bench or preset.bench)
    if preset.base is None:
        remedy = "Name a folder in diffusers' format: --model downloads/wan2.2-ti2v-5b"
        raise InputError(f"preset {name}", "model", "is not given", remedy)
    return preset
