"""Plans: exact where they count, near what this machine measures, and said before anything starts."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_pipelines import make

from pisa_kit.core.errors import InputError
from pisa_kit.models.embedded import load
from pisa_kit.study.cost import step_cost
from pisa_kit.study.counting import count, decoding, forward, looking, skeleton, tuning_activations
from pisa_kit.study.plan import plan, videos
from pisa_kit.study.presets import PRESETS, get_preset
from pisa_kit.training.settings import OroSettings, Training


def test_a_known_layer_is_counted_exactly():
    layer = torch.nn.Linear(30, 50, bias=False, device="meta")
    inputs = torch.empty(7, 30, device="meta", requires_grad=True)
    found = count(lambda: layer(inputs).relu(), layer)
    assert found.operations == 2 * 7 * 30 * 50
    assert found.kept == 4 * 7 * (30 + 50), "the input of the product and the output of the ReLU, not the weights"


def test_attention_is_counted_as_fused():
    q = torch.empty(2, 3, 100, 8, device="meta", requires_grad=True)
    found = count(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q), torch.nn.Identity())
    assert found.operations == 4 * 2 * 3 * 100 * 100 * 8 and found.kept == q.numel() * 4


def test_networks_without_data_have_the_models_parameters():
    parts, model = skeleton(), load()
    for one, other in ((parts.transformer, model.transformer), (parts.autoencoder, model.vae)):
        assert sum(p.numel() for p in one.parameters()) == sum(p.numel() for p in other.parameters())
        assert all(p.is_meta for p in one.parameters())
    real = skeleton("wan2.2-ti2v-5b")
    assert sum(p.numel() for p in real.transformer.parameters()) == pytest.approx(5.0e9, rel=0.01)
    assert sum(p.numel() for p in real.text_encoder.parameters()) == pytest.approx(5.7e9, rel=0.02)


@pytest.mark.parametrize(("through", "checkpoint"), [(1, "nothing"), (3, "nothing"), (1, "views"), (3, "views")])
def test_memory_is_what_a_step_takes(through, checkpoint):
    training = Training(steps=1, batch=4, learning_rate=1e-4)
    options = {"gradient_steps": through, "gradient_checkpointing": checkpoint}
    settings = OroSettings(training, {"seg": 1.0}, sampling_steps=5, **options)
    mini = PRESETS["mini"]
    preset = replace(mini, oro=replace(mini.oro, tuning=settings, rewards={"seg": {"seg": 1.0}}))
    counted = (*(what(skeleton(), preset, 4, torch.float32) for what in (forward, decoding)), looking(preset, 4))
    planned = tuning_activations(skeleton(), preset, counted, False, torch.float32) / 2**20
    assert planned == pytest.approx(step_cost(settings, rounds=0)["mib"], rel=0.1)


def test_a_batch_costs_what_its_clips_cost():
    parts, preset = skeleton(), PRESETS["mini"]
    for what in (partial(forward, parts), partial(decoding, parts)):
        one, three = (what(preset, clips, torch.float32) for clips in (1, 3))
        assert three.operations == (3 * one).operations
        assert three.kept == pytest.approx((3 * one).kept, rel=2e-3)


def test_a_plan_grows_with_what_is_asked_for():
    table = plan(PRESETS["gpu"], "wan2.2-ti2v-5b", speed=4e14).set_index("work")
    assert set(table.index) == {"PSFT step", "ORO step", "energy score step", "video", "video, recommended size"}
    large, small = (table.loc[name, "operations"] for name in ("video, recommended size", "video"))
    assert large > 50 * small, "121 frames of 704x1280 and 33 of 256x256, attention grows with the square"
    assert 10 < table.loc["PSFT step", "memory"] < 20, "LoRA on 5 billion weights and 8 clips"
    one, both = (
        plan(get_preset(f"mini psft.place_weights={kinds}"))["count"][0] for kinds in ("('even',)", "('even','below')")
    )
    assert both == one + PRESETS["mini"].psft.training.steps, "a training for each kind of place weights"
    full = plan(PRESETS["paper"], "wan2.2-ti2v-5b", speed=4e14).set_index("work")
    assert full.loc["PSFT step", "memory"] > 100, "all weights, their moments and average in float32"
    assert full["hours"].sum() > 10 * table["hours"].sum()
    assert videos(PRESETS["full"]) > videos(PRESETS["mini"]) > videos(PRESETS["smoke"])


def test_other_families_and_unknown_models(tmp_path):
    make("ltx-video").save_pretrained(tmp_path / "ltx")
    assert (plan(PRESETS["smoke"], tmp_path / "ltx", speed=1e11)["operations"] > 0).all()
    make("stable-video-diffusion").save_pretrained(tmp_path / "svd")
    with pytest.raises(InputError, match="StableVideoDiffusionPipeline"):
        skeleton(tmp_path / "svd")
    with pytest.raises(InputError, match="wan2.2-ti2v-5b"):
        skeleton("wan2.2-ti2v-5B")
