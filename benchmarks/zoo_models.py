"""The models of `python -m benchmarks zoo`: of torchvision, timm and transformers.

Names are LIBRARY:MODEL. All have random weights and 10 classes.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import click
import torch
from torch import nn

SIZES = (64, 70, 80, 96, 128, 192, 224, 256)  # px; the first that the model runs on is taken
TIMM = """
    resnet18 resnet26d resnext50_32x4d seresnet18 resnetv2_50 densenet121 dla34 dla46_c
    hrnet_w18_small ese_vovnet19b_slim res2net50_14w_8s skresnet18 resnest14d cspresnet50
    selecsls42 xception41 inception_v4 regnetx_002 regnety_002 repvgg_a0 ghostnet_050 dpn48b
    efficientnet_b0 tf_efficientnetv2_b0 mobilenetv2_050 mobilenetv3_small_100 lcnet_050
    rexnet_100 nf_resnet26 eca_nfnet_l0 vit_tiny_patch16_224 deit_tiny_patch16_224
    beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224 coat_lite_tiny crossvit_tiny_240
    levit_128s pit_ti_224 tnt_s_patch16_224 swin_tiny_patch4_window7_224
    swinv2_tiny_window8_256 pvt_v2_b0 visformer_tiny mobilevit_xxs mobilevitv2_050
    edgenext_xx_small maxvit_rmlp_pico_rw_256 efficientformer_l1 fastvit_t8 poolformer_s12
    convnext_atto convnextv2_atto mixer_s32_224 gmlp_ti16_224 resmlp_12_224 convmixer_768_32
""".split()
NARROWER = {"beit_base_patch16_224": {"embed_dim": 192, "num_heads": 3}}  # of timm

Example = dict[str, torch.Tensor]


class Built(NamedTuple):
    """A model, and the arguments of its Probe."""

    model: nn.Module
    probe: dict[str, Any]


class Language(NamedTuple):
    """A model of transformers: its class, and a configuration of a small size."""

    model: str
    config: str
    options: dict[str, Any]
    example: Callable[[], Example]


def library(name: str) -> Any:
    """Import an optional library; name the extra where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise click.ClickException(
            f'{name} is not installed: pip install -e ".[zoo]", or leave out its models by --models'
        ) from None


def names() -> list[str]:
    """Return the names of all models, those of torchvision last and by size."""
    return [
        *(f"transformers:{name}" for name in TRANSFORMERS),
        *(f"timm:{name}" for name in TIMM),
        *(f"torchvision:{name}" for name in torchvision_names()),
    ]


def torchvision_names() -> list[str]:
    """Return every classification model of torchvision, by its number of parameters."""
    from torchvision import models

    return sorted(models.list_models(module=models), key=published)


def published(name: str) -> int:
    """Return the parameters of a model of torchvision as its page says, for 1,000 classes."""
    from torchvision import models

    weights = models.get_model_weights(name)
    return max((entry.meta["num_params"] for entry in weights), default=0)


def build(name: str) -> Built:
    """Build a model, with the weights of seed 0."""
    kind, _, model = name.partition(":")
    return {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}[kind](model)


def _torchvision(name: str) -> Built:
    from torchvision import models

    builder = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None, "num_classes": 10}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True  # as by default, without a warning
    sized = {"image_size"} if name.startswith("vit") else set()
    return _smallest(lambda **size: builder(**options, **size), sized)


def _timm(name: str) -> Built:
    create = library("timm").create_model
    options = {"pretrained": False, "num_classes": 10} | NARROWER.get(name, {})
    return _smallest(lambda **size: create(name, **options, **size), {"img_size"})


def _smallest(make: Callable[..., nn.Module], sized: set[str]) -> Built:
    """Build the model for the smallest image that it runs on; `sized` names its argument."""
    for make_one, px in _attempts(make, sized):
        try:
            with torch.no_grad():
                make_one().eval()(torch.ones(1, 3, px, px))
        except Exception:  # of any kind: the libraries share none
            continue
        return Built(make_one(), {"input_shape": (3, px, px)})
    raise click.ClickException(f"the model runs on none of {SIZES} px")


def _attempts(
    make: Callable[..., nn.Module], sized: set[str]
) -> Iterator[tuple[Callable[[], nn.Module], int]]:
    """Yield builders of the model and the size of its image; most timm models take no size."""
    for px in SIZES:
        for options in ([dict.fromkeys(sized, px)] if sized else []) + [{}]:
            yield _seeded(make, options), px


def _seeded(make: Callable[..., nn.Module], options: dict[str, int]) -> Callable[[], nn.Module]:
    """Return a function that builds the model, with the weights of seed 0."""

    def built() -> nn.Module:
        torch.manual_seed(0)
        return make(**options)

    return built


def _transformers(name: str) -> Built:
    transformers, entry = library("transformers"), TRANSFORMERS[name]
    torch.manual_seed(0)
    config = getattr(transformers, entry.config)(**entry.options)
    return Built(getattr(transformers, entry.model)(config), {"example": entry.example()})


def _ids(*names: str) -> Callable[[], Example]:
    """Return a function that makes 1 x 12 token ids under each name."""
    return lambda: {name: torch.arange(3, 15)[None] for name in names}


def _image() -> Example:
    return {"pixel_values": torch.ones(1, 3, 32, 32)}


HIDDEN = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {"intermediate_size": 128}
WORDS = {"vocab_size": 100}
LABELS = {"num_labels": 10}
BERT = HIDDEN | WIDE | WORDS | LABELS
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4} | WORDS
LLAMA = HIDDEN | WIDE | WORDS | {"num_key_value_heads": 2}
VIT = HIDDEN | WIDE | LABELS | {"image_size": 32, "patch_size": 8}
WAV2VEC2 = HIDDEN | WIDE | LABELS | {"conv_dim": (32,) * 7, "classifier_proj_size": 32}
WAV2VEC2 |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4} | WORDS
DISTILBERT = {"dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4} | WORDS | LABELS
OPT = HIDDEN | WORDS | {"ffn_dim": 128, "word_embed_proj_dim": 64}
WHISPER = {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "max_source_positions": 20}
WHISPER |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_mel_bins": 16}
WHISPER |= {"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "pad_token_id": 0} | WORDS
WHISPER |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
EAGER = {"attn_implementation": "eager"}


def _speech() -> Example:
    return {"input_values": torch.ones(1, 4000)}


def _spectrum() -> Example:
    return {"input_features": torch.ones(1, 16, 40)} | _ids("decoder_input_ids")()


TRANSFORMERS = {
    "bert": Language("BertForSequenceClassification", "BertConfig", BERT, _ids("input_ids")),
    "bert-eager": Language(
        "BertForSequenceClassification", "BertConfig", BERT | EAGER, _ids("input_ids")
    ),
    "gpt2": Language("GPT2LMHeadModel", "GPT2Config", GPT2, _ids("input_ids")),
    "gpt2-eager": Language("GPT2LMHeadModel", "GPT2Config", GPT2 | EAGER, _ids("input_ids")),
    "llama": Language("LlamaForCausalLM", "LlamaConfig", LLAMA, _ids("input_ids")),
    "llama-eager": Language("LlamaForCausalLM", "LlamaConfig", LLAMA | EAGER, _ids("input_ids")),
    "mistral": Language("MistralForCausalLM", "MistralConfig", LLAMA, _ids("input_ids")),
    "opt": Language("OPTForCausalLM", "OPTConfig", OPT, _ids("input_ids")),
    "distilbert": Language(
        "DistilBertForSequenceClassification", "DistilBertConfig", DISTILBERT, _ids("input_ids")
    ),
    "t5": Language(
        "T5ForConditionalGeneration", "T5Config", T5, _ids("input_ids", "decoder_input_ids")
    ),
    "vit": Language("ViTForImageClassification", "ViTConfig", VIT, _image),
    "wav2vec2": Language("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", WAV2VEC2, _speech),
    "whisper": Language("WhisperForConditionalGeneration", "WhisperConfig", WHISPER, _spectrum),
}
