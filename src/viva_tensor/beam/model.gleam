//// A model that the BEAM itself computes: weights, tokenizer, template.

import viva_tensor/beam/checkpoint
import viva_tensor/beam/field
import viva_tensor/beam/table
import viva_tensor/beam/template.{type Template}
import viva_tensor/beam/text
import viva_tensor/beam/tokenizer.{type Tokenizer}
import viva_tensor/beam/tokenizer_file
import viva_tensor/beam/tokenizer_gguf
import viva_tensor/beam/weights.{type Weights}
import viva_tensor/error.{type Error}
import viva_tensor/json
import viva_tensor/native.{type Maybe, type Message, type ModelInfo}
import viva_tensor/otp

pub type Model {
  Model(
    weights: Weights,
    tokenizer: Tokenizer,
    template: Result(Template, Nil),
    info: ModelInfo,
  )
}

const default_context = 8192

@external(erlang, "viva_tensor_beam_ffi", "parallelism")
fn parallelism() -> Int

/// Errors: those of `viva_tensor.load_model_with`.
pub fn load(
  path: String,
  context: Maybe(Int),
  threads: Maybe(Int),
  progress: fn(Int, Int) -> Result(Nil, Error),
) -> Result(Model, Error) {
  use checkpoint <- otp.try(checkpoint.open(path))
  use config <- otp.try(weights.config(checkpoint))
  use context <- otp.try(case context, config.max_context {
    native.None, most if most < default_context -> Ok(most)
    native.None, _ -> Ok(default_context)
    native.Some(wanted), most if wanted >= 1 && wanted <= most -> Ok(wanted)
    native.Some(wanted), most ->
      Error(error.InvalidOption(
        "context",
        "1 to " <> otp.int_to_string(most) <> ", the model's own",
        otp.int_to_string(wanted),
      ))
  })
  use processes <- otp.try(case threads {
    native.None -> Ok(parallelism())
    native.Some(wanted) if wanted >= 1 && wanted <= 256 -> Ok(wanted)
    native.Some(wanted) ->
      Error(error.InvalidOption(
        "threads",
        "1 to 256",
        otp.int_to_string(wanted),
      ))
  })
  use #(tokenizer, template, source) <- otp.try(case checkpoint.description {
    checkpoint.HuggingFace(
      config:,
      tokenizer:,
      tokenizer_config:,
      template:,
      ..,
    ) -> {
      use tokenizer <- otp.map_ok(tokenizer_file.from_hugging_face(
        config,
        tokenizer,
        tokenizer_config,
      ))
      #(tokenizer, template, "safetensors")
    }
    checkpoint.Gguf(metadata:) -> {
      use tokenizer <- otp.map_ok(tokenizer_gguf.from_metadata(metadata))
      let template = field.text(metadata, "tokenizer.chat_template")
      #(tokenizer, template, "gguf")
    }
  })
  use weights <- otp.map_ok(weights.load(
    checkpoint,
    config,
    processes,
    progress,
  ))
  let config = weights.config
  let sizes = weights.sizes
  let info =
    native.ModelInfo(
      architecture: config.architecture,
      source:,
      weights: sizes.formats,
      parameters: sizes.parameters,
      weight_bytes: sizes.bytes,
      bytes_per_token: sizes.bytes_per_token,
      vocabulary: config.vocabulary,
      layers: config.layers,
      width: config.width,
      heads: config.heads,
      kv_heads: config.kv_heads,
      head_width: config.head_width,
      context:,
      max_context: config.max_context,
      device: "beam",
      device_note: "pure Gleam, "
        <> otp.int_to_string(processes)
        <> " processes",
      threads: processes,
      eos_ids: case config.eos_ids {
        [] -> tokenizer.eos_ids
        ids -> ids
      },
      has_chat_template: template != Error(Nil),
    )
  let template = otp.map_ok(template, template.parse)
  Model(weights:, tokenizer:, template:, info:)
}

/// The text that the chat template makes of messages.
pub fn render(
  model: Model,
  messages: List(Message),
  add_generation_prompt: Bool,
) -> Result(String, Error) {
  use Nil <- otp.try(text.check_messages(messages))
  case model.template {
    Error(Nil) ->
      Error(error.NotFound(
        "chat template",
        "a chat_template in the checkpoint; this is a base model: use generate, not chat",
      ))
    Ok(template) -> {
      let names =
        otp.map(table.to_list(model.tokenizer.named), fn(pair) {
          #(pair.0, json.Text(pair.1))
        })
      let messages = {
        use native.Message(role:, content:) <- otp.map(messages)
        json.Object([
          #("role", json.Text(role)),
          #("content", json.Text(content)),
        ])
      }
      template.render(template, [
        #("messages", json.Array(messages)),
        #("add_generation_prompt", json.Boolean(add_generation_prompt)),
        ..names
      ])
    }
  }
}

/// The ids of a rendered chat; no content is a special token, nor part of one.
///
/// The chat is rendered twice, the second time with contents that no token has
/// a character of. What is a special token there is the template's own; where
/// the first has others, it is refused.
pub fn encode_chat(
  model: Model,
  messages: List(Message),
) -> Result(List(Int), Error) {
  use Nil <- otp.try(text.check_messages(messages))
  let guarded = {
    use native.Message(role:, content:) <- otp.map(messages)
    let guard = tokenizer.guard_content(model.tokenizer, _)
    native.Message(guard(role), guard(content))
  }
  use rendered <- otp.try(render(model, guarded, True))
  let veiled = {
    use native.Message(role:, content:) <- otp.map(messages)
    let role = case role {
      "system" | "user" | "assistant" | "tool" -> role
      other -> tokenizer.veil(other)
    }
    native.Message(role, tokenizer.veil(content))
  }
  let controls = tokenizer.special_texts(model.tokenizer, _)
  let own = otp.map_ok(render(model, veiled, True), controls)
  case own == Ok(controls(rendered)) {
    True -> tokenizer.encode_guarded(model.tokenizer, rendered)
    False ->
      Error(error.Template(
        "what a message says would become a control token, or change those of"
        <> " the template; the native library (run `make build`) tells them"
        <> " apart",
      ))
  }
}
