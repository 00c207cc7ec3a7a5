//// The weights of the llama family: read from a checkpoint, packed as rows
//// (see viva_tensor_beam_ffi.erl), cut into as many parts as processes compute.
////
//// The surprise: GGUF's llama family stores the rows of q and k in another
//// order, which is undone here.

import viva_tensor/beam/checkpoint.{type Checkpoint}
import viva_tensor/beam/config.{type Config}
import viva_tensor/beam/rope.{type Rope}
import viva_tensor/beam/source
import viva_tensor/beam/stored.{type Stored}
import viva_tensor/beam/table
import viva_tensor/error.{type Error}
import viva_tensor/otp

/// Erlang's {Kind, Rows, Parts}.
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
    rope: Rope,
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
        "self_attn.qkv_proj" -> "attn_qkv"
        "self_attn.o_proj" -> "attn_output"
        "self_attn.q_norm" -> "attn_q_norm"
        "self_attn.k_norm" -> "attn_k_norm"
        "post_attention_layernorm" -> "ffn_norm"
        "mlp.gate_proj" -> "ffn_gate"
        "mlp.up_proj" | "mlp.gate_up_proj" -> "ffn_up"
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
    0,
    vocabulary,
    vocabulary,
    config.width,
    False,
    config,
  ))
  use packed_head <- otp.try(case head_name == embedding_name {
    True -> Ok(packed_embedding)
    False ->
      rows(
        checkpoint,
        head_name,
        0,
        vocabulary,
        vocabulary,
        config.width,
        False,
        config,
      )
  })
  use norm <- otp.try(vector(
    checkpoint,
    global(names, "norm") <> ".weight",
    config.width,
  ))
  use factors <- otp.try(case config.scaling {
    config.Divided ->
      vector(checkpoint, "rope_freqs.weight", config.head_width / 2)
    _ -> Ok([])
  })
  let rope = rope.new(config, factors)
  use Nil <- otp.map_ok(progress(total, total))
  Weights(
    config:,
    embedding: packed_embedding,
    layers:,
    norm:,
    head: Matrix(parts(packed_head, config.width, processes), []),
    rope:,
    processes:,
    sizes: sizes(checkpoint, embedding, head_name == embedding_name),
  )
}

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
  let stored = fn(module) { in_layer(names, number, module) }
  let matrix = fn(module, out, input, biased, permuted) {
    part(
      names,
      config,
      processes,
      Part(stored(module), 0, out, out, input, biased, permuted),
    )
  }
  let biases = config.biases
  let attention = biases.query_key_value
  use attention_norm <- otp.try(norm("input_layernorm", width))
  let fused = stored("self_attn.qkv_proj")
  let rows = [#(queries, permuted), #(keys, permuted), #(keys, False)]
  let modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
  use projections <- otp.try(
    case is_stored(checkpoint, fused <> ".weight") {
      True ->
        stacked(names, config, processes, fused, rows, width, attention)
        |> otp.try(with_biases(
          names,
          config,
          _,
          otp.map(modules, stored),
          rows,
        ))
      False -> {
        use #(module, #(out, permuted)) <- otp.try_map(otp.zip(modules, rows))
        matrix(module, out, width, attention, permuted)
      }
    },
  )
  use #(query, key, value) <- otp.try(case projections {
    [query, key, value] -> Ok(#(query, key, value))
    _ -> Error(error.Internal("other than three projections"))
  })
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
  // GGUF calls the fused matrix by the name of the up projection.
  let fused = stored("mlp.gate_up_proj")
  let is_fused =
    is_stored(checkpoint, fused <> ".weight")
    && !is_stored(checkpoint, stored("mlp.gate_proj") <> ".weight")
  use inner <- otp.try(case is_fused {
    True -> {
      let rows = [#(ffn, False), #(ffn, False)]
      stacked(names, config, processes, fused, rows, width, biases.ffn)
    }
    False -> {
      use module <- otp.try_map(["mlp.gate_proj", "mlp.up_proj"])
      matrix(module, ffn, width, biases.ffn, False)
    }
  })
  use #(gate, up) <- otp.try(case inner {
    [gate, up] -> Ok(#(gate, up))
    _ -> Error(error.Internal("other than two projections"))
  })
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

type Part {
  /// Rows `from` to `from + out` of a stored matrix of `total` rows.
  Part(
    name: String,
    from: Int,
    out: Int,
    total: Int,
    input: Int,
    biased: Bool,
    permuted: Bool,
  )
}

fn part(
  names: Names,
  config: Config,
  processes: Int,
  part: Part,
) -> Result(Matrix, Error) {
  let checkpoint = names.checkpoint
  let weight = part.name <> ".weight"
  use packed <- otp.try(rows(
    checkpoint,
    weight,
    part.from,
    part.out,
    part.total,
    part.input,
    part.permuted,
    config,
  ))
  let packed = parts(packed, part.input, processes)
  // GGUF has no flag for biases: one that is stored is used.
  let name = part.name <> ".bias"
  case part.biased || names.gguf && is_stored(checkpoint, name) {
    False -> Ok(Matrix(packed, []))
    True -> {
      use bias <- otp.map_ok(vector(checkpoint, name, part.total))
      let bias = otp.take(otp.drop(bias, part.from), part.out)
      Matrix(packed, in_pairs(bias, part.permuted, config))
    }
  }
}

fn in_pairs(bias: List(Float), permuted: Bool, config: Config) -> List(Float) {
  case permuted {
    True -> unpermute(bias, config.head_width)
    False -> bias
  }
}

/// Several matrices that are stored as one, one below the other.
fn stacked(
  names: Names,
  config: Config,
  processes: Int,
  name: String,
  rows: List(#(Int, Bool)),
  input: Int,
  biased: Bool,
) -> Result(List(Matrix), Error) {
  let total = otp.fold(rows, 0, fn(sum, part) { sum + part.0 })
  let #(placed, _) = {
    use #(placed, from), #(out, permuted) <- otp.fold(rows, #([], 0))
    let part = Part(name, from, out, total, input, biased, permuted)
    #([part, ..placed], from + out)
  }
  otp.try_map(otp.reverse(placed), part(names, config, processes, _))
}

/// Fused weights may stand beside biases that are not.
fn with_biases(
  names: Names,
  config: Config,
  matrices: List(Matrix),
  modules: List(String),
  rows: List(#(Int, Bool)),
) -> Result(List(Matrix), Error) {
  use #(matrix, #(module, #(out, permuted))) <- otp.try_map(
    otp.zip(matrices, otp.zip(modules, rows)),
  )
  let name = module <> ".bias"
  case matrix.bias, names.gguf && is_stored(names.checkpoint, name) {
    [], True -> {
      use bias <- otp.map_ok(vector(names.checkpoint, name, out))
      Matrix(..matrix, bias: in_pairs(bias, permuted, config))
    }
    _, _ -> Ok(matrix)
  }
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
  columns: Int,
  processes: Int,
) -> Packed

fn parts(packed: #(Kind, BitArray), columns: Int, processes: Int) -> Packed {
  ffi_parts(packed, columns, processes)
}

/// Rows of a matrix, packed.
fn rows(
  checkpoint: Checkpoint,
  name: String,
  from: Int,
  out: Int,
  total: Int,
  input: Int,
  permuted: Bool,
  config: Config,
) -> Result(#(Kind, BitArray), Error) {
  use stored <- otp.try(tensor(checkpoint, name))
  use Nil <- otp.try(supported(name, stored))
  case stored.shape {
    [found_out, found_in] if found_in == input && found_out >= total -> {
      let bytes = stored.row_bytes(stored.format, input)
      use read <- otp.try(read(stored, from * bytes, out * bytes))
      let read = case permuted {
        True -> unpermute_rows(read, bytes, config.head_width)
        False -> read
      }
      guarded(fn() { pack(stored.format, read, input) })
      |> otp.map_error(error.Malformed("tensor " <> name, "finite numbers", _))
    }
    _ -> wrong_shape(name, [total, input], stored)
  }
}

fn read(stored: Stored, from: Int, bytes: Int) -> Result(BitArray, Error) {
  source.read(stored.path, stored.offset + from, bytes)
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
      use bytes <- otp.try(read(stored, 0, stored.bytes))
      guarded(fn() { floats(stored.format, bytes) })
      |> otp.map_error(error.Malformed("tensor " <> name, "finite numbers", _))
    }
    _, _ -> wrong_shape(name, [length], stored)
  }
}
