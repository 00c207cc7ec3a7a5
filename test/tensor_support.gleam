//// What tensor tests share: the two paths, and nearness.

import support
import viva_tensor as t
import viva_tensor/otp

@external(erlang, "viva_tensor_test_ffi", "gunzip")
pub fn gunzip(path: String) -> String

@external(erlang, "viva_tensor_test_ffi", "generated")
pub fn generated(seed: Int, count: Int) -> List(Float)

@external(erlang, "viva_tensor_test_ffi", "unhex")
pub fn unhex(hex: String) -> BitArray

@external(erlang, "viva_tensor_test_ffi", "set_device")
fn set_device(name: String) -> Nil

@external(erlang, "viva_tensor_test_ffi", "first_far")
fn ffi_first_far(
  dtype: t.Dtype,
  expected: BitArray,
  actual: BitArray,
  tolerance: Float,
) -> Int

/// The index of the first element that is further off than `tolerance` times
/// one and what was expected, -1 without one.
pub fn first_far(
  expected: t.Tensor,
  actual: t.Tensor,
  tolerance: Float,
) -> Int {
  let actual = t.to_binary(t.cast(actual, t.Float64))
  ffi_first_far(t.dtype(expected), t.to_binary(expected), actual, tolerance)
}

/// The work with small tensors on the native library, too: "cpu", or without
/// it: "beam".
pub fn on(device: String, work: fn() -> a) -> a {
  set_device(device)
  otp.finally(work, fn() { set_device("") })
}

/// The paths that there are.
pub fn paths() -> List(String) {
  case support.library_loaded() {
    True -> ["beam", "cpu"]
    False -> ["beam"]
  }
}

/// On every path.
pub fn everywhere(work: fn() -> a) -> Nil {
  use path <- support.each(paths())
  on(path, work)
}

/// The work, where there is a GPU.
pub fn on_a_gpu(work: fn() -> a) -> Nil {
  case t.to_device(t.vector([1.0]), t.Cuda(0)) {
    Ok(_) -> {
      work()
      Nil
    }
    Error(t.DeviceUnavailable("cuda:0", reason)) -> {
      let assert [_, _, cuda] = t.devices()
      // A GPU that is there may lack the compiler, or be too old.
      let told = otp.split_once(reason, at: cuda.note)
      assert cuda.availability == t.Available || told != Error(Nil)
    }
    Error(error) -> panic as t.describe_tensor_error(error)
  }
}
