//// The forward pass of the llama family: x += o(attention(q, k, v of rms(x))),
//// then x += down(silu(gate(rms(x))) * up(rms(x))).
////
//// Weights are packed rows (see viva_tensor_beam_ffi.erl), cut into as many
//// parts as processes compute; all else is lists of floats. The cache of a
//// layer holds, for each head, keys and values with the latest first, so to
//// forget the end is to drop the beginning of a list, and old states stay
//// valid.

import viva_tensor/beam/checkpoint.{type Checkpoint}
import viva_tensor/beam/config.{type Config}
import viva_tensor/beam/source
import viva_tensor/beam/stored.{type Stored}
import viva_tensor/beam/table
import viva_tensor/error.{type Error}
import viva_tensor/otp

/// Erlang's {Kind, Parts}.
pub type Packed

pub type Kind

pub type Matrix {
  /// The bias is empty where there is none.
  Matrix(packed: Packed, bias: List(Float))
}

pub type Weights {
  Weights(
    config: Config,
    embedding: #(Kind, BitArray),
    layers: List(Layer),
    norm: List(Float),
    head: Matrix,
    /// [head width / 2]
    frequencies: List(Float),
    processes: Int,
    sizes: Sizes,
  )
}

pub type Sizes {
  Sizes(formats: String, parameters: Int, bytes: Int, bytes_per_token: Int)
}

pub type Layer {
  Layer(
    attention_norm: List(Float),
    query: Matrix,
    key: Matrix,
    value: Matrix,
    /// Empty where there is none.
    query_norm: List(Float),
    key_norm: List(Float),
    window: Int,
    output: Matrix,
    ffn_norm: List(Float),
    gate: Matrix,
    up: Matrix,
    down: Matrix,
  )
}

pub type Cache {
  Cache(length: Int, layers: List(List(Head)))
}

/// Keys and values of a head, the latest first: [T, HD] each.
pub type Head {
  Head(keys: List(List(Float)), values: List(List(Float)))
}

// Loading.

type Names {
  Names(checkpoint: Checkpoint, prefix: String, gguf: Bool)
}

fn global(names: Names, module: String) -> String {
  case names.gguf, module {
    True, "embed_tokens" -> "token_embd"
    True, "norm" -> "output_norm"
    True, _ -> "output"
    False, "lm_head" -> "lm_head"
    False, _ -> names.prefix <> module
  }
}

fn in_layer(names: Names, layer: Int, module: String) -> String {
  let number = otp.int_to_string(layer)
  case names.gguf {
    False -> names.prefix <> "layers." <> number <> "." <> module
    True ->
      "blk."
      <> number
      <> "."
      <> case module {
        "input_layernorm" -> "attn_norm"
        "self_attn.q_proj" -> "attn_q"
        "self_attn.k_proj" -> "attn_k"
        "self_attn.v_proj" -> "attn_v"
        "self_attn.o_proj" -> "attn_output"
        "self_attn.q_norm" -> "attn_q_norm"
        "self_attn.k_norm" -> "attn_k_norm"
        "post_attention_layernorm" -> "ffn_norm"
        "mlp.gate_proj" -> "ffn_gate"
        "mlp.up_proj" -> "ffn_up"
        "mlp.down_proj" -> "ffn_down"
        other -> other
      }
  }
}

/// The config of a checkpoint.
pub fn config(checkpoint: Checkpoint) -> Result(Config, Error) {
  case checkpoint.description {
    checkpoint.HuggingFace(config:, generation:, ..) ->
      config.from_hugging_face(config, generation)
    checkpoint.Gguf(metadata:) ->
      config.from_gguf(metadata, is_stored(checkpoint, "rope_freqs.weight"))
  }
}

fn is_stored(checkpoint: Checkpoint, name: String) -> Bool {
  case table.get(checkpoint.tensors, name) {
    Ok(_) -> True
    Error(Nil) -> False
  }
}

/// Reads and packs all weights; `progress` gets the bytes done and says whether
/// to go on.
pub fn load(
  checkpoint: Checkpoint,
  config: Config,
  processes: Int,
  progress: fn(Int, Int) -> Result(Nil, Error),
) -> Result(Weights, Error) {
  let prefix = case
    otp.filter(["model.", ""], fn(prefix) {
      is_stored(checkpoint, prefix <> "layers.0.input_layernorm.weight")
    })
  {
    [prefix, ..] -> prefix
    [] -> "model."
  }
  let gguf = case checkpoint.description {
    checkpoint.Gguf(..) -> True
    checkpoint.HuggingFace(..) -> False
  }
  let names = Names(checkpoint:, prefix:, gguf:)
  let embedding_name = global(names, "embed_tokens") <> ".weight"
  let head_name = global(names, "lm_head") <> ".weight"
  let #(embedding_name, head_name) = case
    is_stored(checkpoint, embedding_name),
    is_stored(checkpoint, head_name)
  {
    True, True -> #(embedding_name, head_name)
    False, True -> #(head_name, head_name)
    _, _ -> #(embedding_name, embedding_name)
  }
  use embedding <- otp.try(tensor(checkpoint, embedding_name))
  use head <- otp.try(tensor(checkpoint, head_name))
  use vocabulary <- otp.try(
    case config.vocabulary, embedding.shape, head.shape {
      0, [rows, _], [head_rows, _] if head_rows >= rows -> Ok(rows)
      wanted, [rows, _], [head_rows, _]
        if rows >= wanted && head_rows >= wanted
      -> Ok(wanted)
      _, _, _ ->
        Error(error.Malformed(
          "tensor " <> embedding_name,
          "a row for each token",
          "another shape",
        ))
    },
  )
  let config = config.Config(..config, vocabulary:)
  let total =
    otp.fold(table.to_list(checkpoint.tensors), 0, fn(sum, entry) {
      sum + { entry.1 }.bytes
    })
  use layers <- otp.try(
    load_layers(
      names,
      config,
      config.windows,
      0,
      processes,
      fn(layer) { progress(total * layer / { config.layers + 1 }, total) },
      [],
    ),
  )
  use packed_embedding <- otp.try(rows(
    checkpoint,
    embedding_name,
    vocabulary,
    config.width,
    False,
    config,
  ))
  use packed_head <- otp.try(case head_name == embedding_name {
    True -> Ok(packed_embedding)
    False ->
      rows(checkpoint, head_name, vocabulary, config.width, False, config)
  })
  use norm <- otp.try(vector(
    checkpoint,
    global(names, "norm") <> ".weight",
    config.width,
  ))
  use frequencies <- otp.try(frequencies(checkpoint, config))
  use Nil <- otp.map_ok(progress(total, total))
  Weights(
    config:,
    embedding: packed_embedding,
    layers:,
    norm:,
    head: Matrix(parts(packed_head, config.width, processes), []),
    frequencies:,
    processes:,
    sizes: sizes(checkpoint, embedding, head_name == embedding_name),
  )
}

@external(erlang, "viva_tensor_beam_ffi", "row_bytes")
fn row_bytes(kind: Kind, columns: Int) -> Int

fn sizes(checkpoint: Checkpoint, embedding: Stored, tied: Bool) -> Sizes {
  let matrices =
    otp.filter(table.to_list(checkpoint.tensors), fn(entry) {
      otp.length({ entry.1 }.shape) == 2
    })
  let formats =
    [stored.F32, stored.F16, stored.Bf16, stored.Q80, stored.Q40, stored.Q41]
    |> otp.map(fn(format) {
      let count =
        otp.length(
          otp.filter(matrices, fn(entry) { { entry.1 }.format == format }),
        )
      #(format, count)
    })
    |> otp.filter(fn(found) { found.1 > 0 })
    |> otp.map(fn(found) {
      stored.name(found.0) <> " (" <> otp.int_to_string(found.1) <> ")"
    })
  let all = otp.map(table.to_list(checkpoint.tensors), fn(entry) { entry.1 })
  let bytes = otp.fold(all, 0, fn(sum, one) { sum + one.bytes })
  Sizes(
    formats: otp.join(formats, ", "),
    parameters: otp.fold(all, 0, fn(sum, one) {
      sum + stored.product(one.shape)
    }),
    bytes:,
    bytes_per_token: case tied {
      True -> bytes
      False -> bytes - embedding.bytes
    },
  )
}

fn load_layers(
  names: Names,
  config: Config,
  windows: List(Int),
  number: Int,
  processes: Int,
  progress: fn(Int) -> Result(Nil, Error),
  done: List(Layer),
) -> Result(List(Layer), Error) {
  case windows {
    [] -> Ok(otp.reverse(done))
    [window, ..rest] -> {
      use Nil <- otp.try(progress(number))
      use layer <- otp.try(load_layer(names, config, window, number, processes))
      load_layers(names, config, rest, number + 1, processes, progress, [
        layer,
        ..done
      ])
    }
  }
}

fn load_layer(
  names: Names,
  config: Config,
  window: Int,
  number: Int,
  processes: Int,
) -> Result(Layer, Error) {
  let checkpoint = names.checkpoint
  let width = config.width
  let queries = config.heads * config.head_width
  let keys = config.kv_heads * config.head_width
  let permuted = names.gguf && config.architecture == "llama"
  let norm = fn(module, length) {
    vector(checkpoint, in_layer(names, number, module) <> ".weight", length)
  }
  let matrix = fn(module, out, input, biased, permuted) {
    let name = in_layer(names, number, module)
    use packed <- otp.try(rows(
      checkpoint,
      name <> ".weight",
      out,
      input,
      permuted,
      config,
    ))
    let biased = biased || names.gguf && is_stored(checkpoint, name <> ".bias")
    use bias <- otp.map_ok(case biased {
      False -> Ok([])
      True -> vector(checkpoint, name <> ".bias", out)
    })
    let bias = case permuted, bias {
      True, [_, ..] -> unpermute(bias, config.head_width)
      _, _ -> bias
    }
    Matrix(parts(packed, input, processes), bias)
  }
  let biases = config.biases
  let attention = biases.query_key_value
  use attention_norm <- otp.try(norm("input_layernorm", width))
  use query <- otp.try(matrix(
    "self_attn.q_proj",
    queries,
    width,
    attention,
    permuted,
  ))
  use key <- otp.try(matrix(
    "self_attn.k_proj",
    keys,
    width,
    attention,
    permuted,
  ))
  use value <- otp.try(matrix("self_attn.v_proj", keys, width, attention, False))
  use query_norm <- otp.try(case config.query_key_norms {
    True -> norm("self_attn.q_norm", config.head_width)
    False -> Ok([])
  })
  use key_norm <- otp.try(case config.query_key_norms {
    True -> norm("self_attn.k_norm", config.head_width)
    False -> Ok([])
  })
  use output <- otp.try(matrix(
    "self_attn.o_proj",
    width,
    queries,
    biases.output,
    False,
  ))
  use ffn_norm <- otp.try(norm("post_attention_layernorm", width))
  let ffn = config.ffn
  use gate <- otp.try(matrix("mlp.gate_proj", ffn, width, biases.ffn, False))
  use up <- otp.try(matrix("mlp.up_proj", ffn, width, biases.ffn, False))
  use down <- otp.map_ok(matrix("mlp.down_proj", width, ffn, biases.ffn, False))
  Layer(
    attention_norm:,
    query:,
    key:,
    value:,
    query_norm:,
    key_norm:,
    window:,
    output:,
    ffn_norm:,
    gate:,
    up:,
    down:,
  )
}

fn tensor(checkpoint: Checkpoint, name: String) -> Result(Stored, Error) {
  case table.get(checkpoint.tensors, name) {
    Ok(stored) -> Ok(stored)
    Error(Nil) ->
      Error(error.Malformed("tensor " <> name, "a tensor", "no such tensor"))
  }
}

@external(erlang, "viva_tensor_beam_ffi", "guarded")
fn guarded(work: fn() -> a) -> Result(a, String)

@external(erlang, "viva_tensor_beam_ffi", "pack")
fn pack(
  format: stored.Format,
  bytes: BitArray,
  columns: Int,
) -> #(Kind, BitArray)

@external(erlang, "viva_tensor_beam_ffi", "floats")
fn floats(format: stored.Format, bytes: BitArray) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "unpermute")
fn unpermute(values: List(a), head_width: Int) -> List(a)

@external(erlang, "viva_tensor_beam_ffi", "unpermute_rows")
fn unpermute_rows(bytes: BitArray, row_bytes: Int, head_width: Int) -> BitArray

@external(erlang, "viva_tensor_beam_ffi", "parts")
fn ffi_parts(
  packed: #(Kind, BitArray),
  row_bytes: Int,
  processes: Int,
) -> Packed

fn parts(packed: #(Kind, BitArray), columns: Int, processes: Int) -> Packed {
  ffi_parts(packed, row_bytes(packed.0, columns), processes)
}

/// The first rows of a matrix, packed.
fn rows(
  checkpoint: Checkpoint,
  name: String,
  out: Int,
  input: Int,
  permuted: Bool,
  config: Config,
) -> Result(#(Kind, BitArray), Error) {
  use stored <- otp.try(tensor(checkpoint, name))
  use Nil <- otp.try(supported(name, stored))
  case stored.shape {
    [found_out, found_in] if found_in == input && found_out >= out -> {
      let bytes = stored.row_bytes(stored.format, input)
      use read <- otp.try(read(stored, out * bytes))
      let read = case permuted {
        True -> unpermute_rows(read, bytes, config.head_width)
        False -> read
      }
      guarded(fn() { pack(stored.format, read, input) })
      |> otp.map_error(error.Malformed("tensor " <> name, "finite numbers", _))
    }
    _ -> wrong_shape(name, [out, input], stored)
  }
}

fn read(stored: Stored, bytes: Int) -> Result(BitArray, Error) {
  source_read(stored.path, stored.offset, bytes)
}

fn wrong_shape(
  name: String,
  wanted: List(Int),
  stored: Stored,
) -> Result(a, Error) {
  let show = fn(shape) {
    "shape [" <> otp.join(otp.map(shape, otp.int_to_string), ", ") <> "]"
  }
  Error(error.Malformed("tensor " <> name, show(wanted), show(stored.shape)))
}

fn supported(name: String, stored: Stored) -> Result(Nil, Error) {
  case stored.format {
    stored.Other(format) ->
      Error(error.Unsupported(
        "tensor " <> name,
        "F32, F16, BF16, Q8_0, Q4_0 or Q4_1 without the native library; run `make build` for the others",
        format,
      ))
    _ -> Ok(Nil)
  }
}

fn vector(
  checkpoint: Checkpoint,
  name: String,
  length: Int,
) -> Result(List(Float), Error) {
  use stored <- otp.try(tensor(checkpoint, name))
  use Nil <- otp.try(supported(name, stored))
  case stored.shape, stored.format {
    [found], stored.F32
    | [found], stored.F16
    | [found], stored.Bf16
      if found == length
    -> {
      use bytes <- otp.try(read(stored, stored.bytes))
      guarded(fn() { floats(stored.format, bytes) })
      |> otp.map_error(error.Malformed("tensor " <> name, "finite numbers", _))
    }
    _, _ -> wrong_shape(name, [length], stored)
  }
}

@external(erlang, "math", "pow")
fn power(base: Float, exponent: Float) -> Float

@external(erlang, "viva_tensor_beam_ffi", "float32")
fn float32(number: Float) -> Float

/// theta^(-2 i / HD), bent as the config says; rounded to 32 bits where the
/// reference rounds.
fn frequencies(
  checkpoint: Checkpoint,
  config: Config,
) -> Result(List(Float), Error) {
  let half = config.head_width / 2
  let width = otp.int_to_float(config.head_width)
  let plain = {
    use place <- otp.map(count_up(half - 1, []))
    let exponent = float32(otp.int_to_float(2 * place) /. width)
    float32(1.0 /. float32(power(float32(config.theta), exponent)))
  }
  case config.scaling {
    config.Plain -> Ok(plain)
    config.Linear(factor:) ->
      Ok(otp.map(plain, fn(frequency) { float32(frequency /. factor) }))
    config.Llama3(factor:, low:, high:, original_context:) ->
      Ok(otp.map(plain, bend(_, factor, low, high, original_context)))
    config.Divided -> {
      use factors <- otp.map_ok(vector(checkpoint, "rope_freqs.weight", half))
      divide(plain, factors)
    }
  }
}

fn count_up(last: Int, done: List(Int)) -> List(Int) {
  case last < 0 {
    True -> done
    False -> count_up(last - 1, [last, ..done])
  }
}

fn divide(ones: List(Float), others: List(Float)) -> List(Float) {
  case ones, others {
    [one, ..ones], [other, ..others] -> [
      float32(one /. other),
      ..divide(ones, others)
    ]
    _, _ -> []
  }
}

/// Llama 3.1: wavelengths beyond the original context are stretched, short
/// ones kept, and those between interpolated.
fn bend(
  frequency: Float,
  factor: Float,
  low: Float,
  high: Float,
  context: Float,
) -> Float {
  let wavelength = 6.283185307179586 /. frequency
  let longest_kept = context /. high
  let shortest_stretched = context /. low
  case wavelength <. longest_kept, wavelength >. shortest_stretched {
    True, _ -> frequency
    _, True -> float32(frequency /. factor)
    False, False -> {
      let smooth = { context /. wavelength -. low } /. { high -. low }
      float32({ 1.0 -. smooth } *. frequency /. factor +. smooth *. frequency)
    }
  }
}

// Computing.

pub fn empty_cache(weights: Weights) -> Cache {
  let heads = otp.repeat(Head([], []), weights.config.kv_heads)
  Cache(0, otp.repeat(heads, weights.config.layers))
}

/// Only the first positions.
pub fn truncate(cache: Cache, length: Int) -> Cache {
  case cache.length - length {
    excess if excess > 0 -> {
      let layers = {
        use layer <- otp.map(cache.layers)
        use Head(keys:, values:) <- otp.map(layer)
        Head(otp.drop(keys, excess), otp.drop(values, excess))
      }
      Cache(length, layers)
    }
    _ -> cache
  }
}

/// Appends tokens; the logits are those of the last one.
pub fn forward(
  weights: Weights,
  cache: Cache,
  tokens: List(Int),
) -> #(Cache, List(Float)) {
  case tokens {
    [] -> #(cache, [])
    [last] -> {
      let #(cache, hidden) = append(weights, cache, last)
      let normed = rms(hidden, weights.norm, weights.config.epsilon)
      case product([weights.head.packed], normed, weights.processes) {
        [logits] -> #(cache, logits)
        _ -> #(cache, [])
      }
    }
    [first, ..rest] -> {
      let #(cache, _) = append(weights, cache, first)
      forward(weights, cache, rest)
    }
  }
}

@external(erlang, "viva_tensor_beam_ffi", "product")
fn product(
  matrices: List(Packed),
  vector: List(Float),
  processes: Int,
) -> List(List(Float))

/// A packed row as numbers.
@external(erlang, "viva_tensor_beam_ffi", "row")
fn unpack(packed: #(Kind, BitArray), columns: Int, row: Int) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "sum_of_squares")
fn sum_of_squares(numbers: List(Float)) -> Float

@external(erlang, "viva_tensor_beam_ffi", "rotate")
fn rotate(
  head: List(Float),
  cosines: List(Float),
  sines: List(Float),
) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "attend")
fn attend(
  query: List(Float),
  keys: List(List(Float)),
  values: List(List(Float)),
  scale: Float,
) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "gated")
fn gated(gate: List(Float), up: List(Float)) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "add")
fn sum(one: List(Float), other: List(Float)) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "scaled")
fn scaled(
  numbers: List(Float),
  weights: List(Float),
  factor: Float,
) -> List(Float)

@external(erlang, "viva_tensor_beam_ffi", "heads")
fn heads(numbers: List(Float), head_width: Int) -> List(List(Float))

@external(erlang, "math", "cos")
fn cosine(angle: Float) -> Float

@external(erlang, "math", "sin")
fn sine(angle: Float) -> Float

@external(erlang, "math", "sqrt")
fn square_root(number: Float) -> Float

fn rms(
  numbers: List(Float),
  weight: List(Float),
  epsilon: Float,
) -> List(Float) {
  let mean = sum_of_squares(numbers) /. otp.int_to_float(otp.length(numbers))
  scaled(numbers, weight, 1.0 /. square_root(mean +. epsilon))
}

/// What a token adds to the cache, and its last hidden state.
fn append(weights: Weights, cache: Cache, token: Int) -> #(Cache, List(Float)) {
  let config = weights.config
  let hidden = unpack(weights.embedding, config.width, token)
  let position = otp.int_to_float(cache.length)
  let angles =
    otp.map(weights.frequencies, fn(frequency) {
      float32(position *. frequency)
    })
  let turns = #(otp.map(angles, cosine), otp.map(angles, sine))
  let #(layers, hidden) =
    through(weights, weights.layers, cache.layers, turns, hidden, [])
  #(Cache(cache.length + 1, layers), hidden)
}

fn through(
  weights: Weights,
  layers: List(Layer),
  caches: List(List(Head)),
  turns: #(List(Float), List(Float)),
  hidden: List(Float),
  done: List(List(Head)),
) -> #(List(List(Head)), List(Float)) {
  case layers, caches {
    [layer, ..layers], [cache, ..caches] -> {
      let #(cache, hidden) = one_layer(weights, layer, cache, turns, hidden)
      through(weights, layers, caches, turns, hidden, [cache, ..done])
    }
    _, _ -> #(otp.reverse(done), hidden)
  }
}

fn apply(
  weights: Weights,
  matrices: List(Matrix),
  vector: List(Float),
) -> List(List(Float)) {
  let packed = otp.map(matrices, fn(matrix) { matrix.packed })
  biased(matrices, product(packed, vector, weights.processes))
}

fn biased(
  matrices: List(Matrix),
  products: List(List(Float)),
) -> List(List(Float)) {
  case matrices, products {
    [Matrix(bias: [], ..), ..matrices], [product, ..products] -> [
      product,
      ..biased(matrices, products)
    ]
    [matrix, ..matrices], [product, ..products] -> [
      sum(matrix.bias, product),
      ..biased(matrices, products)
    ]
    _, _ -> []
  }
}

fn one(vectors: List(List(Float))) -> List(Float) {
  case vectors {
    [vector, ..] -> vector
    [] -> []
  }
}

fn one_layer(
  weights: Weights,
  layer: Layer,
  cache: List(Head),
  turns: #(List(Float), List(Float)),
  hidden: List(Float),
) -> #(List(Head), List(Float)) {
  let config = weights.config
  let normed = rms(hidden, layer.attention_norm, config.epsilon)
  let projected = apply(weights, [layer.query, layer.key, layer.value], normed)
  let #(query, key, value) = case projected {
    [query, key, value] -> #(query, key, value)
    _ -> #([], [], [])
  }
  let turn = fn(vector, norm) {
    use head <- otp.map(heads(vector, config.head_width))
    let head = case norm {
      [] -> head
      _ -> rms(head, norm, config.epsilon)
    }
    rotate(head, turns.0, turns.1)
  }
  let queries = turn(query, layer.query_norm)
  let keys = turn(key, layer.key_norm)
  let values = heads(value, config.head_width)
  let cache = extend(cache, keys, values)
  let scale = 1.0 /. square_root(otp.int_to_float(config.head_width))
  let mixed =
    attend_all(
      cache,
      queries,
      config.heads / config.kv_heads,
      layer.window,
      scale,
    )
  let attended = one(apply(weights, [layer.output], otp.flatten(mixed)))
  let hidden = sum(hidden, attended)
  let normed = rms(hidden, layer.ffn_norm, config.epsilon)
  let inner = case apply(weights, [layer.gate, layer.up], normed) {
    [gate, up] -> gated(gate, up)
    _ -> []
  }
  #(cache, sum(hidden, one(apply(weights, [layer.down], inner))))
}

fn extend(
  cache: List(Head),
  keys: List(List(Float)),
  values: List(List(Float)),
) -> List(Head) {
  case cache, keys, values {
    [head, ..cache], [key, ..keys], [value, ..values] -> [
      Head([key, ..head.keys], [value, ..head.values]),
      ..extend(cache, keys, values)
    ]
    _, _, _ -> []
  }
}

fn attend_all(
  cache: List(Head),
  queries: List(List(Float)),
  group: Int,
  window: Int,
  scale: Float,
) -> List(List(Float)) {
  case cache {
    [] -> []
    [head, ..cache] -> {
      let #(keys, values) = case window {
        0 -> #(head.keys, head.values)
        _ -> #(otp.take(head.keys, window), otp.take(head.values, window))
      }
      let own =
        otp.map(otp.take(queries, group), fn(query) {
          attend(query, keys, values, scale)
        })
      otp.append(
        own,
        attend_all(cache, otp.drop(queries, group), group, window, scale),
      )
    }
  }
}

fn source_read(
  path: String,
  offset: Int,
  bytes: Int,
) -> Result(BitArray, Error) {
  source.read(path, offset, bytes)
}
