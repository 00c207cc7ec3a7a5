//! What one rendering may use up: steps, time and memory.
//!
//! A rendering runs on one thread from start to end, so its account lies in that thread and the strings and lists
//! themselves draw on it. The surprise: memory is given back as values die, steps never are.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Steps of the renderer, or 128 bytes copied or searched each.
const MAX_STEPS: u64 = 20_000_000;
const MAX_TIME: Duration = Duration::from_secs(10);
/// Steps between two looks at the clock.
const CLOCK_STEPS: u64 = 1 << 14;
/// All values of one rendering together, more or less.
const MAX_LIVE_BYTES: usize = 256 << 20;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static STARTED: Cell<Option<Instant>> = const { Cell::new(None) };
    static LIVE_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Begins an account: all steps are to be had again.
pub(super) fn start() {
    STEPS.set(0);
    STARTED.set(Some(Instant::now()));
}

pub(super) fn spend(steps: u64) -> Result<(), String> {
    let before = STEPS.get();
    let after = before.saturating_add(steps);
    STEPS.set(after);
    if after > MAX_STEPS {
        return Err(format!("it takes more than {MAX_STEPS} steps"));
    }
    if after / CLOCK_STEPS != before / CLOCK_STEPS && STARTED.get().is_some_and(|started| started.elapsed() > MAX_TIME)
    {
        return Err(format!("it takes more than {} seconds", MAX_TIME.as_secs()));
    }
    Ok(())
}

/// Spends what it costs to copy or search this much text.
pub(super) fn spend_bytes(bytes: usize) -> Result<(), String> {
    spend(bytes as u64 / 128)
}

/// Memory on the account for as long as this lives.
#[derive(Debug)]
pub(super) struct Held(usize);

impl Held {
    pub fn new(bytes: usize) -> Result<Self, String> {
        let live = LIVE_BYTES.get().saturating_add(bytes);
        if live > MAX_LIVE_BYTES {
            return Err(format!("its values take more than {MAX_LIVE_BYTES} bytes"));
        }
        LIVE_BYTES.set(live);
        Ok(Held(bytes))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        LIVE_BYTES.set(LIVE_BYTES.get().saturating_sub(self.0));
    }
}

#[cfg(test)]
pub(super) fn live_bytes() -> usize {
    LIVE_BYTES.get()
}
