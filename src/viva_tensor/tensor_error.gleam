//// What can go wrong with tensors, below the facade. `viva_tensor.TensorError`
//// is the same for users.

pub type TensorError {
  ShapeMismatch(expected: List(Int), got: List(Int))
  InvalidShape(reason: String)
  DimensionError(reason: String)
  BroadcastError(a: List(Int), b: List(Int))
  IndexOutOfBounds(index: Int, size: Int)
  EmptyTensor(op: String)
  NonFinite(op: String, index: Int)
  Overflow(op: String)
  InvalidArgument(argument: String, expected: String, found: String)
  TensorFile(path: String, reason: String)
  DeviceUnavailable(device: String, reason: String)
  DeviceOutOfMemory(device: String, wanted_bytes: Int, free_bytes: Int)
  DeviceMismatch(a: String, b: String)
  MalformedTensorFile(path: String, expected: String, found: String)
}
