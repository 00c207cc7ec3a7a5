//// Rotary embeddings: how far each pair of a head turns at a position.
////
//// The surprise: each step rounds to 32 bits where the reference rounds.

import viva_tensor/beam/config.{type Config, type Yarn}
import viva_tensor/otp

pub type Rope {
  Rope(
    /// Radians a position: [head width / 2]
    frequencies: List(Float),
    /// What cosines and sines are multiplied by.
    magnitude: Float,
  )
}

@external(erlang, "math", "pow")
fn power(base: Float, exponent: Float) -> Float

@external(erlang, "math", "log")
fn logarithm(number: Float) -> Float

@external(erlang, "math", "floor")
fn floor(number: Float) -> Float

@external(erlang, "math", "ceil")
fn ceiling(number: Float) -> Float

@external(erlang, "math", "cos")
fn cosine(angle: Float) -> Float

@external(erlang, "math", "sin")
fn sine(angle: Float) -> Float

@external(erlang, "viva_tensor_beam_ffi", "float32")
fn float32(number: Float) -> Float

const turn = 6.283185307179586

/// theta^(-2 i / HD), bent as the config says; `factors` are the file's own, of
/// `config.Divided`.
pub fn new(config: Config, factors: List(Float)) -> Rope {
  let width = otp.int_to_float(config.head_width)
  let powers = {
    use place <- otp.map(count_up(config.head_width / 2 - 1, []))
    let exponent = float32(otp.int_to_float(2 * place) /. width)
    float32(power(float32(config.theta), exponent))
  }
  let plain = otp.map(powers, fn(power) { float32(1.0 /. power) })
  case config.scaling {
    config.Plain -> Rope(plain, 1.0)
    config.Linear(factor:) ->
      Rope(
        otp.map(plain, fn(frequency) { float32(frequency /. factor) }),
        1.0,
      )
    config.Llama3(factor:, low:, high:, original_context:) ->
      Rope(otp.map(plain, bend(_, factor, low, high, original_context)), 1.0)
    config.Divided -> Rope(divide(plain, factors), 1.0)
    config.Stretched(yarn) ->
      Rope(stretch(powers, yarn, width, config.theta), float32(yarn.magnitude))
  }
}

/// Cosines and sines of all pairs at a position.
pub fn turns(rope: Rope, position: Int) -> #(List(Float), List(Float)) {
  let position = otp.int_to_float(position)
  let angles =
    otp.map(rope.frequencies, fn(frequency) {
      float32(position *. frequency)
    })
  let magnitude = rope.magnitude
  #(
    otp.map(angles, fn(angle) { cosine(angle) *. magnitude }),
    otp.map(angles, fn(angle) { sine(angle) *. magnitude }),
  )
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
  let wavelength = turn /. frequency
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

/// YaRN (Peng et al. 2023): pairs that turn often in the original context keep
/// their frequency, those that turn less than `beta_slow` times are
/// interpolated, with a ramp between.
fn stretch(
  powers: List(Float),
  yarn: Yarn,
  width: Float,
  theta: Float,
) -> List(Float) {
  // The pair that turns so many times in the original context.
  let pair = fn(rotations) {
    width
    *. logarithm(yarn.original_context /. { rotations *. turn })
    /. { 2.0 *. logarithm(theta) }
  }
  let low = pair(yarn.beta_fast)
  let high = pair(yarn.beta_slow)
  let #(low, high) = case yarn.truncate {
    True -> #(floor(low), ceiling(high))
    False -> #(low, high)
  }
  let low = larger(low, 0.0)
  let high = smaller(high, width -. 1.0)
  // No ramp of length zero.
  let high = case low == high {
    True -> high +. 0.001
    False -> high
  }
  use #(power, place) <- otp.map(number(powers, 0))
  let ramp =
    float32(
      float32(otp.int_to_float(place) -. float32(low)) /. float32(high -. low),
    )
    |> larger(0.0)
    |> smaller(1.0)
  let kept = float32(1.0 -. ramp)
  let extrapolated = float32(1.0 /. power)
  let interpolated = float32(1.0 /. float32(float32(yarn.factor) *. power))
  float32(
    float32(interpolated *. float32(1.0 -. kept))
    +. float32(extrapolated *. kept),
  )
}

@external(erlang, "viva_tensor_token_ffi", "number")
fn number(list: List(a), first: Int) -> List(#(a, Int))

@external(erlang, "erlang", "max")
fn larger(one: Float, other: Float) -> Float

@external(erlang, "erlang", "min")
fn smaller(one: Float, other: Float) -> Float
