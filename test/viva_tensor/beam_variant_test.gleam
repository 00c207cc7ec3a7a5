//// What the llama family's checkpoints may have beside the plain layer: the
//// pure Gleam forward pass against transformers, and split GGUF files.

import support
import viva_tensor/beam/checkpoint
import viva_tensor/beam/llama
import viva_tensor/beam/table
import viva_tensor/beam/weights.{type Weights}
import viva_tensor/error
import viva_tensor/json
import viva_tensor/otp

/// The reference rounds each step to float32; weights of 16 bits and their sums
/// are exact here. On most prompts that is 1e-5, on one of llama_yarn 1e-4.
const tolerance = 2.0e-4

const folder = "test/fixtures/variants/"

pub fn variants_test() {
  use name <- support.each([
    "llama_attention_bias_f16", "llama_attention_bias_fused", "llama_biases",
    "llama_rope3_bf16", "llama_tied_f16", "llama_wide_heads_f16",
    "llama_yarn_f16", "qwen2_f16", "qwen2_fused", "qwen2_window", "qwen3_bias",
    "qwen3_f16",
  ])
  let weights = load(name)
  let assert Ok(text) = otp.read_file(folder <> name <> "/golden.json")
  let assert Ok(golden) = json.decode(text)
  use golden <- support.each(support.list(golden, "cases"))
  let ids = support.ids(golden, "prompt_ids")
  let cache = llama.empty_cache(weights)
  let #(cache, logits) = llama.forward(weights, cache, ids)
  let expected = otp.map(support.list(golden, "logits"), number)
  assert otp.length(logits) == otp.length(expected)
  let far = {
    use #(one, other) <- otp.filter(otp.zip(logits, expected))
    one -. other >. tolerance || other -. one >. tolerance
  }
  assert #(name, far) == #(name, [])
  let wanted = support.ids(golden, "greedy_ids")
  assert #(name, greedy(weights, cache, logits, otp.length(wanted)))
    == #(name, wanted)
}

fn load(name: String) -> Weights {
  let assert Ok(found) = checkpoint.open(folder <> name)
  let assert Ok(config) = weights.config(found)
  let assert Ok(weights) = weights.load(found, config, 2, fn(_, _) { Ok(Nil) })
  weights
}

fn number(value: json.Json) -> Float {
  case value {
    json.Integer(number) -> otp.int_to_float(number)
    value -> {
      let assert json.Number(number) = value
      number
    }
  }
}

fn greedy(
  weights: Weights,
  cache: llama.Cache,
  logits: List(Float),
  left: Int,
) -> List(Int) {
  case left {
    0 -> []
    _ -> {
      let id = largest(logits, 0, -1, -1.0e300)
      let #(cache, logits) = llama.forward(weights, cache, [id])
      [id, ..greedy(weights, cache, logits, left - 1)]
    }
  }
}

fn largest(logits: List(Float), place: Int, best: Int, most: Float) -> Int {
  case logits {
    [] -> best
    [first, ..rest] if first >. most -> largest(rest, place + 1, place, first)
    [_, ..rest] -> largest(rest, place + 1, best, most)
  }
}

const parts = [
  "split-00001-of-00003.gguf", "split-00002-of-00003.gguf",
  "split-00003-of-00003.gguf",
]

pub fn any_part_of_a_split_model_opens_all_of_it_test() {
  let counts = {
    use part <- otp.map(parts)
    let assert Ok(opened) = checkpoint.open("test/fixtures/gguf/" <> part)
    let assert checkpoint.Gguf(metadata:) = opened.description
    let assert json.Object(fields) = metadata
    let assert Ok(json.Integer(tensors)) =
      otp.find(fields, "split.tensors.count")
    assert table.size(opened.tensors) == tensors
    tensors
  }
  let assert [one, other, third] = counts
  assert one > 0 && one == other && other == third
}

pub fn a_missing_part_is_named_test() {
  let copy = support.copy_folder("test/fixtures/gguf")
  support.each(
    [
      "aligned_256", "big_endian", "formats", "odd", "values", "version_1",
      "version_2", "version_3",
    ],
    fn(name) { support.remove_file(copy <> "/" <> name <> ".gguf") },
  )
  // A folder with all parts of one model is that model.
  let assert Ok(_) = checkpoint.open(copy)
  let missing = copy <> "/split-00002-of-00003.gguf"
  support.remove_file(missing)
  let assert Error(error.NotFound(path:, expected:)) = checkpoint.open(copy)
  assert #(path, expected) == #(missing, "part 2 of 3 of a split model")
}
