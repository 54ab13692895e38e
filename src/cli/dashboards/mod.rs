//! The dashboards of Grafana and of Superset, made from the reports of `sql/reports` and the
//! dashboards of [`crate::domain::report::dashboard`].

mod grafana;
mod superset;
mod yaml;

use std::path::Path;

use serde_json::Value;

/// The files, by their paths below the folder of both tools.
pub fn files() -> Vec<(String, String)> {
    let mut files = grafana::files();
    files.extend(superset::files());
    files
}

/// An object with the fields of another one too.
fn merged(one: Value, more: Value) -> Value {
    match (one, more) {
        (Value::Object(mut one), Value::Object(more)) => {
            one.extend(more);
            Value::Object(one)
        }
        (one, _) => one,
    }
}

/// Writes the files below a folder, over those that are there. Errors with the path that can't be
/// written.
pub fn write(folder: &Path) -> Result<usize, String> {
    let files = files();
    for (path, text) in &files {
        let path = folder.join(path);
        let written = match path.parent() {
            Some(parent) => std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&path, text)),
            None => std::fs::write(&path, text),
        };
        written.map_err(|error| {
            format!("{} can't be written: {error}; give a folder that this user may write", path.display())
        })?;
    }
    Ok(files.len())
}
