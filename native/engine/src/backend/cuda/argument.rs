//! What kernels are given, laid out as their sources declare it.

use std::ffi::c_void;

use crate::quant::Format;

/// A kernel's argument.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    Address(u64),
    Count(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    View(ViewArgument),
    Operand(OperandArgument),
    Matrix(MatrixArgument),
    Norm(NormArgument),
    Part(PartArgument),
    Ending(EndingArgument),
    Heads(HeadsArgument),
    Decode(DecodeArgument),
    Panel(PanelArgument),
    PanelWeights(PanelWeightsArgument),
}

impl Argument {
    pub(super) fn place(&self) -> *mut c_void {
        match self {
            Argument::Address(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Count(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Long(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Float(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Double(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::View(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Operand(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Matrix(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Norm(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Part(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Ending(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Heads(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Decode(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::Panel(value) => std::ptr::from_ref(value).cast_mut().cast(),
            Argument::PanelWeights(value) => std::ptr::from_ref(value).cast_mut().cast(),
        }
    }
}

/// TENSOR_AXES of kernels/tensor.cu.
pub const VIEW_AXES: usize = 12;

/// `View` of kernels/tensor.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct ViewArgument {
    pub lengths: [u64; VIEW_AXES],
    pub strides: [u64; VIEW_AXES],
    pub axes: u32,
    pub pad: u32,
}

/// `Operand` of kernels/tensor_product.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct OperandArgument {
    pub at: u64,
    pub batch: u64,
    pub row: u64,
    pub column: u64,
}

/// `Matrix` of kernels/common.cuh.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct MatrixArgument {
    pub weights: u64,
    pub scales: u64,
    pub bias: u64,
    pub rows: u32,
    pub cols: u32,
    pub scale_cols: u32,
    pub scale_blocks: u32,
}

/// `Norm` of kernels/pointwise.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct NormArgument {
    pub weight: u64,
    pub bias: u64,
    pub kind: u32,
    pub eps: f32,
}

/// `Part` of kernels/gemv.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PartArgument {
    pub matrix: MatrixArgument,
    pub y: u64,
    pub stride: u32,
    pub tiles: u32,
}

/// `Ending` of kernels/gemv.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct EndingArgument {
    pub gamma: u64,
    pub eps: f32,
    pub cap: f32,
    pub mode: u32,
    pub activation: u32,
}

/// `HeadArguments` of kernels/heads.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct HeadsArgument {
    pub query_norm: NormArgument,
    pub key_norm: NormArgument,
    pub table: u64,
    pub long_table: u64,
    pub rotary: u32,
    pub window: u32,
    pub scale: f32,
    pub cap: f32,
}

/// `Decode` of kernels/decode.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct DecodeArgument {
    pub layers: u64,
    pub embedding: MatrixArgument,
    pub head: MatrixArgument,
    pub final_norm: u64,
    pub row: u64,
    pub logits: u64,
    pub packets: u64,
    pub best: u64,
    pub done: u64,
    pub epoch: u64,
    pub out: u64,
    pub step: u64,
    pub eps: f32,
    pub embedding_scale: f32,
    pub attention_scale: f32,
    pub attention_cap: f32,
    pub logit_cap: f32,
    pub rotary: u32,
    pub feed: u32,
    pub pad: u32,
}

/// `PanelProduct` of kernels/panel_gemv.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PanelArgument {
    pub w: u64,
    pub places: u64,
    pub x: u64,
    pub w_scales: u64,
    pub x_scales: u64,
    pub bias: u64,
    pub y: u64,
    pub rows: u32,
    pub count: u32,
    pub y_stride: u32,
    pub steps: u32,
    pub mode: u32,
    pub activation: u32,
    pub scale_cols: u32,
    pub scale_blocks: u32,
    pub factor: f32,
    pub inputs: u32,
    pub is_bf16: u32,
}

/// `PanelWeights` of kernels/panel_halves.cu.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct PanelWeightsArgument {
    pub w: u64,
    pub scales: u64,
    pub rows: u32,
    pub cols: u32,
    pub scale_cols: u32,
    pub scale_blocks: u32,
}

/// A format's name in the kernels.
pub fn kernel_name(format: Format) -> &'static str {
    match format {
        Format::F32 => "f32",
        Format::F16 => "f16",
        Format::Bf16 => "bf16",
        Format::F8E4m3 => "f8_e4m3",
        Format::Q8_0 => "q8_0",
        Format::Q4_0 => "q4_0",
        Format::Q4_1 => "q4_1",
        Format::Q5_0 => "q5_0",
        Format::Q5_1 => "q5_1",
        Format::Q2K => "q2_k",
        Format::Q3K => "q3_k",
        Format::Q4K => "q4_k",
        Format::Q5K => "q5_k",
        Format::Q6K => "q6_k",
        // No kernel has them; `Store::matrix` refuses them.
        Format::Int8 | Format::Int4 | Format::Int8Sparse24 | Format::Int4Sparse24 => "packed",
    }
}
