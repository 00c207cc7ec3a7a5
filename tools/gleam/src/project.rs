//! A project: the folder with a gleam.toml, and how its packages get compiled.
//!
//! `Project::find` → `build(Work)` → the dependencies are resolved, a lock is taken, the compiler core runs.
//! The surprise: `erl` is started before there is anything for it to compile, since it boots in the time that
//! the Gleam code takes to be analysed.

use std::{fs::File, rc::Rc, time::Instant};

use camino::Utf8Path;
use gleam_core::{
    Error, Result,
    analyse::TargetSupport,
    build::{
        Built, Codegen, Compile, Mode, NullTelemetry, Options, ProjectCompiler, Target, Telemetry,
    },
    config::PackageConfig,
    error::{FileIoAction as Action, FileKind as Kind},
    io::{FileSystemReader, FileSystemWriter},
    manifest::Manifest,
    paths::ProjectPaths,
};

use crate::{
    Progress, dependencies,
    files::{Machine, failed},
    report::{Narrator, Warnings},
};

pub struct Project {
    pub paths: ProjectPaths,
    pub config: PackageConfig,
}

/// What is to be done to a project's packages.
pub struct Work {
    pub mode: Mode,
    pub codegen: Codegen,
    pub root_package: RootPackage,
    pub warnings_as_errors: bool,
    pub quiet: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum RootPackage {
    Compiled,
    /// Only its dependencies are wanted, so it may have errors.
    Skipped,
}

impl Work {
    pub fn new(mode: Mode, progress: &Progress) -> Self {
        Self {
            mode,
            codegen: Codegen::All,
            root_package: RootPackage::Compiled,
            warnings_as_errors: false,
            quiet: progress.no_print_progress,
        }
    }

    /// Types and comments alone, for documentation.
    pub fn analysis() -> Self {
        Self {
            codegen: Codegen::None,
            ..Self::new(
                Mode::Prod,
                &Progress {
                    no_print_progress: false,
                },
            )
        }
    }

    pub fn telemetry(&self) -> &'static dyn Telemetry {
        if self.quiet {
            &NullTelemetry
        } else {
            &Narrator
        }
    }

    fn options(&self) -> Options {
        let (compile, root_target_support) = match self.root_package {
            RootPackage::Compiled => (Compile::All, TargetSupport::Enforced),
            RootPackage::Skipped => (Compile::DepsOnly, TargetSupport::NotEnforced),
        };
        Options {
            mode: self.mode,
            target: Some(Target::Erlang),
            compile,
            codegen: self.codegen,
            warnings_as_errors: self.warnings_as_errors,
            root_target_support,
            no_print_progress: self.quiet,
        }
    }
}

impl Project {
    /// The nearest one, from the current folder upwards.
    pub fn find() -> Result<Self> {
        let here = Machine::default().canonicalise(Utf8Path::new("."))?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("gleam.toml").is_file())
            .ok_or_else(|| Error::UnableToFindProjectRoot {
                path: here.to_string(),
            })?;
        let paths = ProjectPaths::new(root.into());
        let config = read_config(&paths.root_config())?;
        Ok(Self { paths, config })
    }

    pub fn build(&self, work: Work) -> Result<Built> {
        let manifest = dependencies::resolve(self, work.telemetry())?;
        self.compile(work, manifest)
    }

    pub fn compile(&self, work: Work, manifest: Manifest) -> Result<Built> {
        let (machine, telemetry) = (Machine::default(), work.telemetry());
        if matches!(work.codegen, Codegen::All) {
            machine.start_beam()?;
        }
        let lock_name = format!("gleam-{}.lock", work.mode);
        let _lock = lock(&self.paths.build_directory().join(lock_name), telemetry)?;
        let started = Instant::now();
        let compiler = ProjectCompiler::new(
            self.config.clone(),
            work.options(),
            manifest.packages,
            telemetry,
            Rc::new(Warnings),
            self.paths.clone(),
            machine,
        );
        let built = compiler.compile()?;
        match work.codegen {
            Codegen::All => telemetry.compiled_package(started.elapsed()),
            Codegen::DepsOnly | Codegen::None => telemetry.checked_package(started.elapsed()),
        }
        Ok(built)
    }
}

/// Reads a gleam.toml, and refuses one that wants another version of Gleam.
pub fn read_config(path: &Utf8Path) -> Result<PackageConfig> {
    let config = PackageConfig::read(path, &Machine::default())?;
    config.check_gleam_compatibility()?;
    Ok(config)
}

/// Held while its value lives: one `gleam` at a time writes to a build folder.
pub fn lock(path: &Utf8Path, telemetry: &dyn Telemetry) -> Result<File> {
    if let Some(folder) = path.parent() {
        Machine::default().mkdir(folder)?;
    }
    let file = File::create(path).map_err(failed(Action::Create, Kind::File, path))?;
    if file.try_lock().is_err() {
        telemetry.waiting_for_build_directory_lock();
        file.lock()
            .map_err(failed(Action::Lock, Kind::File, path))?;
    }
    Ok(file)
}
