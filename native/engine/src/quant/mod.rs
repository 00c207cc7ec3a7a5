//! Weight formats: how many bits a weight keeps, in what order, and what number they mean.
//!
//! A format is a file; this one is their table. A row of a matrix is a sequence of blocks of
//! `block_len` weights in `block_bytes` bytes. `dequantize` is the reference meaning of a block, plain
//! and slow; the backends have fast twins, tested against it.

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    F32,
    F16,
    Bf16,
    /// 8-bit floats, E4M3FN; their scales are a tensor of their own.
    F8E4m3,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Format {
    /// Every format, in the order of the enum.
    pub const ALL: [Format; 14] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::F8E4m3,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];

    /// Name, weights in a block, bytes of a block.
    const fn row(self) -> (&'static str, usize, usize) {
        match self {
            Format::F32 => ("F32", 1, 4),
            Format::F16 => ("F16", 1, 2),
            Format::Bf16 => ("BF16", 1, 2),
            Format::F8E4m3 => ("F8_E4M3", 1, 1),
            Format::Q8_0 => ("Q8_0", 32, 34),
            Format::Q4_0 => ("Q4_0", 32, 18),
            Format::Q4_1 => ("Q4_1", 32, 20),
            Format::Q5_0 => ("Q5_0", 32, 22),
            Format::Q5_1 => ("Q5_1", 32, 24),
            Format::Q2K => ("Q2_K", 256, 84),
            Format::Q3K => ("Q3_K", 256, 110),
            Format::Q4K => ("Q4_K", 256, 144),
            Format::Q5K => ("Q5_K", 256, 176),
            Format::Q6K => ("Q6_K", 256, 210),
        }
    }

    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Weights in a block.
    pub const fn block_len(self) -> usize {
        self.row().1
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.row().2
    }

    /// Bytes of `len` consecutive weights; `None` when they do not fill whole blocks or overflow.
    pub fn bytes_of(self, len: usize) -> Option<usize> {
        (len % self.block_len() == 0).then_some(len / self.block_len())?.checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
