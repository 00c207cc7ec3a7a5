//! What people read: progress, warnings and errors, on standard error.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use gleam_core::{Warning, build::Telemetry, manifest::PackageChanges, warning::WarningEmitterIO};
use termcolor::{Buffer, BufferWriter, Color, ColorChoice, ColorSpec, WriteColor};

/// Writes all of it at once, so that lines of two programs don't mix.
pub fn print(write: impl FnOnce(&mut Buffer)) {
    let colour = if std::io::stderr().is_terminal() {
        ColorChoice::Auto
    } else {
        ColorChoice::Never
    };
    let writer = BufferWriter::stderr(colour);
    let mut buffer = writer.buffer();
    write(&mut buffer);
    // There is nowhere to say that standard error is closed.
    let _ = writer.print(&buffer);
}

/// A line of progress: a verb in colour, aligned as in the official `gleam`, then what it is about.
pub fn progress(verb: &str, object: &str) {
    print(|buffer| {
        // As above.
        let _ = buffer.set_color(
            ColorSpec::new()
                .set_fg(Some(Color::Magenta))
                .set_intense(true),
        );
        let _ = write!(buffer, "{verb:>11}");
        let _ = buffer.reset();
        let _ = writeln!(buffer, " {object}");
    });
}

fn seconds(duration: Duration) -> String {
    format!("in {:.2}s", duration.as_secs_f64())
}

#[derive(Debug)]
pub struct Warnings;

impl WarningEmitterIO for Warnings {
    fn emit_warning(&self, warning: Warning) {
        print(|buffer| warning.pretty(buffer));
    }
}

#[derive(Debug)]
pub struct Narrator;

impl Telemetry for Narrator {
    fn waiting_for_build_directory_lock(&self) {
        progress("Waiting", "for another gleam that builds here");
    }

    fn running(&self, name: &str) {
        progress("Running", name);
    }

    fn resolving_package_versions(&self) {
        progress("Resolving", "versions");
    }

    fn resolved_package_versions(&self, changes: &PackageChanges) {
        for (name, version) in &changes.added {
            progress("Added", &format!("{name} v{version}"));
        }
        for change in &changes.changed {
            progress(
                "Changed",
                &format!("{} v{} -> v{}", change.name, change.old, change.new),
            );
        }
        for name in &changes.removed {
            progress("Removed", name);
        }
    }

    // Nothing is ever downloaded.
    fn downloading_package(&self, _name: &str) {}
    fn packages_downloaded(&self, _start: Instant, _count: usize) {}

    fn compiling_package(&self, name: &str) {
        progress("Compiling", name);
    }

    fn compiled_package(&self, duration: Duration) {
        progress("Compiled", &seconds(duration));
    }

    fn checking_package(&self, name: &str) {
        progress("Checking", name);
    }

    fn checked_package(&self, duration: Duration) {
        progress("Checked", &seconds(duration));
    }
}
