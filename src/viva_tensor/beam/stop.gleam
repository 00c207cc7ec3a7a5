//// Stop strings in a text that comes in pieces. The stop that is complete
//// first wins, of two that end together the longer; what may be the start of
//// one is held back.

pub type Found {
  /// Text that is certain, and what is held back.
  Going(text: String, held: String)
  Stopped(text: String, stop: String)
}

pub fn take(stops: List(String), held: String, text: String) -> Found {
  case stops {
    [] -> Going(held <> text, "")
    _ ->
      case ffi_find(held <> text, stops) {
        Ok(#(before, stop)) -> Stopped(before, stop)
        Error(#(certain, held)) -> Going(certain, held)
      }
  }
}

@external(erlang, "viva_tensor_token_ffi", "find_stop")
fn ffi_find(
  text: String,
  stops: List(String),
) -> Result(#(String, String), #(String, String))
