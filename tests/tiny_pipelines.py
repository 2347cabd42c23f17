"""Every pipeline class of the zoo with small random weights: the real classes, made for seconds on a CPU."""

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
    Cosmos2_5_PredictBasePipeline,
    Cosmos2VideoToWorldPipeline,
    CosmosTransformer3DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Transformer3DModel,
    HunyuanVideoImageToVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTX2ImageToVideoPipeline,
    LTX2VideoTransformer3DModel,
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
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
from transformers import (
    ByT5Tokenizer,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
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
        block_out_channels=[32] * 4, down_block_types=["DownEncoderBlock2D"] * 4, latent_channels=4
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


def cosmos25():
    """Cosmos with a text encoder of which all layers are read."""
    tokenizer = chat_tokenizer()
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 16}
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
    text = Qwen2_5_VLTextConfig(num_key_value_heads=1, rope_parameters=rope, **tokens, **layers)
    eye = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 16}
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
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=32,  # two layers of 16
        encoder_hidden_states_channels=TEXT,
    )
    return Cosmos2_5_PredictBasePipeline(
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text.to_dict(), vision_config=eye)
        ).eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
        vae=wan_autoencoder(),
        scheduler=flow_scheduler(),
        safety_checker=NoGuardrail(),
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


def chat_tokenizer():
    """The captions' words; every turn is said twice, so that a template of 108 tokens, which is cut off, is there."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for turn in messages %}{{ turn['content'] }} {{ turn['content'] }} {% endfor %}"
    return tokenizer


def ltx2():
    """Film and sound: a text encoder of all layers, connectors, two autoencoders and a vocoder."""
    tokenizer = make_tokenizer()
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 16}
    text = Gemma3TextConfig(vocab_size=len(tokenizer) + 8, head_dim=8, num_key_value_heads=1, pad_token_id=0, **layers)
    eye = SiglipVisionConfig(image_size=28, patch_size=14, **layers)
    words = {"boi_token_index": len(tokenizer), "eoi_token_index": len(tokenizer) + 1, "mm_tokens_per_image": 4}
    gemma = Gemma3Config(text_config=text, vision_config=eye, image_token_index=len(tokenizer) + 2, **words)
    sound = {"audio_in_channels": 4, "audio_out_channels": 4, "audio_num_attention_heads": 2}
    transformer = LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=16,
        rope_double_precision=False,
        **sound,
    )
    connectors = LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=4,
        video_connector_attention_head_dim=4,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=4,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        rope_double_precision=False,
    )
    autoencoder = AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 4,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
        decoder_spatial_padding_mode="zeros",
    )
    ear = AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, latent_channels=2, mel_bins=8, resolution=32
    )
    voice = LTX2Vocoder(
        in_channels=ear.config.output_channels * ear.config.mel_bins,
        hidden_channels=32,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    )
    return LTX2ImageToVideoPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder.eval(),
        audio_vae=ear.eval(),
        text_encoder=Gemma3ForConditionalGeneration(gemma).eval(),
        tokenizer=tokenizer,
        connectors=connectors.eval(),
        transformer=transformer.eval(),
        vocoder=voice.eval(),
    )


def hunyuan15():
    """Two text encoders (Qwen, ByT5), an image encoder, guidance in a part of its own."""
    tokenizer = chat_tokenizer()
    layers = {"num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16, "hidden_size": 16}
    qwen = Qwen2_5_VLTextConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]},
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        **layers,
    )
    letters = ByT5Tokenizer()
    byt5 = T5Config(vocab_size=len(letters), d_model=TEXT, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    eye = SiglipVisionConfig(image_size=378, patch_size=14, **layers)  # 729 places, which the pipeline counts on
    transformer = HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        num_refiner_layers=1,
        text_embed_dim=16,
        text_embed_2_dim=TEXT,
        image_embed_dim=16,
        rope_axes_dim=(4, 6, 6),
        target_size=48,
    )
    autoencoder = AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1, spatial_compression_ratio=16
    )
    return HunyuanVideo15ImageToVideoPipeline(
        text_encoder=Qwen2_5_VLTextModel(qwen).eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
        vae=autoencoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=T5EncoderModel(byt5).eval(),
        tokenizer_2=letters,
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        image_encoder=SiglipVisionModel(eye).eval(),
        feature_extractor=SiglipImageProcessor(size={"height": 378, "width": 378}),
    )


TINY = {
    "wan2.2-ti2v-5b": lambda: wan(clean_first=True),
    "wan2.2-i2v-a14b": lambda: wan(two=True),
    "wan2.1-i2v-14b": lambda: wan(image=True),
    "cogvideox-5b-i2v": cogvideox,
    "ltx-video": ltx,
    "ltx-2": ltx2,
    "hunyuanvideo-i2v": hunyuan,
    "hunyuanvideo-1.5-i2v": hunyuan15,
    "stable-video-diffusion": stable_video_diffusion,
    "cosmos-predict2-2b": cosmos,
    "cosmos-predict2.5-2b": cosmos25,
    "skyreels-v2-i2v-1.3b": skyreels,
}


def make(name: str):
    """The pipeline of a zoo entry, small and random."""
    torch.manual_seed(0)
    pipeline = TINY[name]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
