//! Embeds the SQL functions, the reporting views, the reports and the comments, so that no list of
//! files can forget one, and tells cargo which other files belong to the binary.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // The macros of sqlx do not tell cargo of every statement and description that they read.
    for folder in ["migrations", "sql", ".sqlx"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    // They read descriptions from .sqlx. A build must not connect to DATABASE_URL, which is a
    // setting of textback.
    println!("cargo:rustc-env=SQLX_OFFLINE=true");
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let target = env::var("OUT_DIR").map_err(io::Error::other)?;
    for folder in ["functions", "reporting", "reports", "comments"] {
        let mut files = Vec::new();
        collect(&Path::new(&root).join("sql").join(folder), &mut files)?;
        files.sort();
        // The name of a report is that of its file. A function and a view tell their names
        // themselves.
        let name = |file: &Path| match (folder, file.file_stem()) {
            ("reports", Some(stem)) => format!("{}\n", stem.display()),
            _ => String::new(),
        };
        let listed: Vec<String> = files
            .iter()
            .map(|file| format!("concat!({:?}, include_str!({:?}))", name(file), file.display().to_string()))
            .collect();
        fs::write(Path::new(&target).join(folder).with_extension("rs"), format!("[{}]", listed.join(", ")))?;
    }
    Ok(())
}

/// Adds all .sql files of a folder and of the folders in it.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "sql") {
            files.push(path);
        }
    }
    Ok(())
}
