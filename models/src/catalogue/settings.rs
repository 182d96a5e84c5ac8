//! Where the hub and the cache are: [`Settings`], with the meaning that the hub's other clients give to the same
//! environment variables.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where models come from and where they are kept.
#[derive(Clone)]
pub struct Settings {
    /// The cache folder: holds `models--owner--repo` folders.
    pub cache: PathBuf,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// The access token, for private and gated repositories. It is sent to `endpoint` and nowhere else.
    pub token: Option<String>,
    /// Whether network connections are forbidden.
    pub offline: bool,
}

impl Settings {
    /// The settings of the environment:
    /// - the cache is `HF_HUB_CACHE`, or else `HF_HOME/hub`, `HF_HOME` being `XDG_CACHE_HOME/huggingface` or
    ///   `~/.cache/huggingface` by default;
    /// - the token is `HF_TOKEN`, or else the content of `HF_TOKEN_PATH` or of `HF_HOME/token`;
    /// - the endpoint is `HF_ENDPOINT`;
    /// - `HF_HUB_OFFLINE=1` forbids connections.
    ///
    /// # Errors
    /// An endpoint that is no http address; no way to know the home folder.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&variable, env::home_dir())
    }

    /// As [`Settings::from_env`], with the cache in `folder`.
    ///
    /// # Errors
    /// An endpoint that is no http address.
    pub fn in_folder(folder: PathBuf) -> Result<Self> {
        // A phone's programs have no home folder.
        let home = env::home_dir().unwrap_or_else(|| folder.clone());
        Ok(Self { cache: folder, ..Self::from_variables(&variable, Some(home))? })
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<String>, user_home: Option<PathBuf>) -> Result<Self> {
        let path = |name: &str| variable(name).map(|value| expand_home(&value, user_home.as_deref()));
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| user_home.as_ref().map(|home| home.join(".cache").join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| home.as_ref().map(|home| home.join("hub"))).ok_or_else(|| {
            let problem = "not set, and no home folder is known: where should models be kept?".to_owned();
            Error::Setting { variable: "HF_HOME", problem }
        })?;
        let token = variable("HF_TOKEN")
            .map(|token| token.trim().to_owned())
            .or_else(|| path("HF_TOKEN_PATH").and_then(|path| std::fs::read_to_string(path).ok()))
            .or_else(|| home.and_then(|home| hf_hub::Cache::new(home.join("hub")).token()))
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| token.chars().any(|c| !c.is_ascii_graphic())) {
            let problem = "the token holds a space or a character that is not ASCII".to_owned();
            return Err(Error::Setting { variable: "HF_TOKEN", problem });
        }
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            let problem = format!("`{endpoint}` is not an http or https address");
            return Err(Error::Setting { variable: "HF_ENDPOINT", problem });
        }
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()));
        Ok(Self { cache, endpoint: endpoint.trim_end_matches('/').to_owned(), token, offline })
    }
}

/// Without the token.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cache", &self.cache)
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .finish()
    }
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn expand_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings> {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::from_variables(&get, Some("/home/user".into()))
    }

    #[test]
    fn cache_folder_by_precedence() {
        let all = [("XDG_CACHE_HOME", "/xdg"), ("HF_HOME", "~/hf"), ("HF_HUB_CACHE", "/cache")];
        let cache = |n: usize| settings(&all[..n]).unwrap().cache;
        assert_eq!(cache(0), Path::new("/home/user/.cache/huggingface/hub"));
        assert_eq!(cache(1), Path::new("/xdg/huggingface/hub"));
        assert_eq!(cache(2), Path::new("/home/user/hf/hub"));
        assert_eq!(cache(3), Path::new("/cache"));
    }

    #[test]
    fn token_from_its_variable_or_a_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), "from-file\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(settings(&[("HF_HOME", home)]).unwrap().token.as_deref(), Some("from-file"));
        let both = settings(&[("HF_HOME", home), ("HF_TOKEN", "from-variable")]).unwrap();
        assert_eq!(both.token.as_deref(), Some("from-variable"));
        assert!(!format!("{both:?}").contains("from-variable"), "tokens are never shown");
        assert!(settings(&[("HF_TOKEN", "two words")]).is_err());
    }

    #[test]
    fn endpoint_and_offline() {
        let settings_of = |offline| settings(&[("HF_ENDPOINT", "http://127.0.0.1:8080/"), ("HF_HUB_OFFLINE", offline)]);
        assert_eq!(settings_of("1").unwrap().endpoint, "http://127.0.0.1:8080");
        assert!(settings_of("TRUE").unwrap().offline);
        assert!(!settings_of("0").unwrap().offline);
        assert!(settings(&[("HF_ENDPOINT", "ftp://127.0.0.1")]).is_err());
    }
}
