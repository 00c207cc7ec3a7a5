//// The written examples are those of the documentation.

import support
import viva_tensor/otp

pub fn every_example_is_run_test() {
  let assert Ok(facade) = otp.read_file("src/viva_tensor.gleam")
  let assert Ok(#(_, tensors)) = otp.split_once(facade, at: "\n// Tensors.\n")
  let folder = "test/viva_tensor/tensor_examples_of_"
  let assert Ok(elements) = otp.read_file(folder <> "elements_test.gleam")
  let assert Ok(shapes) = otp.read_file(folder <> "shapes_test.gleam")
  let tests = elements <> shapes
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
