//! The file system and other programs, as the compiler core asks for them.
//!
//! Each call is one call of the standard library, whose error is named with its path. `Machine` is cloned freely by
//! the core; its clones share one BEAM.

use std::{
    cell::RefCell,
    collections::HashSet,
    fs, io,
    os::unix::fs::{MetadataExt, symlink},
    process,
    rc::Rc,
    time::SystemTime,
};

use camino::{Utf8Path, Utf8PathBuf};
use gleam_core::{
    Error, Result,
    error::{
        FileIoAction as Action, FileKind as Kind, ShellCommandFailureReason as Reason, parse_os,
    },
    io::{
        BeamCompilerIO, Command, CommandExecutor, DirEntry, FileSystemReader, FileSystemWriter,
        OutputFile, ReadDir, Stdio, WrappedReader,
    },
    paths::ARTEFACT_DIRECTORY_NAME,
};

use crate::beam::Beam;

/// Gives an I/O error the action and path that it is about.
pub fn failed(
    action: Action,
    kind: Kind,
    path: &Utf8Path,
) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| Error::FileIo {
        action,
        kind,
        path,
        err: Some(error.to_string()),
    }
}

/// The same for a program that could not be run; one that is not there is reported with how to install it.
pub fn program_failed(program: &str) -> impl FnOnce(io::Error) -> Error + use<> {
    let program = program.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::NotFound => Error::ShellProgramNotFound {
            program,
            os: parse_os(std::env::consts::OS, ""),
        },
        kind => Error::ShellCommand {
            program,
            reason: Reason::IoError(kind),
        },
    }
}

#[derive(Clone, Default)]
pub struct Machine {
    beam: Rc<RefCell<Option<Beam>>>,
}

impl Machine {
    /// Lets the BEAM boot while the Gleam code is being analysed.
    pub fn start_beam(&self) -> Result<()> {
        let mut beam = self.beam.borrow_mut();
        if beam.is_none() {
            *beam = Some(Beam::start()?);
        }
        Ok(())
    }

    /// The paths of what is directly in a folder.
    pub fn list(&self, folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
        let entries = self.read_dir(folder)?.into_iter();
        let paths = entries
            .map(|entry| entry.map(DirEntry::into_path))
            .collect::<io::Result<Vec<_>>>();
        paths.map_err(failed(Action::Read, Kind::Directory, folder))
    }

    pub fn write_all(&self, outputs: &[OutputFile], folder: &Utf8Path) -> Result<()> {
        for output in outputs {
            self.write_bytes(&folder.join(&output.path), output.content.as_bytes())?;
        }
        Ok(())
    }
}

impl FileSystemReader for Machine {
    fn read_dir(&self, path: &Utf8Path) -> Result<ReadDir> {
        let entries = path
            .read_dir_utf8()
            .map_err(failed(Action::Read, Kind::Directory, path))?;
        Ok(entries
            .map(|entry| Ok(DirEntry::from_pathbuf(entry?.into_path())))
            .collect())
    }

    fn read(&self, path: &Utf8Path) -> Result<String> {
        fs::read_to_string(path).map_err(failed(Action::Read, Kind::File, path))
    }

    fn read_bytes(&self, path: &Utf8Path) -> Result<Vec<u8>> {
        fs::read(path).map_err(failed(Action::Read, Kind::File, path))
    }

    fn reader(&self, path: &Utf8Path) -> Result<WrappedReader> {
        let file = fs::File::open(path).map_err(failed(Action::Open, Kind::File, path))?;
        Ok(WrappedReader::new(path, Box::new(file)))
    }

    fn is_file(&self, path: &Utf8Path) -> bool {
        path.is_file()
    }

    fn is_directory(&self, path: &Utf8Path) -> bool {
        path.is_dir()
    }

    fn is_same_file(&self, left: &Utf8Path, right: &Utf8Path) -> Result<bool> {
        let identity = |path: &Utf8Path| {
            let metadata =
                fs::metadata(path).map_err(failed(Action::ReadMetadata, Kind::File, path))?;
            Ok::<_, Error>((metadata.dev(), metadata.ino()))
        };
        Ok(identity(left)? == identity(right)?)
    }

    fn modification_time(&self, path: &Utf8Path) -> Result<SystemTime> {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
        modified.map_err(failed(Action::ReadMetadata, Kind::File, path))
    }

    fn canonicalise(&self, path: &Utf8Path) -> Result<Utf8PathBuf> {
        path.canonicalize_utf8()
            .map_err(failed(Action::Canonicalise, Kind::File, path))
    }
}

impl FileSystemWriter for Machine {
    fn mkdir(&self, path: &Utf8Path) -> Result<()> {
        fs::create_dir_all(path).map_err(failed(Action::Create, Kind::Directory, path))
    }

    fn write(&self, path: &Utf8Path, content: &str) -> Result<()> {
        self.write_bytes(path, content.as_bytes())
    }

    /// Makes the folders above the file, too: the core counts on that.
    fn write_bytes(&self, path: &Utf8Path, content: &[u8]) -> Result<()> {
        if let Some(folder) = path.parent() {
            self.mkdir(folder)?;
        }
        fs::write(path, content).map_err(failed(Action::WriteTo, Kind::File, path))
    }

    fn delete_directory(&self, path: &Utf8Path) -> Result<()> {
        unless_absent(fs::remove_dir_all(path)).map_err(failed(
            Action::Delete,
            Kind::Directory,
            path,
        ))
    }

    fn delete_file(&self, path: &Utf8Path) -> Result<()> {
        unless_absent(fs::remove_file(path)).map_err(failed(Action::Delete, Kind::File, path))
    }

    fn copy(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        let copied = fs::copy(from, to).map(drop);
        copied.map_err(failed(Action::Copy(Some(to.to_owned())), Kind::File, from))
    }

    /// Copies what is in `from`; `to` is made.
    fn copy_dir(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        self.mkdir(to)?;
        for path in self.list(from)? {
            let to = to.join(path.file_name().unwrap_or_default());
            if path.is_dir() {
                self.copy_dir(&path, &to)?
            } else {
                self.copy(&path, &to)?
            }
        }
        Ok(())
    }

    fn hardlink(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        fs::hard_link(from, to).map_err(failed(Action::Link(to.to_owned()), Kind::File, from))
    }

    /// The link holds an absolute path, since `from` is relative to where `gleam` runs, not to the link.
    fn symlink_dir(&self, from: &Utf8Path, to: &Utf8Path) -> Result<()> {
        let from = self.canonicalise(from)?;
        symlink(&from, to).map_err(failed(Action::Link(to.to_owned()), Kind::Directory, &from))
    }

    fn exists(&self, path: &Utf8Path) -> bool {
        path.exists()
    }
}

fn unless_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

impl CommandExecutor for Machine {
    fn exec(
        &self,
        Command {
            program,
            args,
            env,
            cwd,
            stdio,
        }: Command,
    ) -> Result<i32> {
        let mut command = process::Command::new(&program);
        command
            .args(args)
            .envs(env)
            .stdin(stdio.get_process_stdio())
            .stdout(stdio.get_process_stdio());
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let status = command.status().map_err(program_failed(&program))?;
        Ok(status.code().unwrap_or(1))
    }
}

impl BeamCompilerIO for Machine {
    fn compile_beam(
        &self,
        out: &Utf8Path,
        lib: &Utf8Path,
        modules: &HashSet<Utf8PathBuf>,
        stdio: Stdio,
    ) -> Result<Vec<String>> {
        self.start_beam()?;
        let artefacts = out.join(ARTEFACT_DIRECTORY_NAME);
        let mut sources: Vec<_> = modules
            .iter()
            .map(|module| artefacts.join(module))
            .collect();
        sources.sort();
        let mut beam = self.beam.borrow_mut();
        let compiled = match beam.as_mut() {
            Some(beam) => beam.compile(lib, &out.join("ebin"), &sources, stdio),
            None => Err(Error::ShellCommand {
                program: "erl".into(),
                reason: Reason::Unknown,
            }),
        };
        if compiled.is_err() {
            // A copy of a source that is as new as the source counts as compiled: the next build would be green.
            for source in &sources {
                self.delete_file(source)?;
            }
        }
        compiled
    }
}
