//// The forward pass of the llama family: x += o(attention(q, k, v of rms(x))),
//// then x += down(silu(gate(rms(x))) * up(rms(x))).
////
//// All but the weights is lists of floats. The cache of a layer holds, for each
//// head, keys and values with the latest first, so to forget the end is to drop
//// the beginning of a list, and old states stay valid.

import viva_tensor/beam/rope
import viva_tensor/beam/weights.{
  type Kind, type Layer, type Matrix, type Packed, type Weights, Matrix,
}
import viva_tensor/otp

pub type Cache {
  Cache(length: Int, layers: List(List(Head)))
}

/// Keys and values of a head, the latest first: [T, HD] each.
pub type Head {
  Head(keys: List(List(Float)), values: List(List(Float)))
}

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
  let turns = rope.turns(weights.rope, cache.length)
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
