//// What this machine offers to compute with.

import viva_tensor/error
import viva_tensor/native
import viva_tensor/otp

pub type Device {
  Device(name: String, available: Bool, note: String)
}

@external(erlang, "viva_tensor_ffi", "schedulers")
fn schedulers() -> Int

/// Where the driver's library lies.
@external(erlang, "viva_tensor_ffi", "find_library")
fn find_library(name: String) -> Result(String, Nil)

pub fn devices() -> List(Device) {
  [beam(), cpu(), cuda()]
}

fn beam() -> Device {
  let note = otp.int_to_string(schedulers()) <> " schedulers"
  Device(name: "beam", available: True, note:)
}

fn cpu() -> Device {
  case native.loaded() {
    True -> Device(name: "cpu", available: True, note: "native library")
    False -> {
      // Without the library every call says why.
      let reason = case native.read_bandwidth(native.None) {
        Error(error.NifNotLoaded(reason:)) -> reason
        _ -> "not loaded"
      }
      let note =
        "the NIF is not there: run `gleam run -m viva_tensor/install`, or"
        <> " `make build` in the viva_tensor folder ("
        <> reason
        <> ")"
      Device(name: "cpu", available: False, note:)
    }
  }
}

@external(erlang, "viva_tensor_ffi", "gpus")
fn gpus() -> Int

fn cuda() -> Device {
  let missing = Device(name: "cuda", available: False, note: _)
  case find_library("libcuda.so.1"), gpus(), native.loaded() {
    Error(Nil), _, _ -> missing("libcuda.so.1 not found: there is no NVIDIA driver")
    Ok(path), 0, _ -> missing(path <> " is there, and no GPU")
    Ok(_), _, False -> missing("a GPU needs the native library, as the CPU does")
    Ok(path), count, True ->
      Device(
        name: "cuda",
        available: True,
        note: otp.int_to_string(count)
          <> " for models and tensors ("
          <> path
          <> ")",
      )
  }
}

/// Why there is no GPU on this machine, where there is none, and what to do
/// then.
pub fn no_gpu() -> Result(String, Nil) {
  let device = cuda()
  case device.available, find_library("libcuda.so.1") {
    False, Error(Nil) ->
      Ok(device.note <> "; install one, or compute with Cpu or Auto")
    False, Ok(_) -> Ok(device.note <> "; compute with Cpu or Auto")
    True, _ -> Error(Nil)
  }
}
