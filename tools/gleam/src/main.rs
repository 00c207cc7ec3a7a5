//! A small `gleam` command line for machines that have Rust but not the official `gleam`.
//!
//! The compiler is the official one (the crate `geam-gleam-core`); this is the shell around it: it finds the
//! project, hands its packages to the compiler, and runs `erl`. It knows the commands that viva_tensor is
//! developed with, and packages whose dependencies all have a path. There is no formatter, no JavaScript,
//! no Hex: for those install the official `gleam`, which takes precedence wherever it is on PATH.

mod beam;
mod dependencies;
mod documentation;
mod files;
mod package;
mod project;
mod report;
mod run;
mod shipment;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand};
use gleam_core::{
    Result,
    build::{Codegen, Mode, Target},
    io::FileSystemWriter,
    version::COMPILER_VERSION,
};

use crate::{
    files::Machine,
    project::{Project, Work},
};

#[derive(Parser)]
#[command(name = "gleam", version = COMPILER_VERSION, about = "The Gleam compiler, with viva_tensor's small set of commands")]
enum Gleam {
    /// Build the project
    Build {
        /// Fail if the project's own modules give any warning
        #[arg(long)]
        warnings_as_errors: bool,
        #[command(flatten)]
        progress: Progress,
    },
    /// Type check the project
    Check(Progress),
    /// Run the project, or another module's `main`
    Run(Main),
    /// Run the tests: the `main` of `<package>_test`
    Test(Main),
    /// Delete all that was built
    Clean,
    /// Compile a single package against compiled ones, as other build tools do
    CompilePackage(SinglePackage),
    /// Documentation
    #[command(subcommand)]
    Docs(Docs),
    /// What other tools take from the project
    #[command(subcommand)]
    Export(Export),
}

#[derive(Args)]
struct Progress {
    /// Print errors and warnings only
    #[arg(long)]
    no_print_progress: bool,
}

#[derive(Args)]
struct Main {
    /// The module whose `main` is run, written as in an import
    #[arg(short, long)]
    module: Option<String>,
    #[command(flatten)]
    progress: Progress,
    /// What the program gets as its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Args)]
struct SinglePackage {
    /// erlang is the only one
    #[arg(long, ignore_case = true)]
    target: Target,
    /// The folder of the package
    #[arg(long)]
    package: Utf8PathBuf,
    /// Where the compiled package goes
    #[arg(long)]
    out: Utf8PathBuf,
    /// The folder of the compiled packages that it may import
    #[arg(long)]
    lib: Utf8PathBuf,
    /// Stop at Erlang source
    #[arg(long)]
    no_beam: bool,
}

#[derive(Subcommand)]
enum Docs {
    /// Render HTML to build/dev/docs
    Build,
}

#[derive(Subcommand)]
enum Export {
    /// Compiled code with a start script, to build/erlang-shipment
    ErlangShipment,
    /// Modules, types and functions as JSON
    PackageInterface {
        #[arg(long)]
        out: Utf8PathBuf,
    },
}

fn main() {
    if let Err(error) = carry_out(Gleam::parse()) {
        report::print(|buffer| error.pretty(buffer));
        std::process::exit(1);
    }
}

fn carry_out(command: Gleam) -> Result<()> {
    match command {
        Gleam::Build {
            warnings_as_errors,
            progress,
        } => {
            let work = Work {
                warnings_as_errors,
                ..Work::new(Mode::Dev, &progress)
            };
            Project::find()?.build(work).map(drop)
        }
        Gleam::Check(progress) => {
            let work = Work {
                codegen: Codegen::DepsOnly,
                ..Work::new(Mode::Dev, &progress)
            };
            Project::find()?.build(work).map(drop)
        }
        Gleam::Run(main) => run::run(&Project::find()?, "", main),
        Gleam::Test(main) => run::run(&Project::find()?, "_test", main),
        Gleam::Clean => {
            Machine::default().delete_directory(&Project::find()?.paths.build_directory())
        }
        Gleam::CompilePackage(single) => package::compile(&single),
        Gleam::Docs(Docs::Build) => documentation::build(&Project::find()?),
        Gleam::Export(Export::ErlangShipment) => shipment::export(&Project::find()?),
        Gleam::Export(Export::PackageInterface { out }) => {
            documentation::export_interface(&Project::find()?, out)
        }
    }
}
