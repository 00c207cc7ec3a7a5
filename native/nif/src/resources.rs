//! What Erlang terms refer to: a load in progress, a model, a session.
//!
//! Each is an engine value in a lock that is only ever tried: a resource in use by another process answers
//! `Busy`, so no scheduler waits for a lock. A session also remembers the process whose turn it is, because a
//! turn spans many calls. The surprise: nothing big is dropped here. A destructor runs on whichever scheduler
//! thread lets go last, and freeing gigabytes takes long, so values are sent to a thread that only drops.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError, mpsc},
    thread,
};

use rustler::{Env, LocalPid, Resource};
use viva_tensor_engine::{
    error::{Error, Result},
    loaded::Model,
    loader::Loader,
    session::{Progress, Session, Status},
};

/// A load in progress; empty once it came to its end.
pub struct LoaderResource(Mutex<Option<Loader>>);

/// A loaded model; empty only while it is being dropped.
pub struct ModelResource(Option<Arc<Model>>);

/// A session and whose turn it is.
pub struct SessionResource(Mutex<Slot>);

pub struct Slot {
    /// `None` once closed.
    session: Option<Session>,
    /// Who submitted the prompt that is being answered.
    owner: Option<LocalPid>,
}

#[rustler::resource_impl(name = "viva_tensor_loader")]
impl Resource for LoaderResource {}

#[rustler::resource_impl(name = "viva_tensor_model")]
impl Resource for ModelResource {}

#[rustler::resource_impl(name = "viva_tensor_session")]
impl Resource for SessionResource {}

impl LoaderResource {
    pub fn new(loader: Loader) -> Self {
        LoaderResource(Mutex::new(Some(loader)))
    }

    pub fn lock(&self) -> Result<MutexGuard<'_, Option<Loader>>> {
        try_lock(&self.0)
    }
}

impl ModelResource {
    pub fn new(model: Arc<Model>) -> Self {
        ModelResource(Some(model))
    }

    pub fn model(&self) -> Result<&Arc<Model>> {
        self.0.as_ref().ok_or_else(|| Error::Internal { reason: "a model was used after its end".into() })
    }
}

impl SessionResource {
    pub fn new(session: Session) -> Self {
        SessionResource(Mutex::new(Slot { session: Some(session), owner: None }))
    }

    pub fn lock(&self) -> Result<MutexGuard<'_, Slot>> {
        try_lock(&self.0)
    }
}

impl Slot {
    /// The session, for a caller that starts a turn: nobody alive may be in the middle of one.
    pub fn start(&mut self, env: Env) -> Result<&mut Session> {
        match self.owner {
            Some(owner) if env.is_process_alive(owner) => Err(Error::Busy),
            _ => {
                self.owner = Some(env.pid());
                self.session.as_mut().ok_or_else(closed)
            }
        }
    }

    /// The session, for a caller that goes on with its own turn.
    pub fn resume(&mut self, env: Env) -> Result<&mut Session> {
        match self.owner {
            Some(owner) if owner != env.pid() && env.is_process_alive(owner) => Err(Error::Busy),
            _ => self.session.as_mut().ok_or_else(closed),
        }
    }

    /// The turn is over: the next one may come from anyone.
    pub fn release(&mut self) {
        self.owner = None;
    }

    /// After a step: a turn that finished or failed is over.
    pub fn settle(&mut self, result: &Result<Progress>) {
        let goes_on = match result {
            Ok(progress) => !matches!(progress.status, Status::Finished { .. }),
            // Another process's turn.
            Err(error) => *error == Error::Busy,
        };
        if !goes_on {
            self.release();
        }
    }

    /// Ends the session and frees its cache; to close twice does no harm.
    pub fn close(&mut self, env: Env) -> Result<()> {
        if self.session.is_some() {
            self.resume(env)?;
        }
        self.release();
        reap(self.session.take());
        Ok(())
    }
}

fn closed() -> Error {
    let (option, expected, found) = ("session".into(), "an open session".into(), "a closed one".into());
    Error::InvalidOption { option, expected, found }
}

/// For a step of a load that came to its end.
pub fn finished() -> Error {
    let (option, expected, found) = ("loader".into(), "a load in progress".into(), "a finished one".into());
    Error::InvalidOption { option, expected, found }
}

fn try_lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    mutex.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Error::Busy,
        TryLockError::Poisoned(_) => {
            Error::Internal { reason: "an earlier call failed half way; open a new session".into() }
        }
    })
}

impl Drop for LoaderResource {
    fn drop(&mut self) {
        reap(into_inner(&mut self.0).take());
    }
}

impl Drop for ModelResource {
    fn drop(&mut self) {
        reap(self.0.take());
    }
}

impl Drop for SessionResource {
    fn drop(&mut self) {
        reap(into_inner(&mut self.0).session.take());
    }
}

fn into_inner<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Drops a value on a thread of its own.
pub fn reap<T: Send + 'static>(value: Option<T>) {
    static REAPER: OnceLock<Option<mpsc::Sender<Box<dyn Any + Send>>>> = OnceLock::new();
    let Some(value) = value else { return };
    let reaper = REAPER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel();
        let body = move || receiver.into_iter().for_each(drop);
        thread::Builder::new().name("viva_reaper".into()).spawn(body).ok().map(|_| sender)
    });
    if let Some(sender) = reaper {
        // Without the thread the value comes back in the error and is dropped here.
        let _ = sender.send(Box::new(value));
    }
}
