//// All nine tiny checkpoints give what transformers gives.

import golden
import support

pub fn gemma3_test() {
  check("gemma3")
}

pub fn llama_test() {
  check("llama")
}

pub fn llama2_sharded_f16_test() {
  check("llama2-sharded-f16")
}

pub fn llama3_test() {
  check("llama3")
}

pub fn mistral_test() {
  check("mistral")
}

pub fn phi2_test() {
  check("phi2")
}

pub fn phi3_test() {
  check("phi3")
}

pub fn qwen2_test() {
  check("qwen2")
}

pub fn qwen3_test() {
  check("qwen3")
}

fn check(name: String) -> Nil {
  golden.check(name, support.load(name))
}
