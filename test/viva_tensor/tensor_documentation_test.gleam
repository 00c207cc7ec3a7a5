//// The written examples are those of the documentation.

import support
import viva_tensor/otp

pub fn every_example_is_run_test() {
  let assert Ok(facade) = otp.read_file("src/viva_tensor.gleam")
  let assert Ok(#(_, tensors)) = otp.split_once(facade, at: "\n// Tensors.\n")
  let folder = "test/viva_tensor/tensor_examples_of_"
  let assert Ok(elements) = otp.read_file(folder <> "elements_test.gleam")
  let assert Ok(shapes) = otp.read_file(folder <> "shapes_test.gleam")
  let assert Ok(packed) = otp.read_file(folder <> "packed_weights_test.gleam")
  let tests = elements <> shapes <> packed
  let examples = examples(tensors)
  assert otp.length(examples) > 100
  use example <- support.each(examples)
  let assert #(_, Ok(_)) = #(example, otp.split_once(tests, at: example))
}

/// Each as the lines of comments that it is in the tests.
fn examples(text: String) -> List(String) {
  case otp.split_once(text, at: "/// ```gleam\n") {
    Error(Nil) -> []
    Ok(#(_, rest)) -> {
      let assert Ok(#(example, rest)) = otp.split_once(rest, at: "/// ```\n")
      [as_comments(example), ..examples(rest)]
    }
  }
}

fn as_comments(example: String) -> String {
  case otp.split_once(example, at: "/// ") {
    Error(Nil) -> example
    Ok(#(before, rest)) -> before <> "  // " <> as_comments(rest)
  }
}

/// Each function of tensors is on the page from NumPy; a `try_…` is with its
/// twin.
pub fn every_function_is_mapped_test() {
  let assert Ok(facade) = otp.read_file("src/viva_tensor.gleam")
  let assert Ok(#(_, tensors)) = otp.split_once(facade, at: "\n// Tensors.\n")
  let assert Ok(page) = otp.read_file("docs/from_numpy.md")
  let names = names(tensors)
  assert otp.length(names) > 90
  use name <- support.each(names)
  let assert #(_, Ok(_)) = #(name, otp.split_once(page, at: "t." <> name))
}

fn names(text: String) -> List(String) {
  case otp.split_once(text, at: "\npub fn ") {
    Error(Nil) -> []
    Ok(#(_, rest)) -> {
      let assert Ok(#(name, rest)) = otp.split_once(rest, at: "(")
      case otp.split_once(name, at: "try_") {
        Ok(#("", _)) -> names(rest)
        _ -> [name, ..names(rest)]
      }
    }
  }
}
