//! The BEAM's own compilers, behind a pipe.
//!
//! `erl` runs compiler.erl, which takes one request a line on its standard input and answers with one line that
//! starts with a record separator; any other line is what a compiler had to say. It ends when its input does.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio as Pipe},
};

use camino::{Utf8Path, Utf8PathBuf};
use gleam_core::{Error, Result, error::ShellCommandFailureReason as Reason, io::Stdio};

use crate::files::program_failed;

pub struct Beam {
    process: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    used: bool,
}

impl Beam {
    pub fn start() -> Result<Self> {
        let mut process = Command::new("erl")
            .args([
                "-boot",
                "no_dot_erlang",
                "-noshell",
                "-eval",
                include_str!("compiler.erl"),
            ])
            .stdin(Pipe::piped())
            .stdout(Pipe::piped())
            .spawn()
            .map_err(program_failed("erl"))?;
        let requests = process.stdin.take();
        let answers = process
            .stdout
            .take()
            .ok_or_else(|| broken(Reason::Unknown))?;
        Ok(Self {
            process,
            requests,
            answers: BufReader::new(answers),
            used: false,
        })
    }

    /// Compiles Erlang and Elixir files into `ebin`, with the packages in `lib` at hand; returns the modules' names.
    pub fn compile(
        &mut self,
        lib: &Utf8Path,
        ebin: &Utf8Path,
        sources: &[Utf8PathBuf],
        stdio: Stdio,
    ) -> Result<Vec<String>> {
        self.used = true;
        let sources: Vec<_> = sources.iter().map(|source| erlang_string(source)).collect();
        let (lib, ebin, sources) = (erlang_string(lib), erlang_string(ebin), sources.join(", "));
        let mut requests = self
            .requests
            .as_ref()
            .ok_or_else(|| broken(Reason::Unknown))?;
        writeln!(requests, "{{compile, {lib}, {ebin}, [{sources}]}}.")
            .map_err(|error| broken(Reason::IoError(error.kind())))?;

        let mut line = String::new();
        loop {
            line.clear();
            let read = self
                .answers
                .read_line(&mut line)
                .map_err(|error| broken(Reason::IoError(error.kind())))?;
            match line.strip_prefix('\x1e').map(str::trim_end) {
                Some("failed") => return Err(broken(Reason::Unknown)),
                Some(answer) => return Ok(answer.split(' ').skip(1).map(str::to_owned).collect()),
                None if read == 0 => return Err(broken(Reason::Unknown)),
                None if stdio == Stdio::Inherit => print!("{line}"),
                None => (),
            }
        }
    }
}

impl Drop for Beam {
    fn drop(&mut self) {
        drop(self.requests.take());
        if !self.used {
            // It is still booting and has nothing to finish; a BEAM that is gone already can't be killed, which is fine.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn broken(reason: Reason) -> Error {
    Error::ShellCommand {
        program: "erl".into(),
        reason,
    }
}

/// The path as an Erlang string literal; characters beyond ASCII by number, so that no encoding matters.
fn erlang_string(path: &Utf8Path) -> String {
    let mut literal = String::from("\"");
    for character in path.as_str().chars() {
        match character {
            '"' | '\\' => literal.extend(['\\', character]),
            ' '..='~' => literal.push(character),
            // Writing to a String can't fail.
            _ => drop(write!(literal, "\\x{{{:x}}}", u32::from(character))),
        }
    }
    literal.push('"');
    literal
}
