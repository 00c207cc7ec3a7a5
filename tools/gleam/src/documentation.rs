//! `gleam docs build` and `gleam export package-interface`: what the types and comments say, as HTML and as JSON.
//!
//! The surprise: a module that comes from the cache has lost its comments, so the root package is analysed anew.

use std::time::SystemTime;

use camino::Utf8PathBuf;
use gleam_core::{
    Result,
    build::{Built, Mode, Target},
    config::DocsPage,
    docs::{self, Dependency, DependencyKind, DocContext, DocumentationConfig},
    io::{FileSystemWriter, OutputFile},
    manifest::Manifest,
};

use crate::{
    dependencies,
    files::Machine,
    project::{Project, Work},
    report::{Narrator, progress},
};

pub fn build(project: &Project) -> Result<()> {
    let (machine, Project { paths, config }) = (Machine::default(), project);
    let manifest = dependencies::resolve(project, &Narrator)?;
    let dependencies = manifest.packages.iter().map(|package| {
        (
            package.name.clone(),
            Dependency {
                version: package.version.clone(),
                kind: DependencyKind::Path,
            },
        )
    });
    let dependencies = dependencies.collect();
    let mut built = analyse(project, manifest)?;
    let interface = interface(&mut built, "package-interface.json".into());
    progress("Generating", "documentation");
    let mut pages = vec![DocsPage {
        title: "README".into(),
        path: "index.html".into(),
        source: paths.readme(),
    }];
    pages.extend(config.documentation.pages.iter().cloned());
    let documentation = DocumentationConfig {
        package_config: config,
        dependencies,
        analysed: &built.root_package.modules,
        docs_pages: &pages,
        rendering_timestamp: SystemTime::now(),
        context: DocContext::Build,
    };
    let mut files = docs::generate_html(paths, documentation, machine.clone());
    files.push(interface);
    let out = paths.build_documentation_directory(&config.name);
    machine.delete_directory(&out)?;
    machine.write_all(&files, &out)?;
    progress("Rendered", out.join("index.html").as_str());
    Ok(())
}

pub fn export_interface(project: &Project, out: Utf8PathBuf) -> Result<()> {
    let manifest = dependencies::resolve(project, &Narrator)?;
    let mut built = analyse(project, manifest)?;
    Machine::default().write_all(&[interface(&mut built, out)], project.paths.root())
}

fn analyse(project: &Project, manifest: Manifest) -> Result<Built> {
    let name = &project.config.name;
    let cache = project
        .paths
        .build_directory_for_package(Mode::Prod, Target::Erlang, name);
    Machine::default().delete_directory(&cache)?;
    project.compile(Work::analysis(), manifest)
}

fn interface(built: &mut Built, path: Utf8PathBuf) -> OutputFile {
    built.root_package.attach_doc_and_module_comments();
    docs::generate_json_package_interface(path, &built.root_package, &built.module_interfaces)
}
