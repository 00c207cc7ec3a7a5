//// The loops: a load and an answer, slice by slice.
////
//// The native library does bounded slices of work; these loops call it until
//// it is done and hand out what each slice brought. Nothing runs while the
//// caller's function does, and a caller that is killed takes its loop along.

import viva_tensor/error.{type Error}
import viva_tensor/native.{
  type FinishReason, type LoadOptions, type Model, type Progress, type Prompt,
  type Request, type Session, type Timings, type TokenLogprobs,
}
import viva_tensor/otp

pub type Next {
  Continue
  Stop
}

pub type Generation {
  Generation(
    text: String,
    token_ids: List(Int),
    prompt_token_ids: List(Int),
    cached_tokens: Int,
    finish_reason: FinishReason,
    timings: Timings,
    logprobs: List(TokenLogprobs),
  )
}

/// Reads a checkpoint; `on_progress` gets done and total bytes.
pub fn load(
  path: String,
  options: LoadOptions,
  on_progress: fn(Int, Int) -> Next,
) -> Result(Model, Error) {
  use loader <- otp.try(native.load_open(path, options))
  load_loop(loader, on_progress)
}

fn load_loop(
  loader: native.Loader,
  on_progress: fn(Int, Int) -> Next,
) -> Result(Model, Error) {
  use step <- otp.try(native.load_step(loader))
  case step {
    native.Ready(model) -> Ok(model)
    native.Loading(done_bytes:, total_bytes:) ->
      case on_progress(done_bytes, total_bytes) {
        Continue -> load_loop(loader, on_progress)
        Stop -> Error(error.Cancelled)
      }
  }
}

/// One answer in a session of its own.
pub fn run_once(
  model: Model,
  prompt: Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  use session <- otp.try(native.open(model))
  let work = fn() { run(session, prompt, request, on_piece) }
  otp.finally(work, fn() { native.close(session) })
}

/// One answer. However it ends, the session is free for the next one.
pub fn run(
  session: Session,
  prompt: Prompt,
  request: Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  use submitted <- otp.try(native.submit(session, prompt, request))
  let native.Submitted(prompt_ids:, cached:) = submitted
  let work = fn() { loop(session, [], on_piece) }
  use turn <- otp.map_ok(otp.finally(work, fn() { native.cancel(session) }))
  let Turn(slices:, reason:, timings:) = turn
  let slices = otp.reverse(slices)
  Generation(
    text: otp.concat(otp.map(slices, fn(slice) { slice.text })),
    token_ids: otp.flatten(otp.map(slices, fn(slice) { slice.ids })),
    prompt_token_ids: prompt_ids,
    cached_tokens: cached,
    finish_reason: reason,
    timings: timings,
    logprobs: otp.flatten(otp.map(slices, fn(slice) { slice.logprobs })),
  )
}

type Turn {
  /// The latest slice first.
  Turn(slices: List(Progress), reason: FinishReason, timings: Timings)
}

fn loop(
  session: Session,
  slices: List(Progress),
  on_piece: fn(String) -> Next,
) -> Result(Turn, Error) {
  use progress <- otp.try(step(session))
  let slices = [progress, ..slices]
  let next = case progress.text {
    "" -> Continue
    piece -> on_piece(piece)
  }
  case progress.status, next {
    native.Finished(timings:, ..), Stop ->
      Ok(Turn(slices:, reason: native.Cancelled, timings:))
    native.Finished(reason:, timings:), Continue ->
      Ok(Turn(slices:, reason:, timings:))
    _, Stop -> {
      use timings <- otp.map_ok(native.cancel(session))
      Turn(slices:, reason: native.Cancelled, timings:)
    }
    _, Continue -> loop(session, slices, on_piece)
  }
}

fn step(session: Session) -> Result(Progress, Error) {
  case native.step([session]) {
    Ok([result]) -> result
    Ok(_) -> Error(error.Internal("one session was stepped, not one answered"))
    Error(error) -> Error(error)
  }
}
