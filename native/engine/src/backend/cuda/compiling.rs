//! Pieces of code on their way to a device, a thread each: compiled or from the cache, or the PTX for any model, which the
//! driver compiles.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{cubin_cache, driver::Device, generic::Generic, module::Module, nvrtc::nvrtc, program::Piece};
use crate::error::{Error, Result};

#[derive(Debug)]
pub struct Compiling {
    device: Arc<Device>,
    /// By what a piece is known by.
    threads: Vec<(u128, JoinHandle<Result<Module>>)>,
}

impl Compiling {
    pub fn new(device: &Arc<Device>) -> Compiling {
        Compiling { device: Arc::clone(device), threads: vec![] }
    }

    /// Begins with those that are not yet under way.
    pub fn start(&mut self, pieces: &[Piece]) -> Result<()> {
        let architecture = nvrtc()?.architecture(self.device.capability);
        for piece in pieces {
            let key = piece.key(&architecture)?;
            let (piece, architecture) = (piece.clone(), architecture.clone());
            self.spawn(key, move || {
                if let Some(image) = cubin_cache::read(key) {
                    return Ok(image);
                }
                let image = piece.compile(&architecture, &[])?.image;
                cubin_cache::write(key, &image);
                Ok(image)
            })?;
        }
        Ok(())
    }

    /// The same with texts that are there, by name.
    pub fn start_generic(&mut self, generic: &'static Generic, names: Vec<String>) -> Result<()> {
        for name in names {
            self.spawn(cubin_cache::hash(&[name.as_bytes()]), move || generic.text(&name))?;
        }
        Ok(())
    }

    fn spawn(&mut self, key: u128, image: impl FnOnce() -> Result<Vec<u8>> + Send + 'static) -> Result<()> {
        if self.threads.iter().any(|(known, _)| *known == key) {
            return Ok(());
        }
        let device = Arc::clone(&self.device);
        let thread = thread::Builder::new().name("viva_nvrtc".into()).spawn(move || device.module(image()?));
        let failed = |error| Error::Internal { reason: format!("a thread to compile on: {error}") };
        self.threads.push((key, thread.map_err(failed)?));
        Ok(())
    }

    pub fn is_done(&self) -> bool {
        self.threads.iter().all(|(_, thread)| thread.is_finished())
    }

    /// Waits for all.
    pub fn module(&mut self) -> Result<Module> {
        let lost = |_| Error::Internal { reason: "the compiler's thread was lost".into() };
        let joined = self.threads.drain(..).map(|(_, thread)| thread.join().map_err(lost)?);
        Ok(Module::join(&self.device, joined.collect::<Result<_>>()?))
    }
}
