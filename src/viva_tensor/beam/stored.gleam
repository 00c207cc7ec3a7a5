//// Where a tensor lies: what both file formats come down to.

pub type Format {
  F32
  F16
  Bf16
  Q80
  Q40
  Q41
  /// One that is not computed with here.
  Other(name: String)
}

pub type Stored {
  /// The shape's outermost length first, as PyTorch has it.
  Stored(
    path: String,
    format: Format,
    shape: List(Int),
    offset: Int,
    bytes: Int,
  )
}

pub fn name(format: Format) -> String {
  case format {
    F32 -> "F32"
    F16 -> "F16"
    Bf16 -> "BF16"
    Q80 -> "Q8_0"
    Q40 -> "Q4_0"
    Q41 -> "Q4_1"
    Other(name:) -> name
  }
}

/// Bytes of so many weights of a row.
pub fn row_bytes(format: Format, columns: Int) -> Int {
  case format {
    F32 -> columns * 4
    F16 | Bf16 -> columns * 2
    Q80 -> columns / 32 * 34
    Q40 -> columns / 32 * 18
    Q41 -> columns / 32 * 20
    Other(_) -> 0
  }
}

pub fn product(shape: List(Int)) -> Int {
  case shape {
    [] -> 1
    [length, ..rest] -> length * product(rest)
  }
}
