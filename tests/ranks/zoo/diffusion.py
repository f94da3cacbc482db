"""Models of diffusers, each trained as its library trains it: noise predicted at random times, or images rebuilt."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .table import DROPOUT, TorchEntry

CHANNELS = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1}
HEADS = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 2, "in_channels": 4, "sample_size": 8}


def predict_noise(model: nn.Module, batch: dict) -> torch.Tensor:
    """DDPM's loss; what else is in the batch conditions the model."""
    x, times = batch["sample"], batch["timestep"]
    noise = torch.randn_like(x)
    noisy = importlib.import_module("diffusers").DDPMScheduler(100).add_noise(x, noise, times)
    out = model(noisy, timestep=times, **{k: v for k, v in batch.items() if k not in ("sample", "timestep")}).sample
    return F.mse_loss(out[:, : x.shape[1]], noise)


def predict_flow(model: nn.Module, batch: dict) -> torch.Tensor:
    """Rectified flow's: the model predicts the way from the sample to the noise."""
    x, times = batch["sample"], batch["timestep"]
    noise = torch.randn_like(x)
    share = (times.to(x.dtype) / 100).reshape(-1, *(1,) * (x.dim() - 1))
    keys = {k: v for k, v in batch.items() if k not in ("sample", "timestep")}
    out = model(hidden_states=(1 - share) * x + share * noise, timestep=times.to(x.dtype), **keys).sample
    return F.mse_loss(out, noise - x)


def rebuild(model: nn.Module, batch: dict) -> torch.Tensor:
    """An autoencoder's loss with the divergence of its latent distribution."""
    x = batch["x"]
    latent = model.encode(x).latent_dist
    return F.mse_loss(model.decode(latent.sample()).sample, x) + 1e-2 * latent.kl().mean()


def rebuild_plain(model: nn.Module, batch: dict) -> torch.Tensor:
    return F.mse_loss(model.decode(model.encode(batch["x"]).latent).sample, batch["x"])


def quantize(model: nn.Module, batch: dict) -> torch.Tensor:
    out = model(batch["x"])
    return F.mse_loss(out.sample, batch["x"]) + out.commit_loss.mean()


def model(cls: str, inputs: str, loss: Callable, **config: Any) -> TorchEntry:
    def make() -> nn.Module:
        return getattr(importlib.import_module("diffusers"), cls)(**config)

    return TorchEntry("diffusion", make, inputs, loss, library="diffusers")


MODELS = {
    "diffusers.unet": model(
        "UNet2DModel", "noisy images", predict_noise, **CHANNELS, sample_size=16, attention_head_dim=4,
        dropout=DROPOUT, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    "diffusers.unet_condition": model(
        "UNet2DConditionModel", "noisy latents with text", predict_noise, **CHANNELS, sample_size=8,
        attention_head_dim=4, cross_attention_dim=32, dropout=DROPOUT,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "diffusers.dit": model(
        "DiTTransformer2DModel", "noisy latents of classes", predict_noise, **HEADS, num_embeds_ada_norm=100,
        out_channels=8, dropout=DROPOUT,
    ),
    "diffusers.pixart": model(
        "PixArtTransformer2DModel", "noisy latents with text", predict_noise, **HEADS, cross_attention_dim=32,
        caption_channels=32, norm_num_groups=4, dropout=DROPOUT, use_additional_conditions=False,
    ),
    "diffusers.sd3": model(
        "SD3Transformer2DModel", "latents with pooled text", predict_flow, **HEADS, patch_size=2,
        joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=16, out_channels=4,
        pos_embed_max_size=8,
    ),
    "diffusers.flux": model(
        "FluxTransformer2DModel", "packed latents", predict_flow, in_channels=16, num_layers=1, num_single_layers=1,
        num_attention_heads=4, attention_head_dim=8, joint_attention_dim=32, pooled_projection_dim=16,
        axes_dims_rope=(2, 2, 4),
    ),
    "diffusers.vae": model(
        "AutoencoderKL", "images", rebuild, **CHANNELS, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ),
    "diffusers.vae_deep": model(
        "AutoencoderDC", "images", rebuild_plain, latent_channels=4, attention_head_dim=8,
        encoder_block_types=("ResBlock", "EfficientViTBlock"), decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 16), decoder_block_out_channels=(8, 16), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        downsample_block_type="pixel_unshuffle", upsample_block_type="pixel_shuffle",
        decoder_act_fns=("silu", "silu"),
        decoder_norm_types=("rms_norm", "rms_norm"), scaling_factor=1.0,
    ),
    "diffusers.vq": model(
        "VQModel", "images", quantize, **CHANNELS, latent_channels=4, num_vq_embeddings=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ),
}  # fmt: skip
