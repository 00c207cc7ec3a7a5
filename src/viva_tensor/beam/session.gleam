//// A conversation with a model on the BEAM: a process that keeps the tokens
//// and the cache, and lives as long as the process that opened it.
////
//// One turn at a time: who takes the session has it until the turn ends, and
//// others get `Busy`. A process that is killed gives it back.

import viva_tensor/beam/llama.{type Cache}
import viva_tensor/beam/model.{type Model}
import viva_tensor/beam/sampler
import viva_tensor/beam/stop
import viva_tensor/beam/text
import viva_tensor/beam/tokenizer
import viva_tensor/beam/weights.{type Weights}
import viva_tensor/error.{type Error}
import viva_tensor/generation.{
  type Generation, type Next, Continue, Generation, Stop,
}
import viva_tensor/native.{type Prompt, type Request}
import viva_tensor/otp

pub type Session {
  Session(process: Process, model: Model)
}

pub type Process

type State {
  /// The cache holds exactly these tokens, the latest first.
  State(weights: Weights, cache: Cache, tokens: List(Int))
}

type Failure {
  Busy
  Closed
  Overflow
}

@external(erlang, "viva_tensor_beam_ffi", "start")
fn start(state: State, fresh: State) -> Process

@external(erlang, "viva_tensor_beam_ffi", "call")
fn ffi_call(
  process: Process,
  work: fn(State) -> #(State, a),
) -> Result(a, Failure)

@external(erlang, "viva_tensor_beam_ffi", "acquire")
fn acquire(process: Process) -> Result(Nil, Failure)

@external(erlang, "viva_tensor_beam_ffi", "release")
fn release(process: Process) -> Result(Nil, Failure)

@external(erlang, "viva_tensor_beam_ffi", "stop")
fn stop_process(process: Process) -> Result(Nil, Failure)

fn failed(result: Result(a, Failure)) -> Result(a, Error) {
  use failure <- otp.map_error(result)
  case failure {
    Busy -> error.Busy
    Closed -> error.InvalidOption("session", "an open session", "a closed one")
    Overflow ->
      error.Malformed(
        "logits",
        "finite numbers",
        "an overflow: the weights or the activations are out of range",
      )
  }
}

pub fn open(model: Model) -> Session {
  let state = State(model.weights, llama.empty_cache(model.weights), [])
  Session(start(state, state), model)
}

/// Closing a closed one is nothing.
pub fn close(session: Session) -> Result(Nil, Error) {
  case stop_process(session.process) {
    Error(Closed) -> Ok(Nil)
    result -> failed(result)
  }
}

/// One answer in a session of its own.
pub fn run_once(
  model: Model,
  prompt: Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  let session = open(model)
  let work = fn() { run(session, prompt, request, on_piece) }
  otp.finally(work, fn() { close(session) })
}

/// One answer. However it ends, the session is free for the next one.
pub fn run(
  session: Session,
  prompt: Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  use Nil <- otp.try(text.check_prompt(prompt))
  use Nil <- otp.try(sampler.check(request))
  use Nil <- otp.try(failed(acquire(session.process)))
  let work = fn() { turn(session, prompt, request, on_piece) }
  otp.finally(work, fn() { release(session.process) })
}

fn prompt_ids(model: Model, prompt: Prompt) -> Result(List(Int), Error) {
  case prompt {
    native.Text(text) -> tokenizer.encode(model.tokenizer, text, True)
    native.Chat(messages) -> model.encode_chat(model, messages)
    native.Tokens(ids) -> Ok(ids)
  }
}

type Turn {
  Turn(
    session: Session,
    request: Request,
    on_piece: fn(String) -> Next,
    decoding: tokenizer.Decoding,
    held: String,
    /// The latest first.
    sequence: List(Int),
    length: Int,
    made: Int,
    texts: List(String),
    ids: List(Int),
    logprobs: List(native.TokenLogprobs),
    timings: native.Timings,
  )
}

fn turn(
  session: Session,
  prompt: Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  let model = session.model
  use ids <- otp.try(prompt_ids(model, prompt))
  let vocabulary = model.info.vocabulary
  let length = otp.length(ids)
  let limit = model.info.context
  let wanted = case request.max_new_tokens {
    0 -> length
    _ -> length + 1
  }
  use Nil <- otp.try(
    case ids, otp.filter(ids, fn(id) { id < 0 || id >= vocabulary }) {
      [], _ -> Error(error.EmptyPrompt)
      _, [id, ..] ->
        Error(error.InvalidOption(
          "prompt",
          "token ids below "
            <> otp.int_to_string(vocabulary)
            <> ", the rows of the embedding",
          otp.int_to_string(id),
        ))
      _, [] if wanted > limit ->
        Error(error.ContextOverflow(wanted_tokens: wanted, limit_tokens: limit))
      _, [] -> Ok(Nil)
    },
  )
  use cached <- otp.try(
    failed(ffi_call(session.process, keep_shared(_, ids, length))),
  )
  let state =
    Turn(
      session:,
      request:,
      on_piece:,
      decoding: tokenizer.decoding(),
      held: "",
      sequence: otp.reverse(ids),
      length:,
      made: 0,
      texts: [],
      ids: [],
      logprobs: [],
      timings: native.Timings(length - cached, 0.0, 0, 0.0),
    )
  use #(state, reason) <- otp.map_ok(case request.max_new_tokens {
    0 -> Ok(#(state, native.Length))
    _ -> next(state, otp.drop(ids, cached))
  })
  Generation(
    text: otp.concat(otp.reverse(state.texts)),
    token_ids: otp.reverse(state.ids),
    prompt_token_ids: ids,
    cached_tokens: cached,
    finish_reason: reason,
    timings: state.timings,
    logprobs: otp.reverse(state.logprobs),
  )
}

/// Cuts the cache to what it shares with a prompt, whose last token is
/// computed in any case; how much that is.
fn keep_shared(state: State, ids: List(Int), length: Int) -> #(State, Int) {
  let shared = shared(otp.reverse(state.tokens), ids, 0)
  let kept = case shared < length {
    True -> shared
    False -> length - 1
  }
  let tokens = otp.drop(state.tokens, otp.length(state.tokens) - kept)
  #(State(state.weights, llama.truncate(state.cache, kept), tokens), kept)
}

fn shared(ones: List(Int), others: List(Int), so_far: Int) -> Int {
  case ones, others {
    [one, ..ones], [other, ..others] if one == other ->
      shared(ones, others, so_far + 1)
    _, _ -> so_far
  }
}

fn feed(
  session: Session,
  tokens: List(Int),
  use_logits: fn(List(Float)) -> a,
) -> Result(a, Error) {
  let work = fn(state: State) {
    let #(cache, logits) = llama.forward(state.weights, state.cache, tokens)
    let kept = otp.fold(tokens, state.tokens, fn(kept, id) { [id, ..kept] })
    #(State(state.weights, cache, kept), use_logits(logits))
  }
  failed(ffi_call(session.process, work))
}

/// Prompt tokens go in few at a time, so that a caller that ends is noticed.
fn next(
  turn: Turn,
  tokens: List(Int),
) -> Result(#(Turn, native.FinishReason), Error) {
  let start = otp.monotonic_seconds()
  case tokens {
    [_, _, _, _, _, ..] -> {
      let first = otp.take(tokens, 4)
      use Nil <- otp.try(feed(turn.session, first, fn(_) { Nil }))
      next(spend(turn, start), otp.drop(tokens, 4))
    }
    _ -> {
      let Turn(request:, sequence:, length:, ..) = turn
      let choose = fn(logits) {
        let id = sampler.sample(request, logits, sequence, length)
        let logprobs = case request.logprobs {
          native.None -> []
          native.Some(top) -> [sampler.log_probabilities(logits, id, top)]
        }
        #(id, logprobs)
      }
      use #(id, logprobs) <- otp.try(feed(turn.session, tokens, choose))
      let turn = spend(turn, start)
      take(Turn(..turn, logprobs: otp.append(logprobs, turn.logprobs)), id)
    }
  }
}

fn spend(turn: Turn, start: Float) -> Turn {
  let seconds = otp.monotonic_seconds() -. start
  let timings = turn.timings
  let timings = case turn.made {
    0 ->
      native.Timings(
        ..timings,
        prefill_seconds: timings.prefill_seconds +. seconds,
      )
    _ ->
      native.Timings(
        ..timings,
        decode_tokens: timings.decode_tokens + 1,
        decode_seconds: timings.decode_seconds +. seconds,
      )
  }
  Turn(..turn, timings:)
}

/// One more token: its text, and whether the turn is over.
fn take(turn: Turn, id: Int) -> Result(#(Turn, native.FinishReason), Error) {
  let model = turn.session.model
  let is_eos = turn.request.stop_on_eos && otp.contains(model.info.eos_ids, id)
  // The token that ends an answer is no part of its text.
  let #(decoding, text) = case is_eos {
    True -> #(turn.decoding, "")
    False -> tokenizer.push(model.tokenizer, turn.decoding, id, True)
  }
  let turn =
    Turn(
      ..turn,
      decoding:,
      ids: [id, ..turn.ids],
      sequence: [id, ..turn.sequence],
      length: turn.length + 1,
      made: turn.made + 1,
    )
  let is_full =
    turn.made >= turn.request.max_new_tokens
    || turn.length >= model.info.context
  // What ends the turn, unless the text does.
  let last = case is_eos, tokenizer.special_text(model.tokenizer, id) {
    True, _ -> Ok(native.Eos)
    False, special ->
      case otp.try(special, among(turn.request.stop, _)), is_full {
        Ok(stop), _ -> Ok(native.StopText(stop))
        Error(Nil), True -> Ok(native.Length)
        Error(Nil), False -> Error(Nil)
      }
  }
  case stop.take(turn.request.stop, turn.held, text), last {
    stop.Stopped(text:, stop:), _ -> end(turn, text, native.StopText(stop))
    stop.Going(text:, held:), Ok(reason) -> {
      let rest = tokenizer.finish(model.tokenizer, turn.decoding)
      case stop.take(turn.request.stop, held, rest) {
        stop.Stopped(text: more, stop:) ->
          end(turn, text <> more, native.StopText(stop))
        stop.Going(text: more, held:) -> end(turn, text <> more <> held, reason)
      }
    }
    stop.Going(text:, held:), Error(Nil) -> {
      let turn = Turn(..turn, held:)
      case give(turn, text) {
        #(turn, Continue) -> next(turn, [id])
        #(turn, Stop) -> Ok(#(turn, native.Cancelled))
      }
    }
  }
}

/// A special token that is spelled like a stop text is one.
fn among(stops: List(String), special: String) -> Result(String, Nil) {
  case otp.contains(stops, special) {
    True -> Ok(special)
    False -> Error(Nil)
  }
}

fn give(turn: Turn, text: String) -> #(Turn, Next) {
  case text {
    "" -> #(turn, Continue)
    _ -> #(Turn(..turn, texts: [text, ..turn.texts]), turn.on_piece(text))
  }
}

fn end(
  turn: Turn,
  text: String,
  reason: native.FinishReason,
) -> Result(#(Turn, native.FinishReason), Error) {
  Ok(case give(turn, text) {
    #(turn, Continue) -> #(turn, reason)
    #(turn, Stop) -> #(turn, native.Cancelled)
  })
}
