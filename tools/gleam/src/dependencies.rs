//! The packages that a project depends on, all of which have a path.
//!
//! gleam.toml → every package reached through paths → manifest.toml, written when it changes. A package may also
//! ask for a version of another; one of the packages with a path has to be that.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};
use ecow::EcoString;
use gleam_core::{
    Error, Result,
    build::{Mode, Target, Telemetry},
    error::{FileIoAction as Action, FileKind as Kind},
    io::{FileSystemReader, FileSystemWriter},
    manifest::{Manifest, ManifestPackage, ManifestPackageSource, PackageChanges},
    requirement::Requirement,
};

use crate::{
    files::{Machine, failed},
    project::{Project, lock, read_config},
};

type Requirements = HashMap<EcoString, Requirement>;

/// Where a package's files lie, if they lie at a path.
pub fn folder(package: &ManifestPackage) -> Option<&Utf8Path> {
    match &package.source {
        ManifestPackageSource::Local { path } => Some(path),
        ManifestPackageSource::Hex { .. } | ManifestPackageSource::Git { .. } => None,
    }
}

pub fn resolve(project: &Project, telemetry: &dyn Telemetry) -> Result<Manifest> {
    let (machine, paths) = (Machine::default(), &project.paths);
    let _lock = lock(
        &paths.build_packages_directory().join("gleam.lock"),
        telemetry,
    )?;
    let requirements = project.config.all_direct_dependencies()?;
    let mut search = Search::default();
    search.follow(paths.root(), &requirements)?;
    let packages = search.finish()?;
    let new = Manifest {
        requirements,
        packages,
    };

    let path = paths.manifest();
    let text = if path.is_file() {
        Some(machine.read(&path)?)
    } else {
        None
    };
    let new_text = new.to_toml(paths.root());
    if text.as_ref() == Some(&new_text) {
        return Ok(new);
    }
    let old = match text {
        Some(text) => toml::from_str(&text).map_err(|error| {
            failed(Action::Parse, Kind::File, &path)(std::io::Error::other(error.to_string()))
        })?,
        None => Manifest {
            requirements: HashMap::new(),
            packages: vec![],
        },
    };
    let changes = PackageChanges::between_manifests(&old, &new);
    for name in &changes.removed {
        for mode in [Mode::Dev, Mode::Prod] {
            machine.delete_directory(&paths.build_directory_for_package(
                mode,
                Target::Erlang,
                name,
            ))?;
        }
    }
    machine.write(&path, &new_text)?;
    telemetry.resolved_package_versions(&changes);
    Ok(new)
}

#[derive(Default)]
struct Search {
    found: HashMap<EcoString, ManifestPackage>,
    /// Who asks for a version of a package without saying where it is.
    wanted: Vec<(Utf8PathBuf, EcoString, Requirement)>,
}

impl Search {
    fn follow(&mut self, base: &Utf8Path, requirements: &Requirements) -> Result<()> {
        for (name, requirement) in requirements {
            match requirement {
                Requirement::Path { path } if !self.found.contains_key(name) => {
                    self.add(name, &base.join(path))?
                }
                Requirement::Path { .. } => (),
                other => self
                    .wanted
                    .push((base.to_owned(), name.clone(), other.clone())),
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &EcoString, path: &Utf8Path) -> Result<()> {
        let path = Machine::default().canonicalise(path)?;
        let config = read_config(&path.join("gleam.toml"))?;
        if config.name != *name {
            let (expected, found) = (name.to_string(), config.name.to_string());
            return Err(Error::WrongDependencyProvided {
                path,
                expected,
                found,
            });
        }
        let package = ManifestPackage {
            name: name.clone(),
            version: config.version.clone(),
            build_tools: vec!["gleam".into()],
            otp_app: None,
            requirements: config.dependencies.keys().cloned().collect(),
            source: ManifestPackageSource::Local { path: path.clone() },
        };
        // Noted before its own dependencies are followed, so that a cycle ends here.
        self.found.insert(name.clone(), package);
        self.follow(&path, &config.dependencies)
    }

    fn finish(self) -> Result<Vec<ManifestPackage>> {
        for (asker, name, requirement) in &self.wanted {
            let provided = self
                .found
                .get(name)
                .is_some_and(|package| match requirement {
                    Requirement::Hex { version } => version.to_pubgrub().contains(&package.version),
                    Requirement::Path { .. } | Requirement::Git { .. } => false,
                });
            if !provided {
                return Err(Error::DependencyResolutionError(format!(
                    "{asker} depends on {name}, and no package with a path provides what it asks for. \
                     This gleam fetches nothing: the official one (https://gleam.run) does."
                )));
            }
        }
        let mut packages: Vec<_> = self.found.into_values().collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(packages)
    }
}
