//// A prebuilt library that is whole: fetched, tried out, put in place. And the
//// NIF module that is loaded again while a model is in use.

import viva_tensor/otp

type Bytes

type Manner {
  Whole
}

@external(erlang, "install_test_ffi", "serve")
fn serve(files: List(#(String, Bytes, Manner)), work: fn(String) -> a) -> a

@external(erlang, "install_test_ffi", "archive")
fn archive(entries: List(#(String, Bytes))) -> Bytes

@external(erlang, "install_test_ffi", "library")
fn library() -> Bytes

@external(erlang, "install_test_ffi", "checksum")
fn checksum(bytes: Bytes) -> String

@external(erlang, "install_test_ffi", "priv")
fn priv(names: List(String), contents: List(String)) -> String

@external(erlang, "install_test_ffi", "files")
fn files(folder: String) -> List(String)

@external(erlang, "install_test_ffi", "read")
fn read(path: String) -> Bytes

@external(erlang, "install_test_ffi", "fetch")
fn fetch(
  place: String,
  priv: String,
  version: String,
  target: String,
) -> Result(String, String)

@external(erlang, "install_test_ffi", "own_target")
fn own_target() -> String

@external(erlang, "install_test_ffi", "reload")
fn reload() -> #(Int, String)

pub fn a_whole_library_takes_the_place_of_the_old_one_test() {
  let bytes = archive([#("viva_tensor_nif.so", library())])
  let name = "viva_tensor_nif-1.2.3-" <> own_target() <> ".tar.gz"
  let list = checksum(bytes) <> "  " <> name <> "\n"
  let folder = priv(["checksums.txt", "viva_tensor_nif.so"], [list, "old"])
  use url <- serve([#("v1.2.3/" <> name, bytes, Whole)])
  let assert Ok(done) =
    fetch(url <> "/v{version}", folder, "1.2.3", own_target())
  let assert Ok(_) = otp.split_once(done, at: url <> "/v1.2.3")
  assert files(folder) == ["checksums.txt", "viva_tensor_nif.so"]
  assert read(folder <> "/viva_tensor_nif.so") == library()
}

/// A second version beside the first is refused while that is in use; after a
/// purge a new one is loaded, and to it the old one's models are strangers.
/// Nothing of it takes the VM down.
pub fn the_module_is_loaded_again_test() {
  let #(status, output) = reload()
  let answer = "[152,94,179]\n"
  let expected =
    otp.concat([
      "before " <> answer,
      "again error\nmodel " <> answer,
      "other error\nmodel " <> answer,
      "loaded true\n",
      "new " <> answer <> "old invalid_option\n",
      "other module\nnew " <> answer <> "old invalid_option\n",
    ])
  assert output == expected
  assert status == 0
}
