"""What a study's numbers are, as frozen dataclasses, one per experiment."""

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from pisa_kit.core.checks import Count, Few, Finite, Pair, Positive, Seed, Share, Text, check_fields
from pisa_kit.core.errors import InputError, check_choice
from pisa_kit.sim.datasets import WALL
from pisa_kit.sim.settings import Ranges, Video
from pisa_kit.training.settings import OroSettings, Training

Name = Annotated[str, Field(pattern=r"^\w[\w .+-]*$", max_length=60)]  # of a run: in folders, tables and pages
PlaceWeight = Training.__annotations__["place_weight"]  # its choices
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]  # that an ablation compares
Edges = Annotated[tuple[Positive, ...], Field(min_length=2)]  # of a map's cells, metres
AMBIGUOUS = ("ambiguous PSFT", "energy score")  # from drops whose picture shows many worlds; tuned further
REWARDS = {  # name of a tuning: weights of its rewards, see `rewards.REWARD_FUNCTIONS`
    "seg": {"seg": 1.0},
    "flow": {"flow": 4.0},
    "depth": {"depth": 100.0},
    "newton": {"newton": 1.0},
    "combined": {"seg": 1.0, "centre": 10.0},
    "iou": {"iou": 1.0},  # an ablation: seg without its term for presence
}


@dataclass(frozen=True)
class Data:
    """What is filmed and what it is judged on.

    Args:
        video: size of the videos.
        ranges: what scenes are drawn from.
        test_clips: held-out drops per split (seen, unseen).
        test_seed: scene seed of the first held-out clip; training scenes count up from 0 and never reach it.
        validation_clips: drops that decide when reward tuning stops.
        generic_clips: held-out clips of generic motion, on which forgetting is measured.
        phone_resamples: bootstrap repetitions behind the interval of the phone clip's gravity.
        share: of the paper's clips in training where there is a `source` of them; the rest is simulated.
    """

    video: Video = field(default_factory=Video)
    ranges: Ranges = field(default_factory=Ranges)
    test_clips: Count = 120
    test_seed: Annotated[Seed, Field(ge=10_000_000)] = 10_000_000
    validation_clips: Count = 32
    generic_clips: Count = 120
    phone_resamples: Count = 2000
    share: Share = 1.0

    def __post_init__(self):
        check_fields(self, "data")


@dataclass(frozen=True)
class Psft:
    """Stage 1 and its ablations.

    Args:
        training: shorter runs of ablations go without its decay, so that a longer one can continue a shorter one.
        clips: simulated drops it sees.
        source: folder or zip of the paper's clips to learn from instead, see `paper_clips`.
        data_sizes, data_steps: numbers of clips of the data ablation, and steps of its runs.
        step_counts: numbers of steps at which the training is evaluated.
        place_weights: other values of `training.place_weight` that are compared.
        replay: share of generic clips in the training of a model that is to forget less (`replay`); 0: not trained.
    """

    training: Training = Training(250, 16, 4e-3, decay=0.5, ema=0.98, optimizer="muon", place_weight="moving")
    clips: Count = 1024
    source: Text = ""
    data_sizes: Counts = (16, 128, 1024)
    data_steps: Count = 125
    step_counts: Counts = (125, 250)
    place_weights: tuple[PlaceWeight, ...] = ("even", "below")
    replay: Annotated[float, Field(ge=0, le=0.9)] = 0.25

    def __post_init__(self):
        check_fields(self, "psft")


@dataclass(frozen=True)
class Oro:
    """Stage 2 and its ablation.

    Args:
        tuning: settings of every run; its weights are replaced by those in `rewards`.
        clips: simulated drops it sees, others than PSFT's.
        source: folder or zip of the paper's clips, with masks, to learn from instead.
        rewards: the runs, name to weights of the rewards, see `rewards.REWARD_FUNCTIONS`.
        gradient_steps: values of K that are compared.
        candidates: videos of a clip in best-of-N and in tuning without the reward's gradient.
        perception: nets of the rewards: "tiny", which ship, or "real": SAM 2.1, RAFT and Depth Anything V2.
    """

    tuning: OroSettings = OroSettings(
        Training(steps=144, batch=4, learning_rate=3e-4, warmup=4, decay=0, ema=0.9, log_every=2, checkpoint_every=24),
        weights=REWARDS["seg"],
        gradient_steps=2,
        eval_steps=(24, 48, 72, 96, 120, 144),
    )
    clips: Count = 256
    source: Text = ""
    rewards: Annotated[dict[Name, dict[str, Finite]], Field(min_length=1)] = field(
        default_factory=lambda: dict(REWARDS)
    )
    gradient_steps: tuple[Few, ...] = (1, 2, 5)
    candidates: Few = 8
    perception: str = "tiny"

    def __post_init__(self):
        check_fields(self, "oro")
        check_choice(self.perception, ("tiny", "real"), "perception")


@dataclass(frozen=True)
class Generalization:
    """The map of distance and height, and pairs.

    Args:
        distances, heights: edges of the map's cells, metres.
        clips: held-out drops per cell.
        pairs: held-out clips of each two-object test.
        trained_in: other drops that a PSFT of its own learns from: "noon", "pairs", see `corpora.Corpus`.
    """

    distances: Edges = (1.5, 2.0, 2.75, 3.5, 4.25, 5.0)
    heights: Edges = (0.25, 0.5, 0.875, 1.25, 1.625, 2.0)
    clips: Count = 6
    pairs: Count = 40
    trained_in: tuple[Literal["noon", "pairs"], ...] = ("noon", "pairs")

    def __post_init__(self):
        check_fields(self, "generalization")
        if self.distances[-1] >= WALL:
            problem = f"reach {self.distances[-1]:g} m, where walls begin"
            raise InputError("preset", "generalization.distances", problem, f"Stay before {WALL:g} m.")


@dataclass(frozen=True)
class Distribution:
    """Ambiguous pictures.

    Args:
        clips: ambiguous drops that one model learns from.
        energy: weight of the energy score, by which that model is tuned further on the same drops.
        trained: which of the two models, `AMBIGUOUS`, are made.
        pictures: how many.
        worlds: videos per picture and model; they are compared with twice as many independently drawn worlds.
        prior: distances of the worlds behind a picture, uniform, metres.
        rehearsals: repetitions behind the alignment test's false-alarm rate and power.
        simulated_falls: drops that check the analytic distribution, per picture.
    """

    clips: Count = 512
    energy: Positive = 10.0
    trained: tuple[Literal[AMBIGUOUS], ...] = AMBIGUOUS
    pictures: Few = 2
    worlds: Count = 128
    prior: Pair = (2.0, 3.5)
    rehearsals: Count = 1000
    simulated_falls: Count = 5000

    def __post_init__(self):
        check_fields(self, "distribution")


@dataclass(frozen=True)
class Preset:
    """Every number that shapes a run.

    Args:
        name: as in `PRESETS`, with what was changed.
        seeds: one run of everything random per entry.
        base: folder of the image-to-video pipeline to study; "" for the embedded one, None if one must be named.
        bench: folder of prepared clips (`pisa prepare`), e.g. PisaBench's, that 01, 02 and 03 also evaluate, or None.
        bench_tracker: "background", "judge", or "sam2" as in the paper.
        sam2: its weights, a folder or a name on the hub; "": `trackers.SAM2`.
        sampling_steps: of the sampler.
        guidance: classifier-free guidance scale of the sampler; 1: none.
        recommended: a real base is also evaluated as its makers film with it (`zoo.ZOO`), with these changes, so that
            "fails physics" and "fails at this size" are told apart; None: not.
        guess: training of the best guess, where the one that ships does not fit the videos.
    """

    name: str
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    base: str | None = ""
    bench: str | None = None
    bench_tracker: Literal["background", "judge", "sam2"] = "background"
    sam2: Text = ""
    sampling_steps: Few = 5
    guidance: Finite = 1.0
    recommended: dict[str, float] | None = None
    data: Data = field(default_factory=Data)
    guess: Training = Training(1500, 64, 2e-3, warmup=50, decay=0.5, log_every=50)
    psft: Psft = field(default_factory=Psft)
    oro: Oro = field(default_factory=Oro)
    generalization: Generalization = field(default_factory=Generalization)
    distribution: Distribution = field(default_factory=Distribution)

    def __post_init__(self):
        check_fields(self, f"preset {self.name}")

    def oro_settings(self, name: str) -> OroSettings:
        """The settings of one of the runs in `oro.rewards`."""
        return replace(self.oro.tuning, weights=self.oro.rewards[check_choice(name, self.oro.rewards, "reward")])
