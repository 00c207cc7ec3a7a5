//! The numbers by which GGUF names how a tensor is stored.
//!
//! Those with a `Format` are computed with; the others are known by name and size, so that a file which carries one
//! can be checked and an error can say what it is. Source: `enum ggml_type` in ggml.h.
//!
//! The one surprise: some numbers are retired. Files with them were made for machines' own layouts of 2024.

use crate::quant::Format;

/// How a tensor is stored, as far as this engine can tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GgmlType {
    Format(Format),
    /// Known, but not computed with.
    Known {
        name: &'static str,
        block_len: usize,
        block_bytes: usize,
    },
    /// Retired; its size is not written down any more.
    Retired(&'static str),
    Unknown(u32),
}

impl GgmlType {
    pub fn of(number: u32) -> GgmlType {
        let known = |name, block_len, block_bytes| GgmlType::Known { name, block_len, block_bytes };
        match number {
            0 => GgmlType::Format(Format::F32),
            1 => GgmlType::Format(Format::F16),
            2 => GgmlType::Format(Format::Q4_0),
            3 => GgmlType::Format(Format::Q4_1),
            4 => GgmlType::Retired("Q4_2"),
            5 => GgmlType::Retired("Q4_3"),
            6 => GgmlType::Format(Format::Q5_0),
            7 => GgmlType::Format(Format::Q5_1),
            8 => GgmlType::Format(Format::Q8_0),
            9 => known("Q8_1", 32, 40),
            10 => GgmlType::Format(Format::Q2K),
            11 => GgmlType::Format(Format::Q3K),
            12 => GgmlType::Format(Format::Q4K),
            13 => GgmlType::Format(Format::Q5K),
            14 => GgmlType::Format(Format::Q6K),
            15 => known("Q8_K", 256, 292),
            16 => known("IQ2_XXS", 256, 66),
            17 => known("IQ2_XS", 256, 74),
            18 => known("IQ3_XXS", 256, 98),
            19 => known("IQ1_S", 256, 50),
            20 => known("IQ4_NL", 32, 18),
            21 => known("IQ3_S", 256, 110),
            22 => known("IQ2_S", 256, 82),
            23 => known("IQ4_XS", 256, 136),
            24 => known("I8", 1, 1),
            25 => known("I16", 1, 2),
            26 => known("I32", 1, 4),
            27 => known("I64", 1, 8),
            28 => known("F64", 1, 8),
            29 => known("IQ1_M", 256, 56),
            30 => GgmlType::Format(Format::Bf16),
            31 => GgmlType::Retired("Q4_0_4_4"),
            32 => GgmlType::Retired("Q4_0_4_8"),
            33 => GgmlType::Retired("Q4_0_8_8"),
            34 => known("TQ1_0", 256, 54),
            35 => known("TQ2_0", 256, 66),
            36 => GgmlType::Retired("IQ4_NL_4_4"),
            37 => GgmlType::Retired("IQ4_NL_4_8"),
            38 => GgmlType::Retired("IQ4_NL_8_8"),
            39 => known("MXFP4", 32, 17),
            40 => known("NVFP4", 64, 36),
            41 => known("Q1_0", 128, 18),
            other => GgmlType::Unknown(other),
        }
    }

    /// Weights and bytes of a block, where they are known.
    pub fn block(self) -> Option<(usize, usize)> {
        match self {
            GgmlType::Format(format) => Some((format.block_len(), format.block_bytes())),
            GgmlType::Known { block_len, block_bytes, .. } => Some((block_len, block_bytes)),
            GgmlType::Retired(_) | GgmlType::Unknown(_) => None,
        }
    }

    pub fn name(self) -> String {
        match self {
            GgmlType::Format(format) => format.name().to_string(),
            GgmlType::Known { name, .. } => name.to_string(),
            GgmlType::Retired(name) => format!("{name} (retired)"),
            GgmlType::Unknown(number) => format!("ggml type {number}"),
        }
    }
}
