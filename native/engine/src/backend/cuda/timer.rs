//! How long each kernel takes: events on the stream before and after it.
//!
//! Only what is queued kernel by kernel is timed, not a graph's replay. The surprise: a kernel that the host queues late would
//! seem long, so whoever times gives the device enough to do before.

use std::{collections::BTreeMap, sync::PoisonError};

use cudarc::driver::{
    result::{DriverError, event},
    sys,
};

use super::{
    argument::{Argument, kernel_name},
    driver::{Stream, failed},
    module::Kernel,
};
use crate::{error::Result, quant::Format};

/// All launches of one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    pub kernel: &'static str,
    pub launches: usize,
    pub microseconds: f64,
    /// Of the matrices that it is given; 0 where they are not among its arguments.
    pub weight_bytes: u64,
}

/// What was launched since it was started.
#[derive(Debug, Default)]
pub(super) struct Timer {
    spans: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    kernel: &'static str,
    weight_bytes: u64,
    start: Event,
    end: Event,
}

#[derive(Debug)]
struct Event(sys::CUevent);

impl Event {
    fn record(stream: sys::CUstream) -> std::result::Result<Event, DriverError> {
        let event = Event(event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?);
        // SAFETY: both live.
        unsafe { event::record(event.0, stream) }?;
        Ok(event)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `record`.
        let _ = unsafe { event::destroy(self.0) };
    }
}

impl Stream {
    /// Times what is launched until `stop_timer`.
    pub(super) fn start_timer(&self) {
        *self.timer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Timer::default());
    }

    /// Waits, and gives the times by kernel, the longest first.
    pub(super) fn stop_timer(&self) -> Result<Vec<KernelTime>> {
        let timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.wait()?;
        let mut times: BTreeMap<&'static str, KernelTime> = BTreeMap::new();
        for span in timer.into_iter().flat_map(|timer| timer.spans) {
            // SAFETY: both were recorded, and the stream is done.
            let took = unsafe { event::elapsed(span.start.0, span.end.0) };
            let took = took.map_err(|error| failed("cuEventElapsedTime", error))?;
            let none = KernelTime { kernel: span.kernel, launches: 0, microseconds: 0.0, weight_bytes: 0 };
            let time = times.entry(span.kernel).or_insert(none);
            time.launches += 1;
            time.microseconds += f64::from(took) * 1e3;
            time.weight_bytes += span.weight_bytes;
        }
        let mut times: Vec<_> = times.into_values().collect();
        times.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
        Ok(times)
    }

    /// Runs `launch`, between two events where a timer is started.
    pub(super) fn timed(
        &self,
        kernel: &Kernel,
        arguments: &[Argument],
        launch: impl FnOnce() -> std::result::Result<(), DriverError>,
    ) -> std::result::Result<(), DriverError> {
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(timer) = timer.as_mut() else { return launch() };
        let start = Event::record(self.stream)?;
        launch()?;
        let (kernel, weight_bytes) = (kernel.name, weight_bytes(kernel.name, arguments));
        timer.spans.push(Span { kernel, weight_bytes, start, end: Event::record(self.stream)? });
        Ok(())
    }
}

/// Bytes of the matrices among a product's arguments.
fn weight_bytes(kernel: &str, arguments: &[Argument]) -> u64 {
    // gemv4_f16, gemv8_gated_q4_k
    let Some((_, name)) = kernel.strip_prefix("gemv").and_then(|rest| rest.split_once('_')) else { return 0 };
    let name = name.strip_prefix("gated_").unwrap_or(name);
    // The blocked ones are called otherwise.
    let format = Format::ALL.into_iter().find(|format| kernel_name(*format) == name).unwrap_or(Format::F8E4m3);
    let bytes = |argument: &Argument| match argument {
        Argument::Part(part) if part.matrix.weights != 0 => {
            u64::from(part.matrix.rows) * format.bytes_of(part.matrix.cols as usize).unwrap_or(0) as u64
        }
        _ => 0,
    };
    arguments.iter().map(bytes).sum()
}
