//// From logits to the next token, as docs/sampling.md defines it: the same
//// penalty, cuts and ChaCha20 numbers as in the native library.

import viva_tensor/beam/table
import viva_tensor/beam/text
import viva_tensor/error.{type Error}
import viva_tensor/native.{type Request}
import viva_tensor/otp

/// 2^44: weights are whole numbers of this part of the first one's.
const units = 17_592_186_044_416.0

/// Times the temperature below the largest logit: nothing there weighs a unit.
const farthest = 32.0

@external(erlang, "viva_tensor_beam_ffi", "chacha")
fn uniform(seed: Int, position: Int) -> Float

/// By falling logit, equals by id.
@external(erlang, "viva_tensor_beam_ffi", "order")
fn order(candidates: List(#(Int, Float))) -> List(#(Int, Float))

@external(erlang, "viva_tensor_token_ffi", "number_first")
fn numbered(logits: List(Float)) -> List(#(Int, Float))

@external(erlang, "math", "exp")
fn exp(power: Float) -> Float

@external(erlang, "math", "floor")
fn floor(number: Float) -> Float

@external(erlang, "math", "log")
fn log(number: Float) -> Float

@external(erlang, "lists", "max")
fn largest(numbers: List(Float)) -> Float

/// Errors: `InvalidOption` for a value out of its range.
pub fn check(request: Request) -> Result(Nil, Error) {
  let number = fn(option, expected, value, holds) {
    let found = case otp.split_once(otp.float_to_string(value), at: ".0") {
      Ok(#(whole, "")) -> whole
      _ -> otp.float_to_string(value)
    }
    within(option, expected, found, holds)
  }
  let native.Request(temperature:, top_p:, min_p:, ..) = request
  use Nil <- otp.try(within(
    "max_new_tokens",
    "an integer of at least 0",
    otp.int_to_string(request.max_new_tokens),
    request.max_new_tokens >= 0,
  ))
  use Nil <- otp.try(within(
    "seed",
    "an integer from 0 to 2^64 - 1",
    otp.int_to_string(request.seed),
    request.seed >= 0 && request.seed < 18_446_744_073_709_551_616,
  ))
  use Nil <- otp.try(number(
    "temperature",
    "a number from 0 to 100",
    temperature,
    temperature >=. 0.0 && temperature <=. 100.0,
  ))
  use Nil <- otp.try(number(
    "top_p",
    "a number above 0, at most 1",
    top_p,
    top_p >. 0.0 && top_p <=. 1.0,
  ))
  use Nil <- otp.try(number(
    "min_p",
    "a number from 0, below 1",
    min_p,
    min_p >=. 0.0 && min_p <. 1.0,
  ))
  let penalty = request.repetition_penalty
  use Nil <- otp.try(number(
    "repetition_penalty",
    "a number above 0, at most 100",
    penalty,
    penalty >. 0.0 && penalty <=. 100.0,
  ))
  use Nil <- otp.try(case request.top_k {
    native.TopK(k) if k < 1 ->
      within("top_k", "at least 1", otp.int_to_string(k), False)
    _ -> Ok(Nil)
  })
  use Nil <- otp.try(within(
    "stop",
    "stop strings with at least one character",
    "an empty one",
    !otp.contains(request.stop, ""),
  ))
  use _ <- otp.try(otp.try_map(request.stop, text.check(_, "stop")))
  case request.logprobs {
    native.Some(count) if count < 0 || count > 100 ->
      within("logprobs", "from 0 to 100", otp.int_to_string(count), False)
    _ -> Ok(Nil)
  }
}

fn within(
  option: String,
  expected: String,
  found: String,
  holds: Bool,
) -> Result(Nil, Error) {
  case holds {
    True -> Ok(Nil)
    False -> Error(error.InvalidOption(option, expected, found))
  }
}

/// The next token of a sequence, which goes to `position`.
pub fn sample(
  request: Request,
  logits: List(Float),
  sequence: List(Int),
  position: Int,
) -> Int {
  let candidates = numbered(logits)
  let candidates = case request.repetition_penalty {
    1.0 -> candidates
    penalty -> penalise(candidates, sequence, penalty)
  }
  case request.temperature {
    0.0 -> argmax(candidates)
    temperature -> draw(request, candidates, temperature, position)
  }
}

fn argmax(candidates: List(#(Int, Float))) -> Int {
  case candidates {
    [] -> 0
    [first, ..rest] ->
      otp.fold(rest, first, fn(best, candidate) {
        case candidate.1 >. best.1 {
          True -> candidate
          False -> best
        }
      }).0
  }
}

fn penalise(
  candidates: List(#(Int, Float)),
  sequence: List(Int),
  penalty: Float,
) -> List(#(Int, Float)) {
  let seen = table.from_list(otp.map(sequence, fn(id) { #(id, Nil) }))
  use #(id, logit) <- otp.map(candidates)
  case table.get(seen, id), logit >. 0.0 {
    Ok(Nil), True -> #(id, logit /. penalty)
    Ok(Nil), False -> #(id, logit *. penalty)
    Error(Nil), _ -> #(id, logit)
  }
}

fn draw(
  request: Request,
  candidates: List(#(Int, Float)),
  temperature: Float,
  position: Int,
) -> Int {
  let most = largest(otp.map(candidates, fn(candidate) { candidate.1 }))
  let lowest = most -. farthest *. temperature
  let ordered = order(otp.filter(candidates, fn(one) { one.1 >=. lowest }))
  let ordered = case request.top_k {
    native.TopK(k) -> otp.take(ordered, k)
    native.TopKInfinity -> ordered
  }
  let weights = {
    use #(id, logit) <- otp.map(ordered)
    #(id, floor(exp({ logit -. most } /. temperature) *. units +. 0.5))
  }
  let total = sum(weights)
  let enough = case request.top_p <. 1.0 {
    True -> request.top_p *. total
    // Never reached.
    False -> total *. 2.0
  }
  let kept = keep(weights, enough, request.min_p *. units, 0.0, [])
  pick(kept, uniform(request.seed, position) *. sum(kept), 0.0)
}

fn sum(weights: List(#(Int, Float))) -> Float {
  otp.fold(weights, 0.0, fn(sum, weight) { sum +. weight.1 })
}

/// The first, and those that top-p and min-p leave.
fn keep(
  weights: List(#(Int, Float)),
  enough: Float,
  min_p: Float,
  sum: Float,
  kept: List(#(Int, Float)),
) -> List(#(Int, Float)) {
  case weights, kept {
    [first, ..rest], [] -> keep(rest, enough, min_p, sum +. first.1, [first])
    [first, ..rest], _ if sum <. enough && first.1 >=. min_p ->
      keep(rest, enough, min_p, sum +. first.1, [first, ..kept])
    _, _ -> otp.reverse(kept)
  }
}

fn pick(kept: List(#(Int, Float)), target: Float, running: Float) -> Int {
  case kept {
    [] -> 0
    [#(id, _)] -> id
    [#(id, weight), ..rest] ->
      case running +. weight >. target {
        True -> id
        False -> pick(rest, target, running +. weight)
      }
  }
}

/// Natural logarithms of the softmax: the token's own, and the most probable.
pub fn log_probabilities(
  logits: List(Float),
  id: Int,
  top: Int,
) -> native.TokenLogprobs {
  let most = largest(logits)
  let total =
    log(
      otp.fold(logits, 0.0, fn(sum, logit) {
        case logit -. most >. -700.0 {
          True -> sum +. exp(logit -. most)
          False -> sum
        }
      }),
    )
  let candidates = {
    use #(id, logit) <- otp.map(numbered(logits))
    #(id, logit -. most -. total)
  }
  let own = case otp.drop(candidates, id) {
    [#(_, logprob), ..] -> logprob
    [] -> 0.0
  }
  native.TokenLogprobs(id, own, case top {
    0 -> []
    _ -> otp.take(order(candidates), top)
  })
}
