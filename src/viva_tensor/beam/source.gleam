//// Files, read by position. What is read is what was asked for, or an error
//// that says what is missing.

import viva_tensor/error.{type Error}
import viva_tensor/json.{type Json}
import viva_tensor/otp

pub type File

pub type Kind {
  Folder
  File
  Nothing
}

type Refusal {
  Short(found: Int)
  Refused(reason: String)
}

@external(erlang, "viva_tensor_beam_ffi", "kind")
pub fn kind(path: String) -> Kind

@external(erlang, "viva_tensor_beam_ffi", "size")
pub fn size(path: String) -> Int

@external(erlang, "viva_tensor_beam_ffi", "list_folder")
fn ffi_list_folder(path: String) -> Result(List(String), String)

type Reason

@external(erlang, "viva_tensor_beam_ffi", "open")
fn ffi_open(path: String) -> Result(File, Reason)

@external(erlang, "viva_tensor_beam_ffi", "error_reason")
fn in_words(reason: Reason) -> String

@external(erlang, "viva_tensor_beam_ffi", "close")
fn close(file: File) -> Nil

@external(erlang, "viva_tensor_beam_ffi", "read_at")
fn ffi_read_at(file: File, offset: Int, bytes: Int) -> Result(BitArray, Refusal)

pub fn list_folder(path: String) -> Result(List(String), Error) {
  ffi_list_folder(path)
  |> otp.map_error(error.Unreadable(path, _))
}

/// So many bytes from a position on.
pub fn read(path: String, offset: Int, bytes: Int) -> Result(BitArray, Error) {
  use file <- otp.try(
    ffi_open(path)
    |> otp.map_error(fn(reason) { error.Unreadable(path, in_words(reason)) }),
  )
  let work = fn() { ffi_read_at(file, offset, bytes) }
  use refusal <- otp.map_error(otp.finally(work, fn() { close(file) }))
  case refusal {
    Short(found:) ->
      error.Malformed(
        path,
        otp.int_to_string(bytes)
          <> " bytes from byte "
          <> otp.int_to_string(offset)
          <> " on",
        otp.int_to_string(found) <> " bytes",
      )
    Refused(reason:) -> error.Unreadable(path, reason)
  }
}

/// The file's JSON; `Null` where there is no such file.
pub fn optional_json(path: String) -> Result(Json, Error) {
  case kind(path) {
    File -> json(path)
    _ -> Ok(json.Null)
  }
}

pub fn json(path: String) -> Result(Json, Error) {
  use text <- otp.try(
    otp.read_file(path) |> otp.map_error(error.Unreadable(path, _)),
  )
  json.decode(text) |> otp.map_error(error.Malformed(path, "JSON", _))
}
