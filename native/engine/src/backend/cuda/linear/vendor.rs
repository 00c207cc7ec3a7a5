//! Large products of E4M3 by cuBLASLt, where it is and where it is faster than the own kernel.
//!
//! A shape keeps the first algorithm that the library proposes for it, which depends on the shape, the library and the GPU and on
//! nothing else, so the same product has the same bits; a row's last bits may depend on how many there are. The surprise: the
//! library wants rows, so the first product lays the weight's panels out as rows, which are kept where there is room.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::driver::{Device, Stream},
    cublaslt::{CublasLt, Operands, Plan, Scales},
};
use crate::error::{Error, Result};

/// Shapes whose plans are kept.
const PLANS: usize = 256;

/// A product's rows of inputs, outputs, and columns in memory.
pub(super) type Shape = [usize; 3];

/// The library, looked for once, and a plan for each shape that was asked for; `None` where it has none.
#[derive(Default)]
pub(super) struct Vendor {
    library: Option<Result<Arc<CublasLt>>>,
    plans: BTreeMap<Shape, Option<Plan>>,
}

impl std::fmt::Debug for Vendor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vendor({} plans)", self.plans.len())
    }
}

/// The least rows of inputs of a product that is the library's, and its least outputs and inputs.
pub(super) const LEAST_ROWS: usize = 16;
const LEAST: usize = 2048;

/// Whether it is measured to be faster than the own kernel: bench/NOTES.md.
pub(super) fn is_large([batch, outputs, inputs]: Shape) -> bool {
    batch >= LEAST_ROWS && outputs.min(inputs) >= LEAST
}

impl Vendor {
    fn library(&mut self, device: &Arc<Device>) -> Result<Arc<CublasLt>> {
        self.library.get_or_insert_with(|| CublasLt::open(device).map(Arc::new)).clone()
    }

    /// Such as "cuBLASLt 13.0.2".
    pub(super) fn name(&mut self, device: &Arc<Device>) -> Option<String> {
        let version = self.library(device).ok()?.version;
        // 120902 and 130002; before 12 there were four digits less.
        Some(format!("cuBLASLt {}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
    }

    /// Whether there is a plan for a shape, which is made here; `scales` only have to be such as its products have.
    pub(super) fn takes(&mut self, device: &Arc<Device>, shape: Shape, scales: Scales) -> bool {
        if !self.plans.contains_key(&shape) {
            let [batch, outputs, inputs] = shape;
            let library = self.library(device);
            let plan = library.and_then(|it| it.plan(Operands::F8E4m3, batch, outputs, inputs, Some(scales)));
            if self.plans.len() >= PLANS {
                self.plans.clear();
            }
            self.plans.insert(shape, plan.ok());
        }
        self.plans.get(&shape).is_some_and(Option::is_some)
    }

    /// It is not asked for this shape again.
    pub(super) fn refuse(&mut self, shape: Shape) {
        self.plans.insert(shape, None);
    }

    /// Queues y = x W^T, rows and columns times their scales.
    ///
    /// # Safety
    /// As `Plan::multiply_at`.
    pub(super) unsafe fn multiply(
        &mut self,
        stream: &Stream,
        shape: Shape,
        scales: Scales,
        at: [u64; 3],
    ) -> Result<()> {
        let none = || Error::Internal { reason: format!("no plan of cuBLASLt for {shape:?}") };
        let plan = self.plans.get(&shape).and_then(Option::as_ref).ok_or_else(none)?;
        // SAFETY: the caller's contract, and `self` is borrowed by this thread alone.
        unsafe { plan.multiply_at(stream, 0, Some(scales), at) }
    }
}
