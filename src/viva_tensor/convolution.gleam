//// Windows that slide over planes: convolution, pooling and padding.
////
//// A plane is [H, W], an image [C, H, W], a batch [N, C, H, W]. As in neural
//// networks, a convolution does not turn its kernel around.

import viva_tensor/kernel.{type Row}
import viva_tensor/otp
import viva_tensor/linear_algebra
import viva_tensor/shape
import viva_tensor/storage.{Host}
import viva_tensor/tensor.{type Tensor}
import viva_tensor/tensor_error.{
  type TensorError, DimensionError, InvalidArgument, ShapeMismatch,
}

/// How a window moves; `pad` zeros lie around each plane.
pub type Window {
  Window(
    height: Int,
    width: Int,
    stride_height: Int,
    stride_width: Int,
    pad_height: Int,
    pad_width: Int,
  )
}

/// [H, W] * [KH, KW] -> [OH, OW]; [C, H, W] * [C, KH, KW] -> [OH, OW];
/// [C, H, W] * [O, C, KH, KW] -> [O, OH, OW]; [N, C, H, W] * [O, C, KH, KW] -> [N, O, OH, OW].
pub fn conv2d(
  input: Tensor,
  weights: Tensor,
  window: Window,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(check_window(window))
  use #(lead, batch) <- otp.try(as_batch(input, "input"))
  use #(_, filters) <- otp.try(as_batch(weights, "kernel"))
  case tensor.shape(batch), tensor.shape(filters) {
    [n, c, h, w], [o, kernel_c, kh, kw] -> {
      let expected = [o, c, window.height, window.width]
      use _ <- otp.try(case [o, kernel_c, kh, kw] == expected {
        True -> Ok(Nil)
        False -> Error(ShapeMismatch(expected:, got: [o, kernel_c, kh, kw]))
      })
      use #(oh, ow) <- otp.try(output(h, w, window))
      let outer = case lead, tensor.rank(weights) {
        [], 2 | [_], 3 -> []
        [], _ | [_], _ -> [o]
        _, _ -> [n, o]
      }
      let result_shape = otp.append(outer, [oh, ow])
      use result_shape <- otp.try(shape.check(result_shape))
      use _ <- otp.try(tensor.check_together(input, weights))
      let dtype = tensor.common_dtype(input, weights)
      let size =
        kernel.ConvolutionSize(
          images: n,
          channels: c,
          height: h,
          width: w,
          outputs: o,
          kernel_height: kh,
          kernel_width: kw,
          stride_height: window.stride_height,
          stride_width: window.stride_width,
          pad_height: window.pad_height,
          pad_width: window.pad_width,
        )
      let elements = fn(operand) {
        tensor.elements(tensor.cast(operand, to: dtype))
      }
      case shape.size(result_shape), c, elements(batch), elements(filters) {
        0, _, _, _ ->
          Ok(tensor.beside(tensor.new(result_shape, dtype, <<>>), input))
        _, 0, _, _ ->
          tensor.cast(tensor.fill(result_shape, 0.0), to: dtype)
          |> tensor.beside(input)
          |> tensor.check
        _, _, Host(batch), Host(filters) ->
          kernel.conv2d(dtype, batch, filters, size)
          |> tensor.new(result_shape, dtype, _)
          |> Ok
        _, _, _, _ -> {
          use product <- otp.try(multiply_windows(batch, filters, window))
          tensor.reshape(product, to: result_shape)
        }
      }
    }
    _, _ -> Error(DimensionError("conv2d: expected 2, 3 or 4 axes"))
  }
}

/// On a device: the windows as columns of a matrix, [N, C KH KW, OH OW], behind
/// the kernels as rows of another, [O, C KH KW].
fn multiply_windows(
  batch: Tensor,
  filters: Tensor,
  window: Window,
) -> Result(Tensor, TensorError) {
  use padded <- otp.try(pad(batch, 4, window.pad_height, window.pad_width))
  let padded = tensor.contiguous(padded)
  case tensor.shape(padded), tensor.shape(filters) {
    [n, c, h, w], [o, _, kh, kw] -> {
      let bare = Window(..window, pad_height: 0, pad_width: 0)
      use #(oh, ow) <- otp.try(output(h, w, bare))
      let steps = [window.stride_height * w, window.stride_width]
      let columns =
        tensor.walk(
          padded,
          [n, c, kh, kw, oh, ow],
          otp.append([c * h * w, h * w, w, 1], steps),
        )
      let depth = c * kh * kw
      use columns <- otp.try(tensor.reshape(columns, to: [n, depth, oh * ow]))
      use rows <- otp.try(tensor.reshape(filters, to: [o, depth]))
      linear_algebra.batch_matmul(rows, columns)
    }
    _, _ -> Error(DimensionError("conv2d: expected 4 axes"))
  }
}

/// On a device: each window as a row.
fn reduce_windows(
  op: Row,
  batch: Tensor,
  size: kernel.PoolSize,
  oh: Int,
  ow: Int,
) -> storage.Data {
  let dtype = tensor.dtype(batch)
  let kernel.PoolSize(planes:, height: h, width: w, ..) = size
  tensor.contiguous(batch)
  |> tensor.walk([planes, oh, ow, size.pool_height, size.pool_width], [
    h * w,
    size.stride_height * w,
    size.stride_width,
    w,
    1,
  ])
  |> tensor.elements
  |> storage.rows(op, dtype, dtype, _, size.pool_height * size.pool_width)
}

/// The leading axes, and the operand as [N, C, H, W].
fn as_batch(
  operand: Tensor,
  name: String,
) -> Result(#(List(Int), Tensor), TensorError) {
  let shape = tensor.shape(operand)
  case otp.length(shape) {
    2 | 3 | 4 -> {
      let missing = otp.repeat(1, times: 4 - otp.length(shape))
      let lead = otp.take(shape, otp.length(shape) - 2)
      tensor.reshape(operand, to: otp.append(missing, shape))
      |> otp.map_ok(fn(batch) { #(lead, batch) })
    }
    _ ->
      Error(DimensionError(
        name
        <> ": expected [H, W], [C, H, W] or [N, C, H, W], found the shape "
        <> shape.to_string(shape),
      ))
  }
}

fn check_window(window: Window) -> Result(Nil, TensorError) {
  let numbers = [
    #("the window's height", window.height, 1),
    #("the window's width", window.width, 1),
    #("the stride's height", window.stride_height, 1),
    #("the stride's width", window.stride_width, 1),
    #("the padding's height", window.pad_height, 0),
    #("the padding's width", window.pad_width, 0),
  ]
  case otp.filter(numbers, fn(number) { number.1 < number.2 }) {
    [] -> Ok(Nil)
    [#(argument, found, least), ..] ->
      Error(InvalidArgument(
        argument:,
        expected: otp.int_to_string(least) <> " or more",
        found: otp.int_to_string(found),
      ))
  }
}

/// How many windows there are, down and across.
fn output(h: Int, w: Int, window: Window) -> Result(#(Int, Int), TensorError) {
  let room_h = h + 2 * window.pad_height - window.height
  let room_w = w + 2 * window.pad_width - window.width
  case room_h >= 0 && room_w >= 0 {
    True ->
      Ok(#(room_h / window.stride_height + 1, room_w / window.stride_width + 1))
    False ->
      Error(ShapeMismatch(expected: [window.height, window.width], got: [h, w]))
  }
}

/// Windows of each plane become their maximum or mean; no padding.
pub fn pool2d(
  op: Row,
  input: Tensor,
  window: Window,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(check_window(window))
  use #(lead, batch) <- otp.try(as_batch(input, "input"))
  let #(h, w) = plane(batch)
  use #(oh, ow) <- otp.try(output(h, w, window))
  let dtype = tensor.dtype(input)
  let planes = shape.size(lead)
  let size =
    kernel.PoolSize(
      planes:,
      height: h,
      width: w,
      pool_height: window.height,
      pool_width: window.width,
      stride_height: window.stride_height,
      stride_width: window.stride_width,
    )
  let data = case planes, tensor.elements(batch) {
    0, data -> data
    _, Host(bytes) -> Host(kernel.pool2d(op, dtype, bytes, size))
    _, _ -> reduce_windows(op, batch, size, oh, ow)
  }
  tensor.made(otp.append(lead, [oh, ow]), dtype, data) |> tensor.check
}

fn plane(batch: Tensor) -> #(Int, Int) {
  let shape = tensor.shape(batch)
  #(shape.length(shape, 2), shape.length(shape, 3))
}

/// [H, W] -> [1, 1], [C, H, W] -> [C, 1, 1], [N, C, H, W] -> [N, C, 1, 1]
pub fn global_average(input: Tensor) -> Result(Tensor, TensorError) {
  use #(_, batch) <- otp.try(as_batch(input, "input"))
  let #(height, width) = plane(batch)
  pool2d(kernel.Mean, input, Window(height, width, 1, 1, 0, 0))
}

/// Zeros around each plane: `pad_h` rows above and below, `pad_w` columns on
/// the left and on the right.
pub fn pad(
  input: Tensor,
  rank: Int,
  pad_h: Int,
  pad_w: Int,
) -> Result(Tensor, TensorError) {
  use _ <- otp.try(tensor.check_rank(input, rank, "pad"))
  use _ <- otp.try(check_window(Window(1, 1, 1, 1, pad_h, pad_w)))
  let across = rank - 1
  use wide <- otp.try(pad_axis(input, across, pad_w))
  pad_axis(wide, across - 1, pad_h)
}

fn pad_axis(
  input: Tensor,
  axis: Int,
  by count: Int,
) -> Result(Tensor, TensorError) {
  let side = shape.replace(tensor.shape(input), axis, count)
  use zeros <- otp.try(tensor.try_fill(side, 0.0))
  let zeros =
    tensor.cast(zeros, to: tensor.dtype(input)) |> tensor.beside(input)
  tensor.concat([zeros, input, zeros], axis)
}
