"""Writes test/fixtures/config/cases.json: what transformers makes of config.json files.

Each case is a config.json (and eos ids of a generation_config.json) as found in the wild, old keys and
new, with the facts that transformers reads out of it: widths, windows, scales and, to the last bit, the
inverse frequencies of its rotary embeddings. The engine's tests read the same configs.

Run: python tools/make_config_fixtures.py   (needs torch and transformers 5.x)
"""

import importlib
import json
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 128, "pad_token_id": 0}
LLAMA3 = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
SHORT = [1.0 + 0.03 * i for i in range(8)]
LONG = [1.5 * 1.4**i for i in range(8)]

CASES = {
    # Defaults of each class, all keys absent but a few.
    "llama_defaults": {"model_type": "llama"},
    "mistral_defaults": {"model_type": "mistral"},
    "qwen2_defaults": {"model_type": "qwen2"},
    "qwen3_defaults": {"model_type": "qwen3"},
    "phi_defaults": {"model_type": "phi"},
    "phi3_defaults": {"model_type": "phi3"},
    "gemma3_defaults": {"model_type": "gemma3_text"},
    "gemma3_wrapper": {
        "model_type": "gemma3",
        "eos_token_id": [1, 106],
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "sliding_window": 1024, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        },
        "vision_config": {"model_type": "siglip_vision_model"},
    },
    # Nulls.
    "llama_nulls": {"model_type": "llama", **SMALL, "num_key_value_heads": None, "head_dim": None, "rope_scaling": None},
    "mistral_no_window": {"model_type": "mistral", **SMALL, "num_key_value_heads": 4, "sliding_window": None},
    "mistral_window": {"model_type": "mistral", **SMALL, "num_key_value_heads": 2, "sliding_window": 8, "head_dim": 24},
    # Ropes of Llama.
    "llama31_old": {
        "model_type": "llama", **SMALL, "hidden_size": 512, "max_position_embeddings": 131072,
        "rope_theta": 500000.0, "rope_scaling": {**LLAMA3, "rope_type": "llama3"},
    },
    "llama31_new": {
        "model_type": "llama", **SMALL, "hidden_size": 512, "max_position_embeddings": 131072,
        "rope_parameters": {**LLAMA3, "rope_type": "llama3", "rope_theta": 500000.0},
    },
    "llama32": {
        "model_type": "llama", **SMALL, "head_dim": 64, "max_position_embeddings": 131072, "rope_theta": 500000.0,
        "rope_scaling": {**LLAMA3, "factor": 32.0, "rope_type": "llama3"}, "eos_token_id": [128001, 128008, 128009],
    },
    "llama_linear": {
        "model_type": "llama", **SMALL, "rope_scaling": {"type": "linear", "factor": 4.0}, "rope_theta": 10000.0,
    },
    "llama_dynamic": {"model_type": "llama", **SMALL, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "llama_yarn": {
        "model_type": "llama", **SMALL, "head_dim": 128, "max_position_embeddings": 65536, "rope_theta": 10000.0,
        "rope_scaling": {"type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096},
    },
    "llama_yarn_options": {
        "model_type": "llama", **SMALL, "head_dim": 64, "max_position_embeddings": 65536, "rope_theta": 1000000.0,
        "rope_scaling": {
            "rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 16,
            "beta_slow": 2, "mscale": 0.707, "mscale_all_dim": 1.0, "truncate": False,
        },
    },
    "llama_both_names": {
        "model_type": "llama", **SMALL, "rope_theta": 20000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_type": "default", "rope_theta": 30000.0},
    },
    "llama_empty_scaling": {
        "model_type": "llama", **SMALL, "rope_scaling": {}, "rope_parameters": {"rope_type": "default", "rope_theta": 30000.0},
    },
    "llama_odd_widths": {"model_type": "llama", **SMALL, "hidden_size": 80, "head_dim": 20, "rope_theta": 123456.0},
    "smollm2": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "rope_theta": 100000,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-05, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "eos_token_id": 2,
    },
    # Windows of Qwen.
    "qwen2_window_unused": {"model_type": "qwen2", **SMALL, "num_key_value_heads": 2, "sliding_window": 16, "use_sliding_window": False},
    "qwen2_window_from_layer": {
        "model_type": "qwen2", **SMALL, "num_key_value_heads": 2, "sliding_window": 16, "use_sliding_window": True,
        "max_window_layers": 2, "rope_theta": 1000000.0,
    },
    "qwen2_window_default": {"model_type": "qwen2", **SMALL, "num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 1},
    "qwen2_yarn": {
        "model_type": "qwen2", **SMALL, "num_key_value_heads": 2, "max_position_embeddings": 32768, "rope_theta": 1000000.0,
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"},
    },
    "qwen3_layer_types": {
        "model_type": "qwen3", **SMALL, "num_key_value_heads": 2, "head_dim": 32, "use_sliding_window": True, "sliding_window": 12,
        "layer_types": ["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
        "attention_bias": True,
    },
    "qwen3_kv_default": {"model_type": "qwen3", **SMALL, "num_attention_heads": 32},
    # Phi-2 and Phi-3.
    "phi2": {
        "model_type": "phi", **SMALL, "hidden_size": 320, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-05, "rope_theta": 10000.0, "rope_scaling": None, "num_key_value_heads": None,
        "eos_token_id": 50256, "qk_layernorm": True,
    },
    "phi2_new": {
        "model_type": "phi", **SMALL, "rope_parameters": {"partial_rotary_factor": 0.25, "rope_theta": 5000.0, "rope_type": "default"},
    },
    "phi3_mini_4k": {
        "model_type": "phi3", **SMALL, "sliding_window": 2047, "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096, "rope_scaling": None, "rope_theta": 10000.0, "eos_token_id": 32000,
    },
    "phi3_mini_128k": {
        "model_type": "phi3", **SMALL, "sliding_window": 262144, "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096, "rope_theta": 10000.0,
        "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG},
    },
    "phi4_mini": {
        "model_type": "phi3", **SMALL, "hidden_size": 128, "partial_rotary_factor": 0.75, "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096, "num_key_value_heads": 2, "tie_word_embeddings": True,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 12, "long_factor": [1.0 + 4 * i for i in range(12)]},
    },
    "phi3_attention_factor": {
        "model_type": "phi3", **SMALL, "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "attention_factor": 1.3, "rope_theta": 10000.0,
        },
    },
    # Gemma 3.
    "gemma3_1b_old": {
        "model_type": "gemma3_text", **SMALL, "num_hidden_layers": 8, "head_dim": 32, "num_key_value_heads": 1,
        "sliding_window": 512, "sliding_window_pattern": 3, "rope_theta": 1000000, "rope_local_base_freq": 10000,
        "rope_scaling": None, "query_pre_attn_scalar": 168, "attn_logit_softcapping": None, "final_logit_softcapping": 30.0,
    },
    "gemma3_default_pattern": {"model_type": "gemma3_text", **SMALL, "num_hidden_layers": 13, "_sliding_window_pattern": 3},
    "gemma3_linear_old": {
        "model_type": "gemma3_text", **SMALL, "num_hidden_layers": 6, "head_dim": 64, "rope_theta": 2000000.0, "rope_local_base_freq": 20000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "rope_parameters": None,
    },
    "gemma3_type_ignored": {"model_type": "gemma3_text", **SMALL, "num_hidden_layers": 6, "rope_scaling": {"factor": 8.0, "type": "linear"}},
    "gemma3_new": {
        "model_type": "gemma3_text", **SMALL, "head_dim": 32,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    },
}

ROTARY = {
    "llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi": "Phi", "phi3": "Phi3",
    "gemma3_text": "Gemma3",
}


def rope(config, module, kind):
    """Inverse frequencies, those beyond the original context if any, and the factor of cos and sin."""
    parameters = config.rope_parameters[kind] if kind else config.rope_parameters
    prefix = f"{kind}_" if kind else ""
    found = {
        "inverse_frequencies": getattr(module, f"{prefix}inv_freq").tolist(),
        "magnitude": torch.tensor(float(getattr(module, f"{prefix}attention_scaling")), dtype=torch.float32).item(),
    }
    if parameters["rope_type"] == "longrope":
        beyond = parameters["original_max_position_embeddings"]
        found["original_context"] = beyond
        found["long"] = ROPE_INIT_FUNCTIONS["longrope"](config, seq_len=beyond + 1)[0].tolist()
    return found


def facts(raw, scratch):
    (scratch / "config.json").write_text(json.dumps(raw))
    config = AutoConfig.from_pretrained(scratch)
    text = config.get_text_config(decoder=True)
    kind = text.model_type
    module = importlib.import_module(f"transformers.models.{kind.removesuffix('_text')}.modeling_{kind.removesuffix('_text')}")
    rotary = getattr(module, f"{ROTARY[kind]}RotaryEmbedding")(text)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(text)
    attention = [layer.self_attn for layer in model.model.layers]
    if kind in ("mistral", "phi3"):
        windows = [text.sliding_window] * text.num_hidden_layers
    else:
        windows = [getattr(layer, "sliding_window", None) for layer in attention]
    eos = config.eos_token_id if config.eos_token_id is not None else text.eos_token_id
    if kind == "gemma3_text":
        ropes = [rope(text, rotary, layer_kind) for layer_kind in ("full_attention", "sliding_attention")]
        layer_ropes = [int(layer_kind == "sliding_attention") for layer_kind in text.layer_types]
    else:
        ropes, layer_ropes = [rope(text, rotary, None)], [0] * text.num_hidden_layers
    return {
        "architecture": kind,
        "width": text.hidden_size,
        "ffn": text.intermediate_size,
        "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads,
        "kv_heads": text.num_key_value_heads,
        "head_dim": attention[0].head_dim,
        "vocab": text.vocab_size,
        "max_context": text.max_position_embeddings,
        "norm_eps": text.layer_norm_eps if kind == "phi" else text.rms_norm_eps,
        "activation": text.hidden_activation if kind == "gemma3_text" else text.hidden_act,
        "attention_scale": torch.tensor(attention[0].scaling, dtype=torch.float32).item(),
        "logit_softcap": getattr(text, "final_logit_softcapping", None),
        "windows": windows,
        "layer_ropes": layer_ropes,
        "ropes": ropes,
        "eos_token_ids": [] if eos is None else sorted(eos) if isinstance(eos, list) else [eos],
    }


def main():
    import tempfile

    folder = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, raw in CASES.items():
            try:
                cases.append({"name": name, "config": raw, "facts": facts(raw, pathlib.Path(scratch))})
            except Exception as error:
                raise SystemExit(f"{name}: {error}") from error
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
