//! Work that a file steers, on a thread with room for it.
//!
//! Parsers and template renderers recurse as deep as their input nests, and the caller may stand on a
//! scheduler's 336 KB stack. A closure goes to a fresh thread with 32 MB, its panic comes back as an error.
//! The surprise: work that is on such a thread already runs in place, so nesting costs nothing.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::error::{Error, Result};

const STACK_BYTES: usize = 32 << 20;
/// How often a waiting caller asks whether it is still wanted.
const POLL: Duration = Duration::from_millis(5);

thread_local! {
    static ON_LARGE_STACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread with a 32 MB stack and waits for it. A panic inside becomes `Error::Internal`.
///
/// ```
/// let answer = viva_tensor_engine::bounded::on_large_stack(|| 6 * 7);
/// assert_eq!(answer, Ok(42));
/// ```
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    if ON_LARGE_STACK.get() {
        return caught(work);
    }
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("viva_tensor_bounded".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                ON_LARGE_STACK.set(true);
                caught(work)
            })
            .map_err(|error| Error::Internal { reason: format!("no thread for parsing: {error}") })?;
        worker.join().unwrap_or_else(|payload| Err(panicked(payload)))
    })
}

/// Starts `work` on such a thread and lets it run beside; joining gives its result, or the panic as an error.
pub fn spawn_on_large_stack<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<thread::JoinHandle<Result<T>>> {
    thread::Builder::new()
        .name("viva_tensor_bounded".into())
        .stack_size(STACK_BYTES)
        .spawn(|| {
            ON_LARGE_STACK.set(true);
            caught(work)?
        })
        .map_err(|error| Error::Internal { reason: format!("no thread for parsing: {error}") })
}

/// Runs `work` on such a thread and waits for as long as `alive` says. A caller that has died is told `Cancelled` at
/// once; the thread ends its work beside.
pub fn while_alive<T: Send + 'static>(
    alive: &dyn Fn() -> bool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    let worker = spawn_on_large_stack(move || {
        // A receiver that has gone away is a caller that died.
        let _ = sender.send(work());
        Ok(())
    })?;
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if alive() => {}
            Err(RecvTimeoutError::Timeout) => return Err(Error::Cancelled),
            // It panicked before it could answer.
            Err(RecvTimeoutError::Disconnected) => {
                worker.join().unwrap_or_else(|payload| Err(panicked(payload)))?;
                return Err(Error::Internal { reason: "work ended without a result".into() });
            }
        }
    }
}

/// Runs `work` here; a panic becomes `Error::Internal` with its own words.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    // Whatever `work` borrowed mutably is dropped or abandoned by the caller along with the error.
    catch_unwind(AssertUnwindSafe(work)).map_err(panicked)
}

fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    Error::Internal { reason: text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_recursion_fits() {
        fn depth(level: usize) -> usize {
            let room = std::hint::black_box([level; 64]);
            if level == 0 { 0 } else { 1 + depth(level - 1) + room[0] - level }
        }
        assert_eq!(on_large_stack(|| depth(20_000)), Ok(20_000));
    }

    #[test]
    fn a_panic_is_an_error() {
        let result: Result<()> = on_large_stack(|| panic!("as meant"));
        assert_eq!(result, Err(Error::Internal { reason: "as meant".into() }));
    }

    #[test]
    fn nesting_stays_on_one_thread() {
        let (outer, inner) =
            on_large_stack(|| (thread::current().id(), on_large_stack(|| thread::current().id()))).unwrap();
        assert_eq!(Ok(outer), inner);
    }

    #[test]
    fn a_caller_that_died_waits_no_longer() {
        let (sender, receiver) = mpsc::channel::<()>();
        // It would wait for ever: the sender lives until the end of this test.
        let result = while_alive(&|| false, move || Ok(receiver.recv().is_ok()));
        assert_eq!(result, Err(Error::Cancelled));
        drop(sender);
        assert_eq!(while_alive(&|| true, || Ok(6 * 7)), Ok(42));
        let panicked: Result<()> = while_alive(&|| true, || panic!("as meant"));
        assert_eq!(panicked, Err(Error::Internal { reason: "as meant".into() }));
    }
}
