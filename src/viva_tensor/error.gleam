//// What can go wrong, below the facade: the variants as the native library
//// returns them. `viva_tensor.Error` is the same for users.

pub type Error {
  NotFound(path: String, expected: String)
  Unreadable(path: String, reason: String)
  Malformed(at: String, expected: String, found: String)
  Unsupported(at: String, expected: String, found: String)
  InvalidOption(option: String, expected: String, found: String)
  EmptyPrompt
  ContextOverflow(wanted_tokens: Int, limit_tokens: Int)
  OutOfMemory(wanted_bytes: Int, free_bytes: Int)
  DeviceLost(reason: String)
  Template(reason: String)
  Busy
  Cancelled
  Internal(reason: String)
  NifNotLoaded(reason: String)
}
