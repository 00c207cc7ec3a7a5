//// Without the native library the BEAM computes, and what cannot be done says
//// how to get the library.

import support
import viva_tensor as t
import viva_tensor/cli/argument
import viva_tensor/otp

const llama = "test/fixtures/tiny/llama"

pub fn command_line_without_the_library_test() {
  let output = support.command_line_without_library(["info", llama, "--json"])
  assert #(output.status, output.errors) == #(0, "")
  let assert Ok(_) = otp.split_once(output.output, at: "\"device\":\"beam\"")
}

pub fn refused_without_the_library_test() {
  let commands = [
    ["info", "test/fixtures/tiny/phi2"],
    ["generate", "test/fixtures/tiny/gemma3", "Hello"],
  ]
  use arguments <- support.each(commands)
  let output = support.command_line_without_library(arguments)
  assert #(arguments, output.status, output.output) == #(arguments, 1, "")
  let assert Ok(_) = otp.split_once(output.errors, at: "make build")
}

pub fn help_without_the_library_test() {
  let output = support.command_line_without_library(["--help"])
  assert #(output.status, output.errors) == #(0, "")
}

pub fn calls_without_the_library_test() {
  case support.library_loaded() {
    True -> Nil
    False -> {
      let assert Error(t.NifNotLoaded(..) as error) =
        t.load_model_with(llama, t.load_opts() |> t.device(t.Cpu))
      let assert Ok(_) =
        otp.split_once(t.describe_error(error), at: "make build")
      let assert Error(t.NifNotLoaded(..)) = t.read_bandwidth(t.load_opts())
      let assert argument.Run(..) = argument.parse(["info", llama])
      Nil
    }
  }
}
