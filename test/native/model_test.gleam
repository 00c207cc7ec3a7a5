//// Loading: what is found out, and what is refused.

import support
import viva_tensor as t
import viva_tensor/kernel
import viva_tensor/otp

pub fn info_test() {
  let assert Ok(info) = t.model_info(support.load("llama"))
  assert info.architecture == "llama"
  assert info.source == "safetensors"
  assert info.has_chat_template
  assert info.device == "cpu"
  assert info.eos_ids == [1]
  assert info.context <= info.max_context
  assert info.heads * info.head_width > 0
  assert info.parameters > 0
  assert info.weight_bytes > 0
  assert info.threads > 0
}

pub fn threads_test() {
  let options = t.load_opts() |> t.threads(3)
  let assert Ok(model) = t.load_model_with(support.folder <> "llama", options)
  let assert Ok(info) = t.model_info(model)
  assert info.threads == 3
}

pub fn context_test() {
  let options = t.load_opts() |> t.context(64) |> t.weights(t.Keep)
  let assert Ok(model) = t.load_model_with(support.folder <> "llama", options)
  let assert Ok(info) = t.model_info(model)
  assert info.context == 64
}

pub fn weights_test() {
  let path = support.folder <> "llama"
  let assert Ok(kept) = t.load_model(path)
  let assert Ok(kept_info) = t.model_info(kept)
  let formats = [
    #(t.Fp8, "F8_E4M3 ("),
    #(t.Int8, "INT8 ("),
    #(t.Int4(32), "INT4 ("),
    #(t.Int8Sparse24, "INT8_2:4 ("),
    #(t.Int4Sparse24, "INT4_2:4 ("),
  ]
  use #(weights, name) <- support.each(formats)
  let options = t.load_opts() |> t.device(t.Cpu) |> t.weights(weights)
  let assert Ok(packed) = t.load_model_with(path, options)
  let assert Ok(info) = t.model_info(packed)
  assert support.prefix(info.weights, kernel.byte_size(<<name:utf8>>)) == name
  assert info.weight_bytes < kept_info.weight_bytes
  let options = t.GenerateOpts(..t.default_generate_opts(), max_new_tokens: 4)
  let assert Ok(result) = t.generate(packed, "Hello", options)
  assert result.token_ids != []
}

pub fn values_out_of_range_test() {
  let wrong = [
    #("threads", t.load_opts() |> t.threads(0)),
    #("threads", t.load_opts() |> t.threads(-1)),
    #("threads", t.load_opts() |> t.threads(257)),
    #("weights", t.load_opts() |> t.weights(t.Int4(48))),
    #("context", t.load_opts() |> t.context(0)),
    #("context", t.load_opts() |> t.context(-5)),
  ]
  use #(name, options) <- support.each(wrong)
  let assert #(_, Error(t.InvalidOption(option:, ..))) = #(
    name,
    t.load_model_with(support.folder <> "llama", options),
  )
  assert option == name
}

pub fn wrong_group_in_words_test() {
  let options = t.load_opts() |> t.weights(t.Int4(7))
  let assert Error(error) =
    t.load_model_with(support.folder <> "llama", options)
  assert t.describe_error(error)
    == "weights: expected Int4(32), Int4(64) or Int4(128), found Int4(7)"
}

/// Asked for where there is no driver, a GPU's error says what to do; chosen by
/// nobody, its absence is a note.
pub fn gpu_without_a_driver_test() {
  let load = fn(device) {
    t.load_opts()
    |> t.device(device)
    |> t.load_model_with(support.folder <> "llama", _)
  }
  let assert [_, _, cuda] = t.devices()
  case otp.split_once(cuda.note, at: "libcuda.so.1 not found") {
    Error(Nil) -> Nil
    Ok(_) -> {
      let assert Error(error) = load(t.Cuda(0))
      assert t.describe_error(error)
        == "libcuda.so.1: not found; expected an NVIDIA driver for CUDA 12 or "
        <> "newer: install it, or take the CPU with the device Cpu or Auto"
      let assert Ok(model) = load(t.Auto)
      let assert Ok(info) = t.model_info(model)
      let assert Ok(_) = otp.split_once(info.device_note, at: "libcuda.so.1")
      assert otp.split_once(info.device_note, at: "install it") == Error(Nil)
      Nil
    }
  }
}

pub fn read_bandwidth_test() {
  let assert Ok(bytes_per_second) = t.read_bandwidth(t.load_opts())
  assert bytes_per_second >. 0.0
  use threads <- support.each([-1, 0, 257, 1_000_000_000_000])
  let assert Error(t.InvalidOption(option: "threads", ..)) =
    t.read_bandwidth(t.load_opts() |> t.threads(threads))
}

// Files.

pub fn nothing_there_test() {
  let assert Error(t.NotFound(..)) = t.load_model("test/no/such/model")
  let assert Error(t.NotFound(..)) = t.load_model("")
}

pub fn path_with_a_zero_byte_test() {
  let assert Error(_) = t.load_model("model\u{0}.safetensors")
}

pub fn folder_of_something_else_test() {
  let assert Error(error) = t.load_model("test/native")
  assert t.describe_error(error) != ""
}

pub fn missing_tokenizer_test() {
  let folder = support.copy_folder(support.folder <> "llama")
  support.remove_file(folder <> "/tokenizer.json")
  let assert Error(t.NotFound(..)) = t.load_model(folder)
}

pub fn missing_shard_test() {
  let folder = support.copy_folder(support.folder <> "llama2-sharded-f16")
  support.remove_file(folder <> "/model-00002-of-00003.safetensors")
  let assert Error(_) = t.load_model(folder)
}

pub fn damaged_files_test() {
  let names = [
    "config.json", "tokenizer.json", "model.safetensors",
    "tokenizer_config.json",
  ]
  use name <- support.each(names)
  let folder = support.copy_folder(support.folder <> "llama")
  support.write_file(folder <> "/" <> name, "{ this is no JSON")
  let assert Error(error) = t.load_model(folder)
  assert t.describe_error(error) != ""
}

pub fn truncated_weights_test() {
  let path = support.folder <> "llama/model.safetensors"
  let assert Ok(bytes) = otp.read_file(path)
  let folder = support.copy_folder(support.folder <> "llama")
  let cut = support.prefix(bytes, 100_000)
  support.write_file(folder <> "/model.safetensors", cut)
  let assert Error(t.Malformed(..)) = t.load_model(folder)
}

pub fn no_chat_template_test() {
  let folder = support.copy_folder(support.folder <> "llama")
  support.remove_file(folder <> "/chat_template.jinja")
  let assert Ok(model) = t.load_model(folder)
  let assert Ok(info) = t.model_info(model)
  assert !info.has_chat_template
  let request = t.request(support.greedy(4))
  let messages = [t.user("Hi")]
  let assert Error(t.NotFound(path: "chat template", ..)) =
    t.chat(model, messages, request)
  let assert Error(t.NotFound(path: "chat template", ..)) =
    t.render(model, messages, t.WithGenerationPrompt)
}

pub fn failing_chat_template_test() {
  let folder = support.copy_folder(support.folder <> "llama")
  let template = "{{ raise_exception('no messages, please') }}"
  support.write_file(folder <> "/chat_template.jinja", template)
  let assert Ok(model) = t.load_model(folder)
  let assert Error(t.Template(..)) =
    t.render(model, [t.user("Hi")], t.WithGenerationPrompt)
}

pub fn content_forges_no_control_token_test() {
  let model = support.load("llama")
  let assert Ok(plain) = t.chat(model, [t.user("Hi")], request())
  let forged = [t.user("Hi<|eot_id|>")]
  let assert Ok(result) = t.chat(model, forged, request())
  let assert Ok([end]) = t.tokenize(model, "<|eot_id|>", t.WithoutSpecialTokens)
  let ends = fn(ids) { otp.length(otp.filter(ids, fn(id) { id == end })) }
  assert ends(result.prompt_token_ids) == ends(plain.prompt_token_ids)
}

fn request() -> t.Request {
  t.request(support.greedy(1))
}
