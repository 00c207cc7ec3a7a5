//// A killed process takes its work along within 50 ms, wherever it was: the
//// model here is large enough for one slice to be long. The median of five
//// counts, because a machine that is busy with something else may be late once.

import support
import viva_tensor as t
import viva_tensor/generation
import viva_tensor/native
import viva_tensor/otp

/// A folder.
@external(erlang, "viva_tensor_test_ffi", "large_model")
fn large_model() -> String

@external(erlang, "viva_tensor_test_ffi", "killed_while_loading")
fn killed_while_loading(path: String) -> Int

@external(erlang, "viva_tensor_test_ffi", "killed_while_reading")
fn killed_while_reading(model: native.Model, ids: List(Int)) -> Int

pub fn killed_while_loading_test() {
  let path = large_model()
  assert median_of_five(fn() { killed_while_loading(path) }) <. 50.0
}

pub fn killed_while_reading_a_long_prompt_test() {
  let options =
    native.LoadOptions(native.Auto, native.None, native.None, native.Keep)
  let assert Ok(model) =
    generation.load(large_model(), options, fn(_, _) { generation.Continue })
  let ids = otp.repeat(42, times: 2000)
  assert median_of_five(fn() { killed_while_reading(model, ids) }) <. 50.0
}

fn median_of_five(milliseconds: fn() -> Int) -> Float {
  otp.repeat(Nil, times: 5)
  |> otp.map(fn(_) { otp.int_to_float(milliseconds()) })
  |> otp.median(or: 1000.0)
}

/// Loading stops when the progress function says so.
pub fn stop_from_progress_test() {
  let me = support.self()
  let options =
    t.load_opts()
    |> t.on_progress(fn(progress) {
      assert progress.done_bytes <= progress.total_bytes
      support.notify(me, "progress")
      t.Stop
    })
  assert t.load_model_with(large_model(), options) == Error(t.LoadCancelled)
  assert support.received() == ["progress"]
}
