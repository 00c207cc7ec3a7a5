//! `gleam export erlang-shipment`: the compiled packages and a script that starts them, with no tool needed but `erl`.
//!
//! All is compiled anew in production mode, so that no beam of a module that is gone gets shipped.

use std::{fs, os::unix::fs::PermissionsExt};

use gleam_core::{
    Result,
    build::{Mode, Target},
    error::{FileIoAction as Action, FileKind as Kind},
    io::FileSystemWriter,
};

use crate::{
    Progress,
    files::{Machine, failed},
    project::{Project, Work},
    report::progress,
};

const SHIPPED: [&str; 3] = ["ebin", "priv", "include"];

pub fn export(project: &Project) -> Result<()> {
    let (machine, paths, name) = (Machine::default(), &project.paths, &project.config.name);
    let (from, to) = (
        paths.build_directory_for_target(Mode::Prod, Target::Erlang),
        paths.erlang_shipment_directory(),
    );
    machine.delete_directory(&from)?;
    machine.delete_directory(&to)?;
    project.build(Work::new(
        Mode::Prod,
        &Progress {
            no_print_progress: false,
        },
    ))?;
    for package in machine.list(&from)? {
        for part in SHIPPED
            .into_iter()
            .filter(|part| package.join(part).is_dir())
        {
            let to = to.join(package.file_name().unwrap_or_default()).join(part);
            machine.copy_dir(&package.join(part), &to)?;
        }
    }
    let script = to.join("entrypoint.sh");
    machine.write(
        &script,
        &include_str!("entrypoint.sh").replace("PACKAGE", name),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(failed(
        Action::UpdatePermissions,
        Kind::File,
        &script,
    ))?;
    progress("Exported", to.as_str());
    Ok(())
}
