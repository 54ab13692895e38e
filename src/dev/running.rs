//! What a running `textback dev` tells other commands on this machine: where its API, its carrier and its database are.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, FolderError};

const FILE: &str = "running.json";

/// A `textback dev` that runs with a data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDev {
    /// The URL of the API, without a slash at the end.
    pub api: String,
    /// The URL of the simulated carrier.
    pub carrier: String,
    /// The URL of its private database, which has no password. `None`: it uses the database of DATABASE_URL.
    pub database_url: Option<String>,
}

impl RunningDev {
    /// Writes it to the folder. The file goes when the guard that is returned goes.
    pub fn announce(&self, folder: &Folder) -> Result<Announced, FolderError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        folder.write(FILE, &text)?;
        Ok(Announced(folder.path().join(FILE)))
    }

    /// The `textback dev` that runs with a data folder. A process that was killed may have left the file.
    pub fn find(data_dir: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(data_dir.join(FILE)).ok()?).ok()
    }
}

/// The file of a running `textback dev`.
pub struct Announced(std::path::PathBuf);

impl Drop for Announced {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_of_the_dev_that_runs_and_of_none_that_ended() {
        let path = std::env::temp_dir().join(format!("textback-running-{}", std::process::id()));
        let dev = RunningDev {
            api: "http://127.0.0.1:8080".to_owned(),
            carrier: "http://127.0.0.1:8081".to_owned(),
            database_url: None,
        };
        assert_eq!(RunningDev::find(&path), None, "no folder");
        let folder = Folder::take(&path).expect("a folder");
        let announced = dev.announce(&folder).expect("written");
        assert_eq!(RunningDev::find(&path), Some(dev));
        drop(announced);
        assert_eq!(RunningDev::find(&path), None);
        drop(folder);
        std::fs::remove_dir_all(&path).expect("removed");
    }
}
