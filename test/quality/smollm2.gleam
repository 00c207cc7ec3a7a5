//// SmolLM2-135M-Instruct in pure Gleam gives the token ids that transformers
//// gives. Too slow for every run of the tests: `make quality` runs it.

import support
import viva_tensor as t
import viva_tensor/json
import viva_tensor/otp

pub fn main() -> Nil {
  let assert Ok([path]) = otp.arguments()
  let options = t.load_opts() |> t.device(t.Beam)
  let assert Ok(model) = t.load_model_with(path, options)
  let assert Ok(info) = t.model_info(model)
  assert info.device == "beam"
  let assert Ok(file) = otp.read_file("test/fixtures/smollm2_135m_greedy.json")
  let assert Ok(golden) = json.decode(file)
  let assert [golden, ..] = support.list(golden, "cases")
  let expected = support.ids(golden, "greedy_ids")
  let prompt = support.text(golden, "prompt")
  let assert Ok(result) =
    t.generate(model, prompt, support.greedy(otp.length(expected)))
  assert result.prompt_token_ids == support.ids(golden, "prompt_ids")
  assert result.token_ids == expected
  let line =
    "SmolLM2 in pure Gleam: the "
    <> otp.int_to_string(otp.length(expected))
    <> " ids of transformers, "
    <> otp.float_to_string(t.decode_tokens_per_second(result.timings))
    <> " tokens a second\n"
  assert otp.write(line)
}
