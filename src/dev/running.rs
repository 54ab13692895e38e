//! What a running `textback dev` tells other commands on this machine: where its API, its carrier
//! and its database are.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{self, Folder, FolderError};

const FILE: &str = "running.json";

/// A `textback dev` that runs with a data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDev {
    /// The URL at which this machine reaches the API, without a slash at the end.
    pub api: String,
    /// The URL at which this machine reaches the simulated carrier.
    pub carrier: String,
    /// The URL that the carrier calls, without a slash at the end.
    pub public_url: String,
    /// The URL of its private database, which has no password. `None`: it uses the database of
    /// DATABASE_URL.
    pub database_url: Option<String>,
}

impl RunningDev {
    /// Writes it to the folder. The file goes when the guard that is returned goes.
    pub fn announce(&self, folder: &Folder) -> Result<Announced, FolderError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        folder.write(FILE, &text)?;
        Ok(Announced(folder.path().join(FILE)))
    }

    /// The `textback dev` that runs with a data folder. A process that was killed may have left the
    /// file, but no lock.
    pub fn find(data_dir: &Path) -> Option<Self> {
        if !folder::is_taken(data_dir) {
            return None;
        }
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
            public_url: "https://sms.example.com".to_owned(),
            database_url: None,
        };
        assert_eq!(RunningDev::find(&path), None, "no folder");
        let folder = Folder::take(&path).expect("a folder");
        let announced = dev.announce(&folder).expect("written");
        assert_eq!(RunningDev::find(&path).as_ref(), Some(&dev));
        drop(announced);
        assert_eq!(RunningDev::find(&path), None);
        // One that was killed leaves its file.
        std::mem::forget(dev.announce(&folder).expect("written"));
        assert!(RunningDev::find(&path).is_some());
        drop(folder);
        assert_eq!(RunningDev::find(&path), None, "nobody has the folder");
        std::fs::remove_dir_all(&path).expect("removed");
    }
}
