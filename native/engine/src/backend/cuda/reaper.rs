//! A thread that gives memory back: freeing waits for the GPU, and who drops a cache or a model may be a scheduler.

use std::{
    any::Any,
    sync::{OnceLock, mpsc},
    thread,
};

type Reaped = Box<dyn Any + Send>;

fn reaper() -> Option<&'static mpsc::Sender<Reaped>> {
    static REAPER: OnceLock<Option<mpsc::Sender<Reaped>>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = mpsc::channel::<Reaped>();
        let body = move || receiver.into_iter().for_each(drop);
        thread::Builder::new().name("viva_free".into()).spawn(body).ok().map(|_| sender)
    };
    REAPER.get_or_init(start).as_ref()
}

/// Drops a value on the reaper's thread; here where there is none.
pub(super) fn reap(value: impl Any + Send) {
    if let Some(reaper) = reaper() {
        // Of a thread that is gone the value comes back in the error, and is dropped.
        let _ = reaper.send(Box::new(value));
    }
}

/// Waits until all that was handed in is dropped.
pub fn settle() {
    let (sender, receiver) = mpsc::channel::<()>();
    reap(sender);
    // Nothing is ever sent: it ends when the sender is dropped.
    let _ = receiver.recv();
}
