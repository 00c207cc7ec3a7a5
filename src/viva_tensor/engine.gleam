//// Who computes: the native library, or the BEAM itself. The facade speaks to
//// this; each call goes to the one that holds the model.

import viva_tensor/beam/model as beam_model
import viva_tensor/beam/session as beam_session
import viva_tensor/beam/text as beam_text
import viva_tensor/beam/tokenizer
import viva_tensor/error.{type Error}
import viva_tensor/generation.{type Generation, type Next}
import viva_tensor/native
import viva_tensor/otp

pub type Device {
  Auto
  Cpu
  Cuda(index: Int)
  Beam
}

pub type Model {
  NativeModel(native.Model)
  BeamModel(beam_model.Model)
}

pub type Session {
  NativeSession(native.Session)
  BeamSession(beam_session.Session)
}

/// `Auto` is the native library where it is there.
pub fn load(
  path: String,
  device: Device,
  context: native.Maybe(Int),
  threads: native.Maybe(Int),
  weights: native.Weights,
  on_progress: fn(Int, Int) -> Next,
) -> Result(Model, Error) {
  let on_native = fn(device) {
    native.LoadOptions(device:, context:, threads:, weights:)
    |> generation.load(path, _, on_progress)
    |> otp.map_ok(NativeModel)
  }
  case device, native.loaded() {
    Cpu, _ -> on_native(native.Cpu)
    Cuda(index), _ -> on_native(native.Cuda(index))
    Auto, True -> on_native(native.Auto)
    Auto, False | Beam, _ if weights != native.Keep ->
      Error(error.Unsupported("weights", "Keep", "a packed format on the BEAM"))
    Auto, False | Beam, _ ->
      beam_model.load(path, context, threads, fn(done, total) {
        case on_progress(done, total) {
          generation.Continue -> Ok(Nil)
          generation.Stop -> Error(error.Cancelled)
        }
      })
      |> otp.map_ok(BeamModel)
  }
}

pub fn model_info(model: Model) -> Result(native.ModelInfo, Error) {
  case model {
    NativeModel(model) -> native.model_info(model)
    BeamModel(model) -> Ok(model.info)
  }
}

pub fn tokenize(
  model: Model,
  text: String,
  add_special: Bool,
) -> Result(List(Int), Error) {
  case model {
    NativeModel(model) -> native.tokenize(model, text, add_special)
    BeamModel(model) -> {
      use Nil <- otp.try(beam_text.check(text, "text"))
      tokenizer.encode(model.tokenizer, text, add_special)
    }
  }
}

pub fn detokenize(
  model: Model,
  ids: List(Int),
  skip_special: Bool,
) -> Result(String, Error) {
  case model {
    NativeModel(model) -> native.detokenize(model, ids, skip_special)
    BeamModel(model) -> tokenizer.decode(model.tokenizer, ids, skip_special)
  }
}

pub fn render(
  model: Model,
  messages: List(native.Message),
  add_generation_prompt: Bool,
) -> Result(String, Error) {
  case model {
    NativeModel(model) -> native.render(model, messages, add_generation_prompt)
    BeamModel(model) ->
      beam_model.render(model, messages, add_generation_prompt)
  }
}

pub fn open(model: Model) -> Result(Session, Error) {
  case model {
    NativeModel(model) -> native.open(model) |> otp.map_ok(NativeSession)
    BeamModel(model) -> Ok(BeamSession(beam_session.open(model)))
  }
}

pub fn close(session: Session) -> Result(Nil, Error) {
  case session {
    NativeSession(session) -> native.close(session)
    BeamSession(session) -> beam_session.close(session)
  }
}

/// One answer in a session of its own.
pub fn run_once(
  model: Model,
  prompt: native.Prompt,
  request: native.Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  case model {
    NativeModel(model) -> generation.run_once(model, prompt, request, on_piece)
    BeamModel(model) -> beam_session.run_once(model, prompt, request, on_piece)
  }
}

/// One answer. However it ends, the session is free for the next one.
pub fn run(
  session: Session,
  prompt: native.Prompt,
  request: native.Request,
  on_piece: fn(String) -> Next,
) -> Result(Generation, Error) {
  case session {
    NativeSession(session) -> generation.run(session, prompt, request, on_piece)
    BeamSession(session) -> beam_session.run(session, prompt, request, on_piece)
  }
}
