"""Writes small checkpoints that vary what the tiny ones leave alone, with transformers' answers beside them.

Each case becomes a folder with config.json and model.safetensors, or with model.gguf as llama.cpp's own converter
writes it, and golden.json: prompts, the logits after them and the greedy tokens that follow, computed by transformers
in fp32 from the same weights. They have no tokenizer; golden.json speaks in token ids.

Run: python tools/make_variant_fixtures.py FOLDER LLAMA_CPP [CASE…]
(needs torch, transformers 5.x and llama.cpp's source, which lies in the PyPI source package llama-cpp-python)
"""

import json
import pathlib
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB = 96
BASE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCAB, "max_position_embeddings": 128, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16, "rope_theta": 10000.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
SHORT = [1.0, 1.1, 1.3, 1.6]
LONG = [1.0, 2.0, 5.0, 9.0]
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG, "rope_theta": 10000.0}
PHI3 = {"model_type": "phi3", **BASE}
GEMMA = {
    "model_type": "gemma3_text", **BASE, "head_dim": 16, "sliding_window": 6, "tie_word_embeddings": True,
    "query_pre_attn_scalar": 16,
}

# name: (config, what is stored). GGUF is written in F16 or BF16, or with one matrix for q, k and v ("fused").
CASES = {
    "llama_biases": ({"model_type": "llama", **BASE, "attention_bias": True, "mlp_bias": True}, ["safetensors"]),
    "llama_attention_bias": ({"model_type": "llama", **BASE, "attention_bias": True}, ["f16", "fused"]),
    "llama_tied": ({"model_type": "llama", **BASE, "tie_word_embeddings": True}, ["f16"]),
    "llama_wide_heads": ({"model_type": "llama", **BASE, "head_dim": 12}, ["f16"]),
    "llama_rope3": ({"model_type": "llama", **BASE, "rope_parameters": LLAMA3}, ["bf16"]),
    "llama_yarn": ({"model_type": "llama", **BASE, "rope_parameters": {**YARN, "attention_factor": 1.2}}, ["f16"]),
    "qwen2": ({"model_type": "qwen2", **BASE}, ["f16", "fused"]),
    "qwen2_window": (
        {"model_type": "qwen2", **BASE, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
        ["safetensors"],
    ),
    "qwen3": ({"model_type": "qwen3", **BASE, "head_dim": 12}, ["f16"]),
    "qwen3_bias": ({"model_type": "qwen3", **BASE, "head_dim": 12, "attention_bias": True}, ["safetensors"]),
    "phi2": ({"model_type": "phi", **BASE, "num_key_value_heads": 4}, ["f16"]),
    "phi2_norms": ({"model_type": "phi", **BASE, "qk_layernorm": True, "partial_rotary_factor": 0.25}, ["safetensors"]),
    "phi3_longrope": ({**PHI3, "original_max_position_embeddings": 32, "rope_parameters": LONGROPE}, ["safetensors", "f16"]),
    "phi3_partial": (
        {**PHI3, "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 10000.0}},
        ["f16"],
    ),
    "gemma3": ({**GEMMA, "num_hidden_layers": 7, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, ["f16"]),
    "gemma3_options": (
        {
            **GEMMA, "layer_types": ["sliding_attention", "full_attention"], "final_logit_softcapping": 3.0,
            "query_pre_attn_scalar": 5, "attention_bias": True, "attn_logit_softcapping": 0.5, "rope_theta": 5000.0,
            "rope_local_base_freq": 300.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        },
        ["safetensors"],
    ),
    "fp8_tensor": ({"model_type": "llama", **BASE, "quantization_config": {"quant_method": "compressed-tensors"}}, ["fp8"]),
    "fp8_rows": ({**PHI3, "quantization_config": {"quant_method": "fbgemm_fp8"}}, ["fp8"]),
    "fp8_blocks": ({**PHI3, "quantization_config": {"quant_method": "fp8", "weight_block_size": [24, 20]}}, ["fp8"]),
    "fp8_blocks_128": (
        {
            "model_type": "llama", **BASE, "hidden_size": 160, "intermediate_size": 144, "num_hidden_layers": 1,
            "quantization_config": {"quant_method": "fp8"},
        },
        ["fp8"],
    ),
}


def random_model(raw, scratch, seed):
    """A model with weights that float16 and bfloat16 hold exactly, in fp32."""
    raw = {key: value for key, value in raw.items() if key != "quantization_config"}
    (scratch / "config.json").write_text(json.dumps(raw))
    config = AutoConfig.from_pretrained(scratch)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                mean = 0.0 if config.model_type == "gemma3_text" else 1.0
                parameter.copy_(mean + 0.3 * torch.randn_like(parameter))
            elif parameter.ndim == 1:
                parameter.copy_(0.3 * torch.randn_like(parameter))
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.copy_(0.7 * torch.randn_like(parameter))
            else:
                parameter.copy_(2.0 * parameter.shape[1] ** -0.5 * torch.randn_like(parameter))
            parameter.copy_(parameter.to(torch.bfloat16).to(torch.float16).float())
    return model.eval()


def golden(model):
    cases = []
    generator = torch.Generator().manual_seed(7)
    for length in (3, 14, 22, 40):
        prompt = torch.randint(3, VOCAB, (1, length), generator=generator)
        with torch.no_grad():
            logits = model(prompt).logits[0, -1]
            answer = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False, eos_token_id=None
            )
        cases.append({
            "prompt_ids": prompt[0].tolist(),
            "logits": [round(x, 6) for x in logits.tolist()],
            "greedy_ids": answer[0, length:].tolist(),
        })
    return {"reference": "transformers fp32", "cases": cases}


def to_fp8(model, scheme, folder):
    """Stores the projections as F8_E4M3 with scales, and puts what they mean back into the model."""
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    for name in [name for name in state if "_proj." in name]:
        weight = state[name].float()
        out, width = weight.shape
        if scheme["quant_method"] == "compressed-tensors":
            rows, columns, suffix = out, width, "_scale"
        elif scheme["quant_method"] == "fbgemm_fp8":
            rows, columns, suffix = 1, width, "_scale"
        else:
            rows, columns = scheme.get("weight_block_size", [128, 128])
            suffix = "_scale_inv"
        scale = torch.zeros(-(-out // rows), -(-width // columns))
        for i in range(scale.shape[0]):
            for j in range(scale.shape[1]):
                block = weight[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
                scale[i, j] = block.abs().max() / 448
        spread = scale.repeat_interleave(rows, 0)[:out].repeat_interleave(columns, 1)[:, :width]
        stored = (weight / spread).to(torch.float8_e4m3fn)
        model.state_dict()[name].copy_(stored.float() * spread)
        state[name] = stored
        state[f"{name}{suffix}"] = scale.reshape(1) if scheme["quant_method"] == "compressed-tensors" else scale
    save_file(state, folder / "model.safetensors")


def to_gguf(source, target, kind, llama_cpp):
    if str(llama_cpp) not in sys.path:
        sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
    import gguf
    from conversion import ModelBase, get_model_class

    config = json.loads((source / "config.json").read_text())
    stored_as = gguf.LlamaFileType.MOSTLY_BF16 if kind == "bf16" else gguf.LlamaFileType.MOSTLY_F16
    converter = get_model_class(config["architectures"][0])
    kept = converter.set_vocab
    # The vocabulary is not what these files are about.
    converter.set_vocab = lambda self: (
        self.gguf_writer.add_tokenizer_model("none"),
        self.gguf_writer.add_token_list([f"<{i}>" for i in range(VOCAB)]),
        self.gguf_writer.add_eos_token_id(2),
    )
    # Gemma's converter counts the vocabulary in tokenizer.json.
    vocabulary = {f"<{i}>": i for i in range(VOCAB)}
    (source / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    with torch.inference_mode():
        converter(source, stored_as, target / "model.gguf", model_name=target.name, fuse_qkv=kind == "fused").write()
    converter.set_vocab = kept


def main():
    out, llama_cpp = map(pathlib.Path, sys.argv[1:3])
    for seed, (name, (raw, kinds)) in enumerate(CASES.items()):
        if sys.argv[3:] and name not in sys.argv[3:]:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            model = random_model(raw, scratch, seed)
            model.save_pretrained(scratch)
            config = json.loads((scratch / "config.json").read_text())
            for kind in kinds:
                folder = out / (name if kind == "safetensors" or kind == "fp8" else f"{name}_{kind}")
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                if kind == "safetensors":
                    shutil.copy(scratch / "config.json", folder)
                    state = load_file(scratch / "model.safetensors")
                    state = {key: tensor.to(torch.bfloat16) for key, tensor in state.items()}
                    save_file(state, folder / "model.safetensors")
                elif kind == "fp8":
                    scheme = raw["quantization_config"]
                    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": scheme}))
                    to_fp8(model, scheme, folder)
                else:
                    to_gguf(scratch, folder, kind, llama_cpp)
                (folder / "golden.json").write_text(json.dumps(golden(model)))


if __name__ == "__main__":
    main()
