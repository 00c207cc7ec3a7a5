//! Where the time of a decoding pass goes, kernel by kernel: for measurements, not on anybody's way.

use std::sync::PoisonError;

use super::forward::{CudaModel, Slot};
pub use super::timer::KernelTime;
use crate::error::{Error, Result};

/// Passes that keep the device busy while the host queues the one that is timed.
const AHEAD: usize = 8;

impl CudaModel {
    /// The kernels of one token of each slot, the longest first. `decode` must have been called for as many slots at about
    /// this length before. The caches stay as they were.
    pub fn profile(&self, slots: &mut [Slot]) -> Result<Vec<KernelTime>> {
        self.device().enter()?;
        let mut pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = &mut *pass;
        let rows = self.prepare(pass, slots, AHEAD + 1)?;
        let spans = self.spans_of(slots, AHEAD + 1);
        let Some(graph) = pass.graphs.get(&(rows, spans, false)) else {
            return Err(Error::Internal { reason: format!("no pass of {rows} rows was recorded yet") });
        };
        pass.stream.send::<u32>(&pass.steps_host, &pass.steps, rows as usize)?;
        for _ in 0..AHEAD {
            pass.stream.replay(graph)?;
        }
        pass.stream.start_timer();
        let queued = self.queue_choice(pass, rows, spans, false);
        let times = pass.stream.stop_timer();
        queued?;
        times
    }
}
