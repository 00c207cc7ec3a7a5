//// The numbers of a model, from config.json or GGUF metadata. Defaults of an
//// absent key are those of transformers' configuration classes.
////
//// The families here are llama, mistral, qwen2 and qwen3: one layer with
//// options. The surprise: a Mistral in GGUF calls itself llama.

import viva_tensor/beam/field
import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

pub type Config {
  Config(
    architecture: String,
    width: Int,
    ffn: Int,
    layers: Int,
    heads: Int,
    kv_heads: Int,
    head_width: Int,
    vocabulary: Int,
    max_context: Int,
    epsilon: Float,
    /// Biases of q, k and v; of the output; of the feed-forward.
    biases: Biases,
    query_key_norms: Bool,
    /// For each layer, how many positions it sees; 0 is all.
    windows: List(Int),
    theta: Float,
    scaling: Scaling,
    eos_ids: List(Int),
  )
}

pub type Biases {
  Biases(query_key_value: Bool, output: Bool, ffn: Bool)
}

pub type Scaling {
  Plain
  Linear(factor: Float)
  Llama3(factor: Float, low: Float, high: Float, original_context: Float)
  /// Each frequency divided by a factor that the file holds.
  Divided
  Stretched(Yarn)
}

/// YaRN, and its two speeds between which frequencies are mixed.
pub type Yarn {
  Yarn(
    factor: Float,
    original_context: Float,
    beta_fast: Float,
    beta_slow: Float,
    /// Whether the ramp's ends are rounded to whole pairs.
    truncate: Bool,
    magnitude: Float,
  )
}

@external(erlang, "math", "log")
fn logarithm(number: Float) -> Float

/// How much longer dot products get for a context so many times as long.
fn yarn_magnitude(scale: Float, mscale: Float) -> Float {
  case scale <=. 1.0 {
    True -> 1.0
    False -> 0.1 *. mscale *. logarithm(scale) +. 1.0
  }
}

const families =
  "llama, mistral, qwen2 or qwen3 without the native library; run `make build` for the others"

pub fn from_hugging_face(
  config: Json,
  generation: Json,
) -> Result(Config, Error) {
  use architecture <- otp.try(family(config))
  let count = fn(name, otherwise) {
    field.count(config, name, otherwise) |> at_config
  }
  let vocabulary = case architecture {
    "llama" | "mistral" -> 32_000
    _ -> 151_936
  }
  use vocabulary <- otp.try(count("vocab_size", vocabulary))
  use width <- otp.try(count("hidden_size", 4096))
  use ffn <- otp.try(
    count("intermediate_size", case architecture {
      "llama" -> 11_008
      "mistral" -> 14_336
      _ -> 22_016
    }),
  )
  use layers <- otp.try(count("num_hidden_layers", 32))
  use heads <- otp.try(count("num_attention_heads", 32))
  use kv_heads <- otp.try(
    count(
      "num_key_value_heads",
      case architecture, has_key(config, "num_key_value_heads") {
        "mistral", False -> 8
        "qwen2", False | "qwen3", False -> 32
        _, _ -> heads
      },
    ),
  )
  use head_width <- otp.try(
    count("head_dim", case architecture, heads {
      "qwen3", _ -> 128
      _, 0 -> 0
      _, _ -> width / heads
    }),
  )
  use max_context <- otp.try(
    count("max_position_embeddings", case architecture {
      "llama" -> 2048
      "mistral" -> 131_072
      _ -> 32_768
    }),
  )
  use epsilon <- otp.try(
    field.float(config, "rms_norm_eps", 1.0e-6) |> at_config,
  )
  use Nil <- otp.try(case field.text(config, "hidden_act") {
    Ok("silu") | Ok("swish") | Error(Nil) -> Ok(Nil)
    Ok(other) ->
      Error(error.Unsupported("config.json: hidden_act", "silu", other))
  })
  use Nil <- otp.try(case field.has(config, "quantization_config") {
    False -> Ok(Nil)
    True ->
      Error(error.Unsupported(
        "config.json: quantization_config",
        "F32, F16 or BF16 weights without the native library",
        "quantized ones",
      ))
  })
  use windows <- otp.try(windows(architecture, config, layers))
  use #(theta, scaling) <- otp.try(rope(config, max_context))
  let flag = field.bool(config, _, False)
  let attention = case architecture {
    "qwen2" -> True
    "mistral" -> False
    _ -> flag("attention_bias")
  }
  let ids =
    otp.append(
      field.ids(generation, "eos_token_id"),
      field.ids(config, "eos_token_id"),
    )
  let ids = case ids, has_key(config, "eos_token_id"), architecture {
    [], False, "llama" | [], False, "mistral" -> [2]
    _, _, _ -> ids
  }
  check(
    Config(
      architecture:,
      width:,
      ffn:,
      layers:,
      heads:,
      kv_heads:,
      head_width:,
      vocabulary:,
      max_context:,
      epsilon:,
      biases: Biases(
        query_key_value: attention,
        output: attention && architecture != "qwen2",
        ffn: architecture == "llama" && flag("mlp_bias"),
      ),
      query_key_norms: architecture == "qwen3",
      windows:,
      theta:,
      scaling:,
      eos_ids: unique(otp.sort(ids)),
    ),
    "config.json",
  )
}

fn at_config(result: Result(a, Error)) -> Result(a, Error) {
  use error <- otp.map_error(result)
  case error {
    error.Malformed(at:, expected:, found:) ->
      error.Malformed("config.json: " <> at, expected, found)
    other -> other
  }
}

fn has_key(config: Json, name: String) -> Bool {
  case config {
    json.Object(fields) ->
      case otp.find(fields, name) {
        Ok(_) -> True
        Error(Nil) -> False
      }
    _ -> False
  }
}

fn family(config: Json) -> Result(String, Error) {
  let found = case field.text(config, "model_type") {
    Ok(name) -> name
    Error(Nil) ->
      case field.texts(config, "architectures") {
        [name, ..] -> name
        [] -> "nothing"
      }
  }
  case found {
    "llama" | "LlamaForCausalLM" -> Ok("llama")
    "mistral" | "MistralForCausalLM" -> Ok("mistral")
    "qwen2" | "Qwen2ForCausalLM" -> Ok("qwen2")
    "qwen3" | "Qwen3ForCausalLM" -> Ok("qwen3")
    other ->
      Error(error.Unsupported("config.json: model_type", families, other))
  }
}

fn windows(
  architecture: String,
  config: Json,
  layers: Int,
) -> Result(List(Int), Error) {
  let window = case has_key(config, "sliding_window") {
    True -> field.count(config, "sliding_window", 0)
    False -> Ok(4096)
  }
  use window <- otp.try(at_config(window))
  use first <- otp.try(at_config(field.count(config, "max_window_layers", 28)))
  case architecture, field.bool(config, "use_sliding_window", False) {
    "mistral", _ -> Ok(otp.repeat(window, layers))
    "qwen2", True | "qwen3", True ->
      case field.texts(config, "layer_types") {
        [] ->
          Ok(otp.append(
            otp.repeat(0, least(first, layers)),
            otp.repeat(window, most(layers - first, 0)),
          ))
        kinds -> {
          use kind <- otp.try_map(kinds)
          case kind {
            "full_attention" -> Ok(0)
            "sliding_attention" -> Ok(window)
            other ->
              Error(error.Unsupported(
                "config.json: layer_types",
                "full_attention or sliding_attention",
                other,
              ))
          }
        }
      }
    _, _ -> Ok(otp.repeat(0, layers))
  }
}

fn rope(config: Json, max_context: Int) -> Result(#(Float, Scaling), Error) {
  let rope = case field.get(config, "rope_scaling") {
    json.Object([_, ..]) as scaling -> scaling
    _ -> field.get(config, "rope_parameters")
  }
  use outer <- otp.try(at_config(field.float(config, "rope_theta", 10_000.0)))
  use theta <- otp.try(at_config(field.float(rope, "rope_theta", outer)))
  let kind = case field.text(rope, "rope_type"), field.text(rope, "type") {
    Ok(kind), _ | Error(Nil), Ok(kind) -> kind
    _, _ -> "default"
  }
  use original <- otp.try(
    at_config(field.count(rope, "original_max_position_embeddings", max_context)),
  )
  use original <- otp.try(
    at_config(field.count(config, "original_max_position_embeddings", original)),
  )
  let need = fn(name) {
    case field.has(rope, name) {
      True -> at_config(field.float(rope, name, 1.0))
      False ->
        Error(error.Malformed(
          "config.json: rope " <> name,
          "a number, as this rope type needs it",
          "nothing",
        ))
    }
  }
  case kind {
    "default" | "dynamic" -> Ok(#(theta, Plain))
    "linear" -> {
      use factor <- otp.map_ok(need("factor"))
      #(theta, Linear(factor))
    }
    "llama3" -> {
      use factor <- otp.try(need("factor"))
      use low <- otp.try(need("low_freq_factor"))
      use high <- otp.map_ok(need("high_freq_factor"))
      #(theta, Llama3(factor, low, high, otp.int_to_float(original)))
    }
    "yarn" -> {
      let stretch =
        otp.int_to_float(max_context) /. otp.int_to_float(most(original, 1))
      let number = fn(name, otherwise) {
        at_config(field.float(rope, name, otherwise))
      }
      use factor <- otp.try(number("factor", stretch))
      use fast <- otp.try(number("beta_fast", 0.0))
      use slow <- otp.try(number("beta_slow", 0.0))
      use mscale <- otp.try(number("mscale", 0.0))
      use all <- otp.try(number("mscale_all_dim", 0.0))
      let own = case mscale != 0.0 && all != 0.0 {
        True -> yarn_magnitude(factor, mscale) /. yarn_magnitude(factor, all)
        False -> yarn_magnitude(factor, 1.0)
      }
      use magnitude <- otp.try(number("attention_factor", own))
      Yarn(
        factor:,
        original_context: otp.int_to_float(original),
        beta_fast: or(fast, 32.0),
        beta_slow: or(slow, 1.0),
        truncate: field.bool(rope, "truncate", True),
        magnitude:,
      )
      |> stretched(theta, "config.json")
      |> otp.map_ok(fn(scaling) { #(theta, scaling) })
    }
    other ->
      Error(error.Unsupported(
        "config.json: rope_type",
        "default, dynamic, linear, llama3 or yarn without the native library",
        other,
      ))
  }
}

fn or(number: Float, otherwise: Float) -> Float {
  case number == 0.0 {
    True -> otherwise
    False -> number
  }
}

/// Only of numbers that have logarithms and are no divisors of zero.
fn stretched(yarn: Yarn, theta: Float, at: String) -> Result(Scaling, Error) {
  let numbers = [
    #("factor", yarn.factor),
    #("original context", yarn.original_context),
    #("beta_fast", yarn.beta_fast),
    #("beta_slow", yarn.beta_slow),
    #("attention factor", yarn.magnitude),
    #("theta - 1", theta -. 1.0),
  ]
  case
    otp.filter(numbers, fn(pair) { pair.1 <. 1.0e-9 || pair.1 >. 1.0e15 })
  {
    [] -> Ok(Stretched(yarn))
    [#(name, found), ..] ->
      Error(error.Malformed(
        at <> ": rope " <> name,
        "1e-9 to 1e15",
        otp.float_to_string(found),
      ))
  }
}

/// Vocabulary 0: as many as the embedding has rows.
pub fn from_gguf(
  metadata: Json,
  has_rope_factors: Bool,
) -> Result(Config, Error) {
  use architecture <- otp.try(
    case field.text(metadata, "general.architecture") {
      Ok("llama") -> Ok("llama")
      Ok("qwen2") -> Ok("qwen2")
      Ok("qwen3") -> Ok("qwen3")
      Ok(other) ->
        Error(error.Unsupported(
          "GGUF metadata: general.architecture",
          families,
          other,
        ))
      Error(Nil) ->
        Error(error.Malformed(
          "GGUF metadata: general.architecture",
          "a name",
          "nothing",
        ))
    },
  )
  let key = fn(name) { architecture <> "." <> name }
  let need = fn(name) { field.need_count(metadata, key(name)) }
  use width <- otp.try(need("embedding_length"))
  use layers <- otp.try(need("block_count"))
  use ffn <- otp.try(need("feed_forward_length"))
  use heads <- otp.try(need("attention.head_count"))
  use max_context <- otp.try(need("context_length"))
  use kv_heads <- otp.try(field.count(
    metadata,
    key("attention.head_count_kv"),
    heads,
  ))
  use experts <- otp.try(field.count(metadata, key("expert_count"), 0))
  use Nil <- otp.try(case experts {
    0 -> Ok(Nil)
    _ ->
      Error(error.Unsupported(
        "GGUF metadata: " <> key("expert_count"),
        "a dense model",
        "experts",
      ))
  })
  use head_width <- otp.try(
    field.count(metadata, key("attention.key_length"), case heads {
      0 -> 0
      _ -> width / heads
    }),
  )
  use epsilon <- otp.try(field.float(
    metadata,
    key("attention.layer_norm_rms_epsilon"),
    1.0e-5,
  ))
  use window <- otp.try(field.count(
    metadata,
    key("attention.sliding_window"),
    0,
  ))
  use theta <- otp.try(field.float(metadata, key("rope.freq_base"), 10_000.0))
  let number = fn(name, otherwise) {
    field.float(metadata, key("rope." <> name), otherwise)
  }
  use linear <- otp.try(number("scale_linear", 1.0))
  use factor <- otp.try(number("scaling.factor", linear))
  let factor = or(factor, 1.0)
  use original <- otp.try(field.count(
    metadata,
    key("rope.scaling.original_context_length"),
    max_context,
  ))
  use scaling <- otp.try(
    case has_rope_factors, field.text(metadata, key("rope.scaling.type")) {
      True, _ -> Ok(Divided)
      False, Ok("none") -> Ok(Plain)
      False, Error(Nil) | False, Ok("linear") ->
        case factor == 1.0 {
          True -> Ok(Plain)
          False -> Ok(Linear(factor))
        }
      False, Ok("yarn") -> {
        use fast <- otp.try(number("scaling.yarn_beta_fast", 32.0))
        use slow <- otp.try(number("scaling.yarn_beta_slow", 1.0))
        use attention <- otp.try(number("scaling.attn_factor", 1.0))
        use own <- otp.try(number(
          "scaling.yarn_attn_factor",
          yarn_magnitude(factor, 1.0),
        ))
        Yarn(
          factor:,
          original_context: otp.int_to_float(original),
          beta_fast: fast,
          beta_slow: slow,
          truncate: True,
          magnitude: attention *. own,
        )
        |> stretched(theta, "GGUF metadata")
      }
      False, Ok(other) ->
        Error(error.Unsupported(
          "GGUF metadata: " <> key("rope.scaling.type"),
          "none, linear or yarn without the native library",
          other,
        ))
    },
  )
  check(
    Config(
      architecture:,
      width:,
      ffn:,
      layers:,
      heads:,
      kv_heads:,
      head_width:,
      vocabulary: 0,
      max_context:,
      epsilon:,
      biases: Biases(False, False, False),
      query_key_norms: architecture == "qwen3",
      windows: otp.repeat(window, layers),
      theta:,
      scaling:,
      eos_ids: [],
    ),
    "GGUF metadata",
  )
}

fn check(config: Config, at: String) -> Result(Config, Error) {
  let bounded = fn(name, value, limit) {
    case value >= 1 && value <= limit {
      True -> Ok(Nil)
      False ->
        Error(error.Malformed(
          at <> ": " <> name,
          "1 to " <> otp.int_to_string(limit),
          otp.int_to_string(value),
        ))
    }
  }
  use Nil <- otp.try(bounded("model width", config.width, 65_536))
  use Nil <- otp.try(bounded("feed-forward width", config.ffn, 1_048_576))
  use Nil <- otp.try(bounded("layers", config.layers, 1024))
  use Nil <- otp.try(bounded("attention heads", config.heads, 1024))
  use Nil <- otp.try(bounded("key-value heads", config.kv_heads, 1024))
  use Nil <- otp.try(bounded("head width", config.head_width, 1024))
  use Nil <- otp.try(bounded("context length", config.max_context, 16_777_216))
  let fits =
    config.heads % config.kv_heads == 0
    && config.head_width % 2 == 0
    && otp.length(config.windows) == config.layers
    && config.epsilon >. 0.0
    && config.epsilon <=. 1.0
    && config.theta >. 1.0e-9
  case fits {
    True -> Ok(config)
    False ->
      Error(error.Malformed(
        at,
        "heads a multiple of the key-value heads, an even head width, a kind for each layer, an epsilon above 0",
        "other numbers",
      ))
  }
}

fn unique(sorted: List(a)) -> List(a) {
  case sorted {
    [one, other, ..rest] if one == other -> unique([other, ..rest])
    [one, ..rest] -> [one, ..unique(rest)]
    [] -> []
  }
}

fn least(one: Int, other: Int) -> Int {
  case one < other {
    True -> one
    False -> other
  }
}

fn most(one: Int, other: Int) -> Int {
  case one > other {
    True -> one
    False -> other
  }
}
