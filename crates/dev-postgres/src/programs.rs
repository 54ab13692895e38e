//! Finds the folder with PostgreSQL's programs.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Where distributions keep one folder for each version.
const INSTALLED: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// The folder with initdb and postgres: the one that the caller named; else the newest installed
/// version, then the folders of PATH, then `fallback`.
pub fn find(named: Option<&Path>, fallback: Option<&Path>) -> Result<PathBuf, Error> {
    let candidates: Vec<PathBuf> = match named {
        Some(named) => vec![named.to_owned()],
        None => {
            let mut versions: Vec<PathBuf> = INSTALLED
                .iter()
                .filter_map(|root| fs::read_dir(root).ok())
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
                .collect();
            versions.sort_by_key(|path| Reverse(version_in(path)));
            let path = std::env::var_os("PATH").unwrap_or_default();
            let others = std::env::split_paths(&path).chain([PathBuf::from("/usr/pgsql/bin")]);
            versions.into_iter().chain(others).chain(fallback.map(Path::to_owned)).collect()
        }
    };
    let has_programs = |folder: &&PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let found = candidates.iter().find(has_programs).and_then(|folder| folder.canonicalize().ok());
    found.ok_or_else(|| Error::NotInstalled {
        searched: candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

fn version_in(path: &Path) -> u32 {
    let digits: String = path.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_folder_is_searched() {
        let error = find(Some(Path::new("/nonexistent/bin")), Some(Path::new("/other"))).expect_err("no programs");
        assert!(matches!(error, Error::NotInstalled { searched } if searched == "/nonexistent/bin"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(
            version_in(Path::new("/usr/lib/postgresql/15/bin")) > version_in(Path::new("/usr/lib/postgresql/9/bin"))
        );
    }
}
