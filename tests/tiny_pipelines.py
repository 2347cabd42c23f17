"""Every pipeline class of the zoo with small random weights: the real classes, made for seconds on a CPU."""

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
    Cosmos2VideoToWorldPipeline,
    CosmosTransformer3DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTXImageToVideoPipeline,
    LTXVideoTransformer3DModel,
    SkyReelsV2ImageToVideoPipeline,
    SkyReelsV2Transformer3DModel,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from pisa_kit.models.embedded import make_tokenizer
from pisa_kit.models.zoo import NoGuardrail

TEXT = 32


def t5(kind=T5EncoderModel, config=T5Config):
    """A tokenizer over the captions' words and a text encoder, 32 wide."""
    tokenizer = make_tokenizer()
    size = {"d_model": TEXT, "d_kv": 8, "d_ff": 37, "num_layers": 1, "num_heads": 4}
    return {"tokenizer": tokenizer, "text_encoder": kind(config(vocab_size=len(tokenizer), **size)).eval()}


def vision(side: int, width: int):
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = CLIPVisionConfig(hidden_size=width, projection_dim=width, image_size=side, patch_size=side // 4, **layers)
    return CLIPVisionModelWithProjection(config).eval(), CLIPImageProcessor(crop_size=side, size=side)


def wan_autoencoder(spatial: int = 8, **more):
    blocks = {"dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
    return AutoencoderKLWan(base_dim=4, z_dim=16, **blocks, **more).eval()


def wan_transformer(kind=WanTransformer3DModel, channels: int = 36, image: int | None = None):
    heads = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 1, "ffn_dim": 32}
    more = {"image_dim": image} if image else {}
    return kind(in_channels=channels, out_channels=16, text_dim=TEXT, freq_dim=64, **heads, **more).eval()


def flow_scheduler():
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def wan(two: bool = False, clean_first: bool = False, image: bool = False):
    """Wan in its three kinds: 2.1 (image encoder), 2.2 A14B (two transformers), 2.2 TI2V (first frame clean)."""
    encoder, processor = vision(32, 4) if image else (None, None)
    return WanImageToVideoPipeline(
        **t5(UMT5EncoderModel, UMT5Config),
        vae=wan_autoencoder(),
        scheduler=flow_scheduler(),
        transformer=wan_transformer(channels=16 if clean_first else 36, image=4 if image else None),
        transformer_2=wan_transformer() if two else None,
        boundary_ratio=0.9 if two else None,
        expand_timesteps=clean_first,
        image_encoder=encoder,
        image_processor=processor,
    )


def skyreels():
    encoder, processor = vision(32, 4)
    transformer = wan_transformer(SkyReelsV2Transformer3DModel, image=4)
    parts = {"vae": wan_autoencoder(), "scheduler": flow_scheduler(), "transformer": transformer}
    text = t5(UMT5EncoderModel, UMT5Config)
    return SkyReelsV2ImageToVideoPipeline(**text, **parts, image_encoder=encoder, image_processor=processor)


def cogvideox():
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=TEXT,
        num_layers=1,
        sample_width=6,
        sample_height=4,
        sample_frames=9,
        max_text_seq_length=226,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )
    autoencoder = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    )
    parts = {"vae": autoencoder.eval(), "transformer": transformer.eval(), "scheduler": CogVideoXDDIMScheduler()}
    return CogVideoXImageToVideoPipeline(**t5(), **parts)


def ltx():
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=TEXT,
    )
    autoencoder = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, True, False),
        decoder_spatio_temporal_scaling=(True, True, True, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        patch_size=4,
    )
    parts = {"vae": autoencoder.eval(), "transformer": transformer.eval()}
    return LTXImageToVideoPipeline(**t5(), **parts, scheduler=FlowMatchEulerDiscreteScheduler())


def stable_video_diffusion():
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        cross_attention_dim=32,
        num_attention_heads=8,
        projection_class_embeddings_input_dim=96,
        addition_time_embed_dim=32,
    )
    autoencoder = AutoencoderKLTemporalDecoder(
        block_out_channels=[32, 64], down_block_types=["DownEncoderBlock2D"] * 2, latent_channels=4
    )
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        use_karras_sigmas=True,
        timestep_type="continuous",
        sigma_min=0.002,
        sigma_max=700.0,
    )
    encoder, processor = vision(224, 32)
    parts = {"vae": autoencoder.eval(), "unet": unet.eval(), "scheduler": scheduler}
    return StableVideoDiffusionPipeline(**parts, image_encoder=encoder, feature_extractor=processor)


def cosmos():
    transformer = CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        mlp_ratio=2,
        text_embed_dim=TEXT,
        adaln_lora_dim=4,
        max_size=(4, 32, 32),
        patch_size=(1, 2, 2),
        rope_scale=(2.0, 1.0, 1.0),
        extra_pos_embed_type="learnable",
    )
    parts = {"vae": wan_autoencoder(), "transformer": transformer.eval(), "safety_checker": NoGuardrail()}
    return Cosmos2VideoToWorldPipeline(
        **t5(), **parts, scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    )


def hunyuan():
    """Its own prompt template has several hundred tokens before the caption, and 576 places of the picture."""
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        guidance_embeds=False,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
        image_condition_type="latent_concat",
    )
    autoencoder = AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<image>"])
    layers = {"intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 2}
    text = LlamaConfig(hidden_size=16, vocab_size=len(tokenizer), pad_token_id=0, **layers)
    eye = CLIPVisionConfig(hidden_size=8, projection_dim=32, image_size=336, patch_size=14, **layers)
    words = LlavaConfig(vision_config=eye, text_config=text, image_token_index=len(tokenizer) - 1, pad_token_id=0)
    clip = CLIPTextConfig(hidden_size=8, projection_dim=32, vocab_size=len(tokenizer), pad_token_id=0, **layers)
    return HunyuanVideoImageToVideoPipeline(
        text_encoder=LlavaForConditionalGeneration(words).eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
        vae=autoencoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=CLIPTextModel(clip).eval(),
        tokenizer_2=make_tokenizer(),
        image_processor=CLIPImageProcessor(crop_size=336, size=336),
    )


TINY = {
    "wan2.2-ti2v-5b": lambda: wan(clean_first=True),
    "wan2.2-i2v-a14b": lambda: wan(two=True),
    "wan2.1-i2v-14b": lambda: wan(image=True),
    "cogvideox-5b-i2v": cogvideox,
    "ltx-video": ltx,
    "hunyuanvideo-i2v": hunyuan,
    "stable-video-diffusion": stable_video_diffusion,
    "cosmos-predict2-2b": cosmos,
    "skyreels-v2-i2v-1.3b": skyreels,
}


def make(name: str):
    """The pipeline of a zoo entry, small and random."""
    torch.manual_seed(0)
    pipeline = TINY[name]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
