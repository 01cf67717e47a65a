//! Finds a template and renders it, whole or not at all.
//!
//! A file that ends in `.j2` is rendered; every other file is copied as it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior, context};

use super::name::Name;
use crate::checkout::Checkout;

/// A folder of files to render.
#[derive(Debug)]
pub(crate) struct Template {
    name: String,
    folder: PathBuf,
}

/// What a template may mention.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    /// The service's name.
    pub(crate) name: &'a Name,
    /// The port of its HTTP gateway.
    pub(crate) port: u16,
    /// What it is built against.
    pub(crate) checkout: &'a Checkout,
}

/// Why nothing was created.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub(crate) enum TemplateError {
    /// No such template.
    #[error("there is no template `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The nearest name, or all of them.
        #[help]
        remedy: String,
    },
    /// The folder to put the service into is not there.
    #[error("there is no folder `{}` to put the service into", folder.display())]
    #[diagnostic(help("create it first: mkdir -p {}", super::shell_word(folder)))]
    NoFolder {
        /// Which.
        folder: PathBuf,
    },
    /// Something is where the service would be.
    #[error("`{}` exists already", folder.display())]
    #[diagnostic(help(
        "nothing is ever overwritten: take another name, put it elsewhere with `--path DIR`, or remove it first"
    ))]
    Exists {
        /// Which.
        folder: PathBuf,
    },
    /// The file system said no.
    #[error("failed to {doing} `{}`", path.display())]
    #[diagnostic(help("nothing was created; see that the folder can be written to, and try again"))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The template has a mistake.
    #[error("failed to render `{}`", path.display())]
    #[diagnostic(help("nothing was created; this is a mistake of the template: {reason}"))]
    Render {
        /// Which file.
        path: PathBuf,
        /// With the place.
        reason: String,
        /// What the engine said.
        source: minijinja::Error,
    },
}

/// Makes a [`TemplateError::Io`] of what was tried.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TemplateError {
    let path = path.to_owned();
    move |source| TemplateError::Io { doing, path, source }
}

/// The folder of a new service.
pub(crate) fn target(parent: &Path, name: &Name) -> Result<PathBuf, TemplateError> {
    let Some(absolute) = parent.canonicalize().ok().filter(|absolute| absolute.is_dir()) else {
        return Err(TemplateError::NoFolder { folder: parent.to_owned() });
    };
    let folder = absolute.join(name.as_str());
    match folder.symlink_metadata() {
        Ok(_) => Err(TemplateError::Exists { folder }),
        Err(_) => Ok(folder),
    }
}

impl Template {
    /// The template of a name.
    pub(crate) fn find(templates: &Path, name: &str) -> Result<Self, TemplateError> {
        let mut known = Vec::new();
        for entry in fs::read_dir(templates).map_err(failed("list", templates))? {
            let entry = entry.map_err(failed("list", templates))?;
            if entry.path().is_dir() {
                known.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        known.sort();
        if known.iter().any(|known| known == name) {
            return Ok(Self { name: name.to_owned(), folder: templates.join(name) });
        }
        let nearest = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(known, &name.to_lowercase()), known))
            .min()
            .filter(|(distance, known)| *distance <= known.len() / 2);
        let remedy = match nearest {
            Some((_, nearest)) => format!("did you mean `{nearest}`? The templates are: {}", known.join(", ")),
            None => format!("the templates are: {}", known.join(", ")),
        };
        Err(TemplateError::Unknown { name: name.to_owned(), remedy })
    }

    /// Renders the template into a folder that is not there yet. A failure leaves nothing behind.
    pub(crate) fn render(&self, values: &Values<'_>, folder: &Path) -> Result<(), TemplateError> {
        let draft = Draft::beside(folder)?;
        let renderer = Renderer::new(&self.name, values);
        renderer.folder(&self.folder, &draft.0)?;
        let lock = draft.0.join("Cargo.lock");
        fs::copy(values.checkout.lock_file(), &lock).map_err(failed("write", &lock))?;
        draft.publish(folder)
    }
}

/// The half-done service, which goes away unless it is published.
struct Draft(PathBuf);

impl Draft {
    fn beside(folder: &Path) -> Result<Self, TemplateError> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let draft = folder.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::create_dir(&draft).map_err(failed("create", &draft))?;
        Ok(Self(draft))
    }

    fn publish(self, folder: &Path) -> Result<(), TemplateError> {
        // somebody else may have been faster; a folder with something in it is never replaced by a rename
        if folder.symlink_metadata().is_ok() {
            return Err(TemplateError::Exists { folder: folder.to_owned() });
        }
        fs::rename(&self.0, folder).map_err(failed("create", folder))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // after a rename there is nothing to remove; and where removing fails, the first error is the one to tell
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The template engine with the values of one service.
struct Renderer {
    engine: Environment<'static>,
    values: minijinja::Value,
}

impl Renderer {
    fn new(template: &str, values: &Values<'_>) -> Self {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let root = values.checkout.root();
        let values = context! {
            name => values.name.as_str(),
            crate_name => values.name.crate_name(),
            template => template,
            port => values.port,
            checkout => root.to_string_lossy(),
            runtime => toml_string(&values.checkout.runtime().to_string_lossy()),
        };
        Self { engine, values }
    }

    fn folder(&self, from: &Path, to: &Path) -> Result<(), TemplateError> {
        for entry in fs::read_dir(from).map_err(failed("list", from))? {
            let source = entry.map_err(failed("list", from))?.path();
            let Some(name) = source.file_name() else { continue };
            let target = to.join(name);
            if source.is_dir() {
                fs::create_dir(&target).map_err(failed("create", &target))?;
                self.folder(&source, &target)?;
            } else if source.extension().is_some_and(|extension| extension == "j2") {
                self.file(&source, &target.with_extension(""))?;
            } else {
                fs::copy(&source, &target).map_err(failed("write", &target))?;
            }
        }
        Ok(())
    }

    fn file(&self, source: &Path, target: &Path) -> Result<(), TemplateError> {
        let text = fs::read_to_string(source).map_err(failed("read", source))?;
        let rendered =
            self.engine.render_named_str(&source.to_string_lossy(), &text, &self.values).map_err(|error| {
                TemplateError::Render { path: source.to_owned(), reason: error.to_string(), source: error }
            })?;
        // the engine takes the last line's end away
        fs::write(target, rendered + "\n").map_err(failed("write", target))
    }
}

/// A TOML string: its escapes are those of JSON.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(render: impl FnOnce(&Values<'_>)) {
        let checkout = Checkout::find().expect("the checkout of this test");
        let name = Name::new("demo").expect("a good name");
        render(&Values { name: &name, port: 8080, checkout: &checkout });
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let parent = tempfile::tempdir().expect("a folder");
        let templates = tempfile::tempdir().expect("a folder");
        let broken = templates.path().join("broken");
        fs::create_dir_all(broken.join("src")).expect("a folder");
        fs::write(broken.join("a.txt"), "fine").expect("a file");
        fs::write(broken.join("src/b.rs.j2"), "{{ no_such_value }}").expect("a file");
        let template = Template::find(templates.path(), "broken").expect("the template");
        values(|values| {
            let error = template.render(values, &parent.path().join("demo")).expect_err("a broken template");
            assert!(matches!(error, TemplateError::Render { .. }), "{error:?}");
        });
        assert_eq!(fs::read_dir(parent.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn paths_are_quoted_for_toml() {
        let path = "/a \"b\"\\c\u{7}";
        let parsed: toml::Table = format!("x = {}", toml_string(path)).parse().expect("TOML");
        assert_eq!(parsed["x"].as_str(), Some(path));
    }
}
