//// Products of vectors and matrices. The order of sums: `kernel.matmul`.

import viva_tensor/elementwise
import viva_tensor/kernel
import viva_tensor/otp
import viva_tensor/reduction
import viva_tensor/shape
import viva_tensor/storage.{Host}
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, DimensionError, Overflow, ShapeMismatch,
}

/// [K] . [K], in float64.
pub fn dot(a: Tensor, b: Tensor) -> Result(Float, TensorError) {
  use _ <- otp.try(same_shape(a, b))
  use _ <- otp.try(tensor.check_rank(a, 1, "dot"))
  use _ <- otp.try(tensor.check_finite(a, "dot"))
  use _ <- otp.try(tensor.check_finite(b, "dot"))
  use _ <- otp.try(tensor.check_together(a, b))
  let elements = fn(operand) {
    tensor.elements(tensor.cast(operand, to: kernel.Float64))
  }
  let k = tensor.size(a)
  case elements(a), elements(b) {
    Host(a), Host(b) ->
      kernel.matmul(kernel.Float64, 1, k, 1, a, #(k, 1), b, #(1, 1))
      |> kernel.unpack(kernel.Float64, _)
      |> only_number
    // A GPU sums products by many threads.
    a, b -> {
      let wide = fn(data) { tensor.made([k], kernel.Float64, data) }
      use products <- otp.try(elementwise.binary(
        kernel.Multiply,
        wide(a),
        wide(b),
      ))
      use numbers <- otp.try(reduction.numbers(kernel.Sum, products))
      only_number(numbers)
    }
  }
}

fn only_number(numbers: List(kernel.Number)) -> Result(Float, TensorError) {
  case numbers {
    [number] ->
      case kernel.is_finite(number) {
        True -> Ok(kernel.clean_number(number))
        False -> Error(Overflow("dot"))
      }
    _ -> Ok(0.0)
  }
}

fn same_shape(a: Tensor, b: Tensor) -> Result(Nil, TensorError) {
  case tensor.shape(a) == tensor.shape(b) {
    True -> Ok(Nil)
    False ->
      Error(ShapeMismatch(expected: tensor.shape(a), got: tensor.shape(b)))
  }
}

/// [M, K] x [K, N] -> [M, N]
pub fn matmul(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_rank(a, 2, "matmul"))
  use _ <- otp.try(tensor.check_rank(b, 2, "matmul"))
  batch_matmul(a, b)
}

/// [M, K] x [K] -> [M]
pub fn matmul_vec(
  matrix: Tensor,
  vector: Tensor,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_rank(matrix, 2, "matmul_vec"))
  use _ <- otp.try(tensor.check_rank(vector, 1, "matmul_vec"))
  let expected = otp.drop(tensor.shape(matrix), 1)
  use _ <- otp.try(case tensor.shape(vector) == expected {
    True -> Ok(Nil)
    False ->
      Error(ShapeMismatch(expected:, got: tensor.shape(vector)))
  })
  use column <- otp.try(tensor.unsqueeze(vector, 1))
  use product <- otp.try(batch_matmul(matrix, column))
  tensor.reshape(product, to: otp.take(tensor.shape(product), 1))
}

/// [M] and [N] -> [M, N]
pub fn outer(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_rank(a, 1, "outer"))
  use _ <- otp.try(tensor.check_rank(b, 1, "outer"))
  use column <- otp.try(tensor.unsqueeze(a, 1))
  use row <- otp.try(tensor.unsqueeze(b, 0))
  elementwise.binary_broadcast(kernel.Multiply, column, row)
}

/// [.., M, K] x [.., K, N] -> [.., M, N], the leading axes broadcast.
pub fn batch_matmul(a: Tensor, b: Tensor) -> Result(Tensor, TensorError) {
  use #(a_batch, m, k) <- otp.try(matrix_shape(a))
  use #(b_batch, b_k, n) <- otp.try(matrix_shape(b))
  use batch <- otp.try(shape.broadcast(a_batch, b_batch))
  use shape <- otp.try(shape.check(otp.append(batch, [m, n])))
  case k == b_k {
    False -> Error(ShapeMismatch(expected: [k, n], got: [b_k, n]))
    True -> {
      let dtype = tensor.common_dtype(a, b)
      use _ <- otp.try(tensor.check_together(a, b))
      let a = tensor.cast(a, to: dtype)
      let b = tensor.cast(b, to: dtype)
      use a <- otp.try(tensor.broadcast(a, to: otp.append(batch, [m, k])))
      use b <- otp.try(tensor.broadcast(b, to: otp.append(batch, [k, n])))
      case tensor.data(a) {
        Host(_) -> {
          let a = matrices(a, m, k)
          let b = matrices(b, k, n)
          let products = {
            use #(#(a, a_strides), #(b, b_strides)) <- otp.map(otp.zip(a, b))
            kernel.matmul(dtype, m, k, n, a, a_strides, b, b_strides)
          }
          Ok(tensor.new(shape, dtype, one_binary(products)))
        }
        _ -> {
          let #(a, a_strides) = in_steps(a)
          let #(b, b_strides) = in_steps(b)
          let sizes = #(shape.size(batch), m, k, n)
          storage.products(dtype, sizes, a, a_strides, b, b_strides)
          |> tensor.made(shape, dtype, _)
          |> tensor.check
        }
      }
    }
  }
}

/// Matrices from the first element on, and how far it is from one to the next,
/// from row to row, from column to column. They are copied where the steps from
/// one to the next differ.
fn in_steps(operand: Tensor) -> #(storage.Data, #(Int, Int, Int)) {
  let lead = tensor.rank(operand) - 2
  let step = {
    use step, #(length, stride) <- otp.fold(
      otp.zip(tensor.shape(operand), tensor.strides(operand)) |> otp.take(lead),
      from: Ok(#(1, 0)),
    )
    case step, length {
      _, 1 -> step
      Ok(#(1, _)), _ -> Ok(#(length, stride))
      Ok(#(count, outer)), _ if outer == length * stride ->
        Ok(#(count * length, stride))
      _, _ -> Error(Nil)
    }
  }
  case step, otp.drop(tensor.strides(operand), lead), tensor.size(operand) {
    _, _, 0 -> #(tensor.elements(operand), #(0, 0, 0))
    Ok(#(_, batch)), [row, column], _ -> #(tensor.from_first(operand), #(
      batch,
      row,
      column,
    ))
    _, _, _ -> {
      let columns = shape.length(tensor.shape(operand), lead + 1)
      let rows = shape.length(tensor.shape(operand), lead)
      #(tensor.elements(operand), #(rows * columns, columns, 1))
    }
  }
}

fn one_binary(parts: List(BitArray)) -> BitArray {
  case parts {
    [part] -> part
    _ -> kernel.concat(parts)
  }
}

/// The leading axes, rows and columns.
fn matrix_shape(
  operand: Tensor,
) -> Result(#(List(Int), Int, Int), TensorError) {
  case otp.reverse(tensor.shape(operand)) {
    [columns, rows, ..batch] -> Ok(#(otp.reverse(batch), rows, columns))
    _ ->
      Error(DimensionError(
        "matmul: expected 2 axes or more, found the shape "
        <> shape.to_string(tensor.shape(operand)),
      ))
  }
}

/// The bytes of each matrix from its first element on, and its strides.
fn matrices(
  operand: Tensor,
  rows: Int,
  columns: Int,
) -> List(#(BitArray, #(Int, Int))) {
  let batch = otp.take(tensor.shape(operand), tensor.rank(operand) - 2)
  let count = shape.size(batch)
  case tensor.size(operand), batch, tensor.from_first(operand) {
    0, _, _ -> otp.repeat(#(<<>>, #(columns, 1)), times: count)
    _, [], Host(data) -> [#(data, strides(operand))]
    _, _, _ -> {
      let width = kernel.width(tensor.dtype(operand))
      let bytes = rows * columns * width
      let data = tensor.bytes(operand)
      use index <- otp.map(shape.range(count))
      #(kernel.part(data, index * bytes, bytes), #(columns, 1))
    }
  }
}

fn strides(matrix: Tensor) -> #(Int, Int) {
  case tensor.strides(matrix) {
    [row, column] -> #(row, column)
    _ -> #(0, 0)
  }
}

/// [.., I] x [O, I] -> [.., O]: x Wᵀ.
pub fn project(input: Tensor, weight: Tensor) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_rank(weight, 2, "weight"))
  use turned <- otp.try(tensor.transpose(weight))
  case otp.reverse(tensor.shape(input)) {
    [] -> Error(DimensionError("linear: expected 1 axis or more, found none"))
    [width, ..outer] -> {
      let rows = shape.size(outer)
      use flat <- otp.try(tensor.reshape(input, to: [rows, width]))
      use product <- otp.try(batch_matmul(flat, turned))
      let outputs = shape.length(tensor.shape(weight), 0)
      tensor.reshape(product, to: otp.reverse([outputs, ..outer]))
    }
  }
}

/// Divided by its norm, so that the norm is 1.0; unchanged when the norm is
/// 0.0.
pub fn normalize(operand: Tensor) -> Tensor {
  case reduction.norm(operand) {
    0.0 -> operand
    norm -> scaled_to_one(operand, norm)
  }
}

fn scaled_to_one(operand: Tensor, norm: Float) -> Tensor {
  let divisor = tensor.beside(tensor.fill([], norm), operand)
  let wide = tensor.cast(operand, to: kernel.Float64)
  case elementwise.binary_broadcast(kernel.Divide, wide, divisor) {
    Ok(scaled) -> tensor.cast(scaled, to: tensor.dtype(operand))
    // No axes broadcast to any shape, so a device failed.
    Error(error) -> tensor.failed(operand, error)
  }
}
