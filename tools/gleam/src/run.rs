//! `gleam run` and `gleam test`: builds, then becomes an `erl` that calls a module's `main`.
//!
//! Since this process is replaced by `erl`, signals, standard input and the exit status are the program's own.

use std::{os::unix::process::CommandExt, process::Command};

use gleam_core::{
    Error, Result,
    build::{Mode, Target},
};

use crate::{
    Main, dependencies,
    files::{Machine, program_failed},
    project::{Project, RootPackage, Work},
};

/// `suffix` is what the default module's name has after the package's.
pub fn run(project: &Project, suffix: &str, main: Main) -> Result<()> {
    let package = &project.config.name;
    let module = main.module.unwrap_or_else(|| format!("{package}{suffix}"));
    if !is_module_name(&module) {
        return Err(Error::InvalidModuleName { module });
    }
    let mut work = Work::new(Mode::Dev, &main.progress);
    let telemetry = work.telemetry();
    let manifest = dependencies::resolve(project, telemetry)?;
    let file = format!("src/{module}.gleam");
    let mut folders = manifest.packages.iter().filter_map(dependencies::folder);
    if folders.any(|folder| folder.join(&file).is_file()) {
        work.root_package = RootPackage::Skipped;
    }
    let built = project.compile(work, manifest)?;
    built.get_main_function(&module.as_str().into(), Target::Erlang)?;
    telemetry.running(&format!("{module}.main"));

    let mut erl = Command::new("erl");
    for path in Machine::default().list(
        &project
            .paths
            .build_directory_for_target(Mode::Dev, Target::Erlang),
    )? {
        erl.arg("-pa").arg(path.join("ebin"));
    }
    // The compiler core wrote the module package@@main, which sets up UTF-8 and prints errors.
    erl.arg("-eval")
        .arg(format!("{package}@@main:run({})", module.replace('/', "@")));
    erl.args(["-noshell", "-extra"]).args(main.arguments);
    Err(program_failed("erl")(erl.exec()))
}

/// The name goes into an Erlang expression, so it may hold nothing else.
fn is_module_name(name: &str) -> bool {
    name.split('/').all(|part| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part
                .chars()
                .all(|rest| rest.is_ascii_lowercase() || rest.is_ascii_digit() || rest == '_')
    })
}
