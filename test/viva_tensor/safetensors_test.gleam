//// Tensors in files: there and back, a file of others, files that lie.

import support
import viva_tensor as t
import viva_tensor/otp

pub fn safetensors_round_trip_test() {
  let path = support.make_folder() <> "/tensors.safetensors"
  let m = t.random_uniform_seeded([3, 4], 1)
  let assert Ok(view) = t.transpose_strided(m)
  let tensors = [
    #("view", view),
    #("half", t.cast(m, t.Float16)),
    #("b", t.cast(m, t.BFloat16)),
    #("none", t.zeros([0, 2])),
    #("scalar", t.cast(t.fill([], 1.5), t.Float32)),
  ]
  assert t.save_safetensors(path, tensors) == Ok(Nil)
  let assert Ok(loaded) = t.load_safetensors(path)
  assert otp.map(loaded, fn(entry) { #(entry.0, t.to_contiguous(entry.1)) })
    == otp.map(tensors, fn(entry) { #(entry.0, t.to_contiguous(entry.1)) })
}

/// A file that transformers wrote.
pub fn safetensors_of_others_test() {
  let path = "test/fixtures/tiny/llama/model.safetensors"
  let assert Ok(tensors) = t.load_safetensors(path)
  let assert Ok(norm) = otp.find(tensors, "model.norm.weight")
  assert t.rank(norm) == 1
}

pub fn safetensors_errors_test() {
  let folder = support.make_folder()
  let path = folder <> "/bad.safetensors"
  let assert Error(t.TensorFile(..)) = t.load_safetensors(path)
  let assert Error(t.TensorFile(..)) =
    t.save_safetensors(folder <> "/no/folder", [])
  let v = t.ones([1])
  let assert Error(t.InvalidArgument(..)) =
    t.save_safetensors(path, [#("a", v), #("a", v)])
  let assert Error(t.InvalidArgument(..)) =
    t.save_safetensors(path, [#("__metadata__", v)])
  let field = fn(dtype, shape, offsets) {
    "{\"a\":{\"dtype\":\""
    <> dtype
    <> "\",\"shape\":"
    <> shape
    <> ",\"data_offsets\":"
    <> offsets
    <> "}}"
  }
  let two =
    "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
    <> "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[2,6]}}"
  use header <- support.each([
    "",
    "[]",
    "{",
    "{\"a\":1}",
    two,
    support.not_utf8(),
    field("I64", "[1]", "[0,8]"),
    field("F32", "[1]", "[0,8]"),
    field("F32", "[3]", "[0,12]"),
    field("F32", "[-1,-2]", "[0,8]"),
    field("F32", "[2]", "[8,0]"),
    field("F32", "[2]", "[-8,0]"),
    field("F32", "[1]", "[4,8]"),
    field("F32", "[1]", "[0,4]"),
    field("F32", "[1000000000,1000000000]", "[0,8]"),
    field("F32", "2", "[0,8]"),
    field("F32", "[2.0]", "[0,8]"),
  ])
  let length = otp.byte_size(header)
  let file = otp.concat([le64(length), header, "12345678"])
  support.write_file(path, file)
  let assert #(_, Error(t.MalformedTensorFile(..))) = #(
    header,
    t.load_safetensors(path),
  )
  support.write_file(path, otp.concat([le64(length + 1_000_000), header]))
  let assert Error(t.MalformedTensorFile(..)) = t.load_safetensors(path)
}

@external(erlang, "viva_tensor_test_ffi", "le64")
fn le64(length: Int) -> String
