"""Families of models that others have written, each at a small size with a batch that it takes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SAMPLES, CLASSES, TOKENS, LENGTH = 8, 10, 101, 12
_MOST_PARAMETERS = 12_000_000


class Stranger(NamedTuple):
    """A model and a batch; without a loss, `diagnose` takes its usual one."""

    model: nn.Module
    inputs: Any
    targets: Any = None
    loss: Callable[..., Tensor] | None = None


Members = dict[str, Callable[[], Stranger]]


def loss_of(stranger: Stranger) -> Tensor:
    """The loss of one pass, as a loop of the user's own would have it."""
    inputs = stranger.inputs
    outputs = stranger.model(**inputs) if isinstance(inputs, dict) else stranger.model(inputs)
    if stranger.loss is None:
        return F.cross_entropy(outputs, stranger.targets)
    return stranger.loss(outputs) if stranger.targets is None else stranger.loss(outputs, stranger.targets)


def not_too_large(model: nn.Module) -> None:
    """Raises ValueError for a model that would take minutes; one on the meta device takes none to ask."""
    size = sum(each.numel() for each in model.parameters())
    if size > _MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters, and at most {_MOST_PARAMETERS:,} are tried")


def pictures(size: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(SAMPLES, channels, size, size), torch.arange(SAMPLES) % CLASSES


# timm: the smallest entry of each of its files


_SMALL = ("test_", "atto", "femto", "pico", "nano", "xxs", "_xs", "tiny", "mobile", "small", "_s", "18", "b0", "_t")


def of_timm() -> Members:
    import timm

    found = {}
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        rank = {name: next((k for k, part in enumerate(_SMALL) if part in name), len(_SMALL)) for name in names}
        if names:
            name = min(names, key=lambda each: (rank[each], len(each)))
            found[name] = partial(_timm, name)
    return found


def _timm(name: str) -> Stranger:
    import timm

    with torch.device("meta"):
        not_too_large(timm.create_model(name, num_classes=CLASSES))
    try:
        model = timm.create_model(name, num_classes=CLASSES, img_size=64)
    except Exception:  # noqa: BLE001  not all take a size; of these some take every size, others their own
        model = timm.create_model(name, num_classes=CLASSES)
    for size in (64, 128, model.default_cfg["input_size"][-1]):
        inputs, targets = pictures(size, model.default_cfg["input_size"][0])
        try:
            model(inputs)
            break
        except Exception:  # noqa: BLE001, S112
            continue
    return Stranger(model, inputs, targets)


# torchvision


_TORCHVISION = """alexnet convnext_tiny densenet121 efficientnet_b0 mnasnet0_5 mobilenet_v2 mobilenet_v3_small
regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t vgg11_bn""".split()


def of_torchvision() -> Members:
    return {name: partial(_torchvision, name) for name in _TORCHVISION}


def _torchvision(name: str) -> Stranger:
    from torchvision import models

    return Stranger(models.get_model(name, num_classes=CLASSES), *pictures(64))


# transformers: every architecture that takes one of the usual tasks and can be made small


_TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 64, "vocab_size": TOKENS, "max_position_embeddings": 64, "type_vocab_size": 2,
    "d_model": 32, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64, "n_inner": 64, "d_ff": 64, "d_kv": 8,
    "num_layers": 2, "num_heads": 4, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "ffn_dim": 64, "embedding_size": 32,
    "num_decoder_layers": 2, "word_embed_proj_dim": 32, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4,
    "head_dim": 8, "rotary_dim": 8, "image_size": 32, "patch_size": 8, "num_labels": CLASSES, "embedding_dim": 32,
    "emb_dim": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "sliding_window": 8, "attention_hidden_size": 32, "state_size": 8, "num_channels": 3, "depths": [1, 1],
    "hidden_sizes": [16, 32], "embed_dim": 16, "n_groups": 1, "q_lora_rank": 8, "kv_lora_rank": 8,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "conv_dim": [16, 16], "conv_stride": [4, 4],
    "conv_kernel": [8, 8], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
_TASKS = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
}


def of_transformers() -> Members:
    from transformers.models.auto import modeling_auto

    found = {}
    for task, table in _TASKS.items():
        for kind, name in getattr(modeling_auto, table).items():
            name = name if isinstance(name, str) else name[0]
            found.setdefault(f"{name} {task}", partial(_transformer, kind, name, task))
    return found


def _transformer(kind: str, name: str, task: str) -> Stranger:
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    usual = CONFIG_MAPPING[kind]()
    config = CONFIG_MAPPING[kind](**{key: value for key, value in _TINY.items() if hasattr(usual, key)})
    kind_of_model = getattr(transformers, name)
    with torch.device("meta"):
        not_too_large(kind_of_model(config))
    model = kind_of_model(config).train()
    tokens = torch.randint(3, TOKENS, (SAMPLES, LENGTH))
    classes = torch.arange(SAMPLES) % CLASSES
    batches = {
        "image": {"pixel_values": torch.randn(SAMPLES, 3, 32, 32), "labels": classes},
        "audio": {"input_values": torch.randn(SAMPLES, 800), "labels": classes},
    }
    return Stranger(model, batches.get(task, {"input_ids": tokens, "labels": tokens}), loss=_own_loss)


def _own_loss(outputs: Any) -> Tensor:
    return outputs.loss


# peft: adapters over a small frozen model


def of_peft() -> Members:
    return {name: partial(_adapted, name) for name in ("LoraConfig", "IA3Config", "VeraConfig", "OFTConfig", "BOFTConfig",
            "LoHaConfig", "LoKrConfig", "AdaLoraConfig", "PrefixTuningConfig", "PromptTuningConfig", "PromptEncoderConfig",
            "LNTuningConfig", "FourierFTConfig", "HRAConfig", "BoneConfig", "VBLoRAConfig")}  # fmt: skip


def _adapted(name: str) -> Stranger:
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM

    small = LlamaConfig(**{key: value for key, value in _TINY.items() if hasattr(LlamaConfig(), key)})
    kind, settings = getattr(peft, name), {"task_type": "CAUSAL_LM"}
    fields = {
        "target_modules": ["q_proj", "v_proj"],
        "num_virtual_tokens": 4,
        "feedforward_modules": [],
        "total_step": 10,
    }
    if name == "IA3Config":
        fields["feedforward_modules"] = ["down_proj"]
        fields["target_modules"] = ["k_proj", "down_proj"]
    if name == "LNTuningConfig":
        fields["target_modules"] = ["input_layernorm"]
    settings |= {key: value for key, value in fields.items() if key in kind.__dataclass_fields__}
    tokens = torch.randint(3, TOKENS, (SAMPLES, LENGTH))
    model = peft.get_peft_model(LlamaForCausalLM(small), kind(**settings)).train()
    return Stranger(model, {"input_ids": tokens, "labels": tokens}, loss=_own_loss)


# Keras, with torch as its backend


def of_keras() -> Members:
    from keras import Sequential, layers

    def dense(**settings: Any) -> Any:
        return Sequential(
            [layers.Input((20,)), *(layers.Dense(64, **settings) for _ in range(3)), layers.Dense(CLASSES)]
        )

    def convolutional(*after: Any) -> Any:
        inner = [
            layer for k in (8, 16) for layer in (layers.Conv2D(k, 3, activation="relu"), *(each() for each in after))
        ]
        return Sequential([layers.Input((12, 12, 3)), *inner, layers.Flatten(), layers.Dense(CLASSES)])

    def recurrent(kind: Any) -> Any:
        return Sequential([layers.Input((9, 5)), kind(16), layers.Dense(CLASSES)])

    vector, picture, series = ((SAMPLES, *shape) for shape in ((20,), (12, 12, 3), (9, 5)))
    made = {
        "dense relu, He": (vector, lambda: dense(activation="relu", kernel_initializer="he_normal")),
        "dense tanh": (vector, lambda: dense(activation="tanh")),
        "dense selu": (vector, lambda: dense(activation="selu", kernel_initializer="lecun_normal")),
        "dense, dropout, norm": (
            vector,
            lambda: Sequential([layers.Input((20,)), layers.Dense(32), layers.BatchNormalization(), layers.Activation("relu"),
                                layers.Dropout(0.2), layers.Dense(32, activation="gelu"), layers.LayerNormalization(),
                                layers.Dense(CLASSES)]),
        ),
        "convolutional": (picture, convolutional),
        "convolutional, norm": (picture, lambda: convolutional(layers.BatchNormalization)),
        "convolutional, pooled": (picture, lambda: convolutional(lambda: layers.MaxPooling2D(2, padding="same"))),
        "LSTM": (series, lambda: recurrent(layers.LSTM)),
        "GRU": (series, lambda: recurrent(layers.GRU)),
        "SimpleRNN": (series, lambda: recurrent(layers.SimpleRNN)),
        "functional, attention": (series, partial(_attending, layers)),
    }  # fmt: skip
    return {name: partial(_keras, shape, build) for name, (shape, build) in made.items()}


def _attending(layers: Any) -> Any:
    from keras import Model

    given = layers.Input((9, 5))
    h = layers.Dense(16)(given)
    h = layers.LayerNormalization()(h + layers.MultiHeadAttention(2, 8)(h, h))
    return Model(given, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(h)))


def _keras(shape: tuple[int, ...], build: Callable[[], Any]) -> Stranger:
    return Stranger(build(), torch.randn(shape), torch.arange(SAMPLES) % CLASSES)


FAMILIES: dict[str, Callable[[], Members]] = {
    "timm": of_timm,
    "torchvision": of_torchvision,
    "transformers": of_transformers,
    "peft": of_peft,
    "keras": of_keras,
}
