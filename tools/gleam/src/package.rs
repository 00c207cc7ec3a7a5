//! `gleam compile-package`: one package, against packages that are compiled already. Mix calls it this way.
//!
//! The modules of the other packages are known by the .cache files that the compiler left beside them.

use std::{collections::HashSet, rc::Rc};

use gleam_core::{
    Error, Result,
    build::{Mode, NullTelemetry, PackageCompiler, StaleTracker, TargetCodegenConfiguration},
    error::{FileIoAction as Action, FileKind as Kind},
    io::{FileSystemReader, files_with_extension},
    metadata,
    paths::ARTEFACT_DIRECTORY_NAME,
    uid::UniqueIdGenerator,
    warning::WarningEmitter,
};

use crate::{
    SinglePackage,
    files::{Machine, failed},
    project::read_config,
    report::Warnings,
};

pub fn compile(single: &SinglePackage) -> Result<()> {
    if !single.target.is_erlang() {
        // What the official one says when it misses the part of JavaScript that this one has not.
        return Err(Error::JavaScriptPreludeRequired);
    }
    let (machine, ids) = (Machine::default(), UniqueIdGenerator::new());
    let config = read_config(&single.package.join("gleam.toml"))?;
    let mut importable = im::HashMap::new();
    for library in machine.list(&single.lib)? {
        let artefacts = library.join(ARTEFACT_DIRECTORY_NAME);
        for path in files_with_extension(&machine, &artefacts, "cache") {
            let module = metadata::decode(&machine.read_bytes(&path)?, ids.clone())
                .map_err(std::io::Error::other)
                .map_err(failed(Action::Parse, Kind::File, &path))?;
            importable.insert(module.name.clone(), module);
        }
    }
    let target = TargetCodegenConfiguration::Erlang { app_file: None };
    let mut compiler = PackageCompiler::new(
        &config,
        Mode::Dev,
        &single.package,
        &single.out,
        &single.lib,
        &target,
        ids,
        machine,
    );
    compiler.compile_beam_bytecode = !single.no_beam;
    compiler
        .compile(
            &WarningEmitter::new(Rc::new(Warnings)),
            &mut importable,
            &mut im::HashMap::new(),
            &mut StaleTracker::default(),
            &mut HashSet::new(),
            &NullTelemetry,
        )
        .into_result()
        .map(drop)
}
