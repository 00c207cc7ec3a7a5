//// Runs the tests: every function named `*_test` of every module below test/
//// named `*_test`, through EUnit.
////
//// What lies in test/native needs the native library. It is skipped, and the
//// runner says so, when the library was not built; a library that is there
//// and does not load is a failure.

@external(erlang, "viva_tensor_test_ffi", "run")
pub fn main() -> Nil
