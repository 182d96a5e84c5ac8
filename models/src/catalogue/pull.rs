//! Fetches a model's files from the hub into the cache: [`pull`].
//!
//! One request lists the repository and fixes the commit; a `HEAD` per file tells its size and hash; then each file
//! that the cache lacks is fetched to `<hash>.incomplete` (from where an earlier attempt ended), hashed while it
//! arrives, synced, compared, and only then renamed to `<hash>`. Snapshot links come after all contents, the ref comes
//! last. So a pull that is killed at any point leaves what it had before, and parts that the next one continues.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::cache::{CHUNK, Cache, CachedRepository, create_parent, is_safe_file_name, sync_parent};
use super::choice::Chosen;
use super::error::{Error, Result};
use super::hash::{Etag, Hasher, is_commit};
use super::{Entry, Repository, Resolved, Settings};

/// Attempts without any progress before a pull gives up.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often waiting work looks whether it was cancelled.
const POLL: Duration = Duration::from_millis(50);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For an answer to begin, and for the next bytes of it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
/// The longest listing of a repository that is read, in bytes.
const MAX_LISTING: u64 = 16 << 20;

/// News of a running pull.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Bytes are arriving.
    Progress {
        /// The file.
        file: &'a str,
        /// Bytes of the model that are there, of this and all other files.
        done: u64,
        /// Bytes of all files.
        total: u64,
    },
    /// A transient failure; the next attempt follows after a pause.
    Retry {
        /// What happened.
        problem: &'a Error,
        /// The pause.
        pause: Duration,
    },
    /// Another process is downloading this file; this one waits for it.
    Waiting {
        /// The file.
        file: &'a str,
    },
    /// Nothing happened; an occasion to cancel.
    Idle,
}

/// Told what happens during a pull; [`ControlFlow::Break`] cancels it.
pub type Watch<'a> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'a;

/// What a pull did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pulled {
    /// The folder with the model's files, or the GGUF file.
    pub path: PathBuf,
    /// The commit that was pulled; `None` offline, where the cache's is taken.
    pub commit: Option<String>,
    /// The files.
    pub files: Vec<PulledFile>,
    /// The licence of the weights, as the hub or the model card names it.
    pub licence: Option<String>,
}

/// A file of a pulled model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PulledFile {
    /// Its name in the repository.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a file came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was in the cache.
    Cached,
    /// All of it was fetched.
    Fetched,
    /// The rest of it was fetched; a part was in the cache.
    Resumed,
}

/// Fetches what the cache lacks of `entry`. `watch` is told what happens, and may cancel.
///
/// # Errors
/// Every [`Error`] of kind [`Network`](super::Kind::Network) or [`Disk`](super::Kind::Disk), [`Error::NotFound`],
/// [`Error::MissingFiles`], [`Error::ChooseFile`], [`Error::Bundled`], [`Error::Cancelled`]. Whatever happens, nothing unverified is accepted
/// and what the cache held before is still there.
pub fn pull(entry: &Entry, settings: &Settings, watch: &mut Watch<'_>) -> Result<Pulled> {
    let (repository, files) = entry.hub("pull")?;
    let cached = Cache::new(settings).repository(repository);
    if settings.offline {
        let path = path_of(cached.model(files)?).ok_or_else(|| Error::Offline { name: entry.name.clone() })?;
        let files = cached.files()?.into_iter();
        let files = files.map(|f| PulledFile { file: f.file, bytes: f.bytes, origin: Origin::Cached }).collect();
        return Ok(Pulled { path, commit: None, files, licence: cached.licence() });
    }

    let hub = Hub::new(settings, repository, watch);
    let listing = hub.listing()?;
    let names: Vec<String> = listing.siblings.iter().map(|sibling| sibling.rfilename.clone()).collect();
    let (Chosen::Folder(chosen) | Chosen::Gguf(chosen)) =
        files.choose(&names).map_err(|unfit| Error::unfit(repository, unfit))?;
    let mut remote = Vec::new();
    for name in &chosen {
        remote.push(hub.file(&listing.sha, name)?);
    }

    let total = remote.iter().map(|file| file.bytes).sum();
    let mut done = 0;
    let mut pulled = Vec::new();
    for file in &remote {
        let origin = Download { hub: &hub, cached: &cached, file, commit: &listing.sha, done, total }.run()?;
        done += file.bytes;
        pulled.push(PulledFile { file: file.name.clone(), bytes: file.bytes, origin });
    }
    for file in &remote {
        cached.place(&listing.sha, &file.name, &file.etag)?;
    }
    cached.set_commit(&listing.sha)?;
    let path = path_of(cached.model(files)?).ok_or_else(|| Error::NotPulled { name: entry.name.clone() })?;
    let licence = listing.licence().or_else(|| cached.licence());
    Ok(Pulled { path, commit: Some(listing.sha), files: pulled, licence })
}

fn path_of(model: Option<Resolved>) -> Option<PathBuf> {
    match model? {
        Resolved::Directory(path) | Resolved::Gguf(path) => Some(path),
        Resolved::Bundled | Resolved::NotPulled { .. } => None,
    }
}

/// The hub's answer to what a revision is.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
    #[serde(rename = "cardData")]
    card: Option<Card>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

#[derive(Deserialize)]
struct Card {
    license: Option<serde_json::Value>,
    license_name: Option<serde_json::Value>,
}

impl Listing {
    fn licence(&self) -> Option<String> {
        let card = self.card.as_ref()?;
        let licence = card.license.as_ref()?.as_str()?;
        // `other` says less than the name that stands beside it.
        let name = card.license_name.as_ref().and_then(|name| name.as_str()).filter(|_| licence == "other");
        Some(name.unwrap_or(licence).to_owned())
    }
}

/// A file as the hub announces it.
struct RemoteFile {
    name: String,
    bytes: u64,
    etag: Etag,
}

/// A failed attempt.
enum Failure {
    /// Another attempt would fail too.
    Final(Error),
    /// Another attempt may succeed, after the pause that the server asks for.
    Transient(Error, Option<Duration>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

type Attempt<T> = std::result::Result<T, Failure>;

/// Counts failures since the last progress.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// Pauses before the next attempt, or gives up.
    fn pause(&mut self, failure: Failure, hub: &Hub<'_>) -> Result<()> {
        let (problem, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Transient(error, asked) => (error, asked),
        };
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return Err(problem);
        }
        let pause = asked.unwrap_or(FIRST_PAUSE * 2u32.pow(self.failures - 1)).min(LONGEST_PAUSE);
        tracing::debug!("{problem}; next attempt in {pause:?}");
        hub.tell(Event::Retry { problem: &problem, pause })?;
        let mut left = pause;
        while !left.is_zero() {
            let step = left.min(POLL);
            thread::sleep(step);
            left -= step;
            hub.tell(Event::Idle)?;
        }
        Ok(())
    }
}

/// One repository of the hub, over HTTP.
struct Hub<'a> {
    agent: Agent,
    settings: &'a Settings,
    repository: &'a Repository,
    watch: RefCell<&'a mut Watch<'a>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Get,
    Head,
}

impl<'a> Hub<'a> {
    fn new(settings: &'a Settings, repository: &'a Repository, watch: &'a mut Watch<'a>) -> Self {
        // Redirects are followed by `send`, which knows where the token may go.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("babil/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, settings, repository, watch: RefCell::new(watch) }
    }

    /// Tells the caller, who may cancel.
    fn tell(&self, event: Event<'_>) -> Result<()> {
        match (self.watch.borrow_mut())(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }

    /// Repeats `attempt` until it succeeds or patience ends.
    fn persist<T>(&self, mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
        let mut patience = Patience::default();
        loop {
            self.tell(Event::Idle)?;
            match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => patience.pause(failure, self)?,
            }
        }
    }

    /// The commit and the file names of the revision.
    fn listing(&self) -> Result<Listing> {
        let Repository { id, revision } = self.repository;
        let url = format!("{}/api/models/{id}/revision/{}", self.settings.endpoint, revision.replace('/', "%2F"));
        let text = self.persist(|| {
            let mut answer = self.send(Method::Get, &url, 0, None)?;
            let text = answer.body_mut().with_config().limit(MAX_LISTING).read_to_string();
            text.map_err(|error| connection_failure(&url, error))
        })?;
        let bad = |problem: String| Error::BadAnswer { url: url.clone(), problem };
        let listing: Listing = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if !is_commit(&listing.sha) {
            return Err(bad(format!("{:?} is not a commit", listing.sha)));
        }
        if let Some(hostile) = listing.siblings.iter().find(|file| !is_safe_file_name(&file.rfilename)) {
            return Err(bad(format!("the file name {:?} leads out of the repository", hostile.rfilename)));
        }
        Ok(listing)
    }

    /// The size and the hash of a file.
    fn file(&self, commit: &str, name: &str) -> Result<RemoteFile> {
        let url = self.file_url(commit, name);
        let answer = self.persist(|| self.send(Method::Head, &url, 0, Some(name)))?;
        let headers = answer.headers();
        let (etag, bytes) = linked(headers)
            .or_else(|| Some((header(headers, "etag")?, header(headers, "content-length")?)))
            .ok_or_else(|| Error::BadAnswer { url: url.clone(), problem: "no hash or no size".to_owned() })?;
        let etag = Etag::parse(etag).ok_or_else(|| Error::BadAnswer {
            url: url.clone(),
            problem: format!("the etag {etag:?} is no hash, so the file could not be verified"),
        })?;
        let bytes = bytes
            .parse()
            .map_err(|_| Error::BadAnswer { url: url.clone(), problem: format!("{bytes:?} is not a size") })?;
        Ok(RemoteFile { name: name.to_owned(), bytes, etag })
    }

    fn file_url(&self, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{name}", self.settings.endpoint, self.repository.id)
    }

    /// Sends a request and follows redirects, to success or failure. A `HEAD` ends where the hub links a hash and a
    /// size. The token goes to the hub alone.
    fn send(&self, method: Method, url: &str, from: u64, file: Option<&str>) -> Attempt<Response<Body>> {
        let mut target = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let at_hub = origin(&target) == origin(&self.settings.endpoint);
            let mut request = match method {
                Method::Get => self.agent.get(&target),
                Method::Head => self.agent.head(&target),
            };
            // A compressed answer would have another length.
            request = request.header("Accept-Encoding", "identity");
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            if let Some(token) = self.settings.token.as_ref().filter(|_| at_hub) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let answer = request.call().map_err(|error| connection_failure(&target, error))?;
            let status = answer.status().as_u16();
            let done = method == Method::Head && linked(answer.headers()).is_some();
            match status {
                300..=399 if !done => {
                    let location = header(answer.headers(), "location").and_then(|location| join(&target, location));
                    target = location.ok_or_else(|| Error::BadAnswer {
                        url: shown(&target),
                        problem: format!("HTTP {status} without a usable address"),
                    })?;
                }
                200..=399 => return Ok(answer),
                _ => return Err(self.refusal(status, &answer, &target, at_hub, file)),
            }
        }
        Err(Error::BadAnswer { url: shown(url), problem: format!("more than {MAX_REDIRECTS} redirects") }.into())
    }

    /// What an HTTP status that is no success means.
    fn refusal(&self, status: u16, answer: &Response<Body>, url: &str, at_hub: bool, file: Option<&str>) -> Failure {
        let Repository { id, revision } = self.repository;
        match status {
            401 | 403 if at_hub && header(answer.headers(), "x-error-code") == Some("GatedRepo") => {
                let page = format!("{}/{id}", self.settings.endpoint);
                Failure::Final(Error::Gated { repository: id.clone(), status, page })
            }
            401 | 403 if at_hub => Failure::Final(Error::Unauthorized {
                repository: id.clone(),
                status,
                with_token: self.settings.token.is_some(),
            }),
            404 if at_hub => Failure::Final(Error::NotFound {
                endpoint: self.settings.endpoint.clone(),
                repository: id.clone(),
                revision: revision.clone(),
                file: file.map(str::to_owned),
            }),
            _ => {
                let error = Error::Network { url: shown(url), problem: format!("HTTP {}", answer.status()) };
                let pause = header(answer.headers(), "retry-after").and_then(|seconds| seconds.parse().ok());
                match status {
                    408 | 416 | 429 | 500..=599 => Failure::Transient(error, pause.map(Duration::from_secs)),
                    _ => Failure::Final(error),
                }
            }
        }
    }
}

/// One file on its way into the cache.
struct Download<'a> {
    hub: &'a Hub<'a>,
    cached: &'a CachedRepository,
    file: &'a RemoteFile,
    commit: &'a str,
    /// Bytes of the files before this one.
    done: u64,
    /// Bytes of all files.
    total: u64,
}

impl Download<'_> {
    /// Brings the file into the cache, unless it is there.
    fn run(&self) -> Result<Origin> {
        let RemoteFile { name, bytes, etag } = self.file;
        let blob = self.cached.blob_path(etag);
        if self.is_cached() {
            return Ok(Origin::Cached);
        }
        create_parent(&blob)?;
        // Held until the file is in its place.
        let _lock = self.lock()?;
        if self.is_cached() {
            return Ok(Origin::Cached);
        }
        let mut part = Part::open(self)?;
        let mut had = part.have;
        self.fetch(&mut part)?;
        let mut found = part.finish(self)?;
        if found != etag.as_str() && had > 0 {
            // The part of an earlier attempt may have been damaged, by a power cut for instance.
            tracing::warn!("{name}: the part that was there is damaged; fetching all of it");
            had = 0;
            part.restart(self)?;
            self.fetch(&mut part)?;
            found = part.finish(self)?;
        }
        if found != etag.as_str() {
            fs::remove_file(&part.path).map_err(Error::io("delete", &part.path))?;
            return Err(Error::Checksum { file: name.clone(), expected: etag.as_str().to_owned(), found });
        }
        fs::rename(&part.path, &blob).map_err(Error::io("write", &blob))?;
        sync_parent(&blob)?;
        let resumed = had > 0 && had < *bytes;
        Ok(if resumed { Origin::Resumed } else { Origin::Fetched })
    }

    fn is_cached(&self) -> bool {
        let RemoteFile { name, bytes, etag } = self.file;
        let blob = fs::metadata(self.cached.blob_path(etag));
        blob.is_ok_and(|blob| blob.len() == *bytes) || self.cached.has_unlinked(self.commit, name, *bytes)
    }

    /// Waits until no other process downloads the same content.
    fn lock(&self) -> Result<File> {
        let path = self.cached.lock_path(&self.file.etag);
        create_parent(&path)?;
        let lock = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if !told => {
                    told = true;
                    self.hub.tell(Event::Waiting { file: &self.file.name })?;
                }
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(POLL);
                    self.hub.tell(Event::Idle)?;
                }
            }
        }
    }

    /// Fetches the rest of the file, in as many attempts as make progress.
    fn fetch(&self, part: &mut Part) -> Result<()> {
        let mut patience = Patience::default();
        while part.have < self.file.bytes {
            let before = part.have;
            if let Err(failure) = self.attempt(part) {
                if part.have > before {
                    patience = Patience::default();
                }
                patience.pause(failure, self.hub)?;
            }
        }
        Ok(())
    }

    fn attempt(&self, part: &mut Part) -> Attempt<()> {
        let RemoteFile { name, bytes, .. } = self.file;
        let url = self.hub.file_url(self.commit, name);
        let mut answer = self.hub.send(Method::Get, &url, part.have, Some(name))?;
        if part.have > 0 {
            let range = header(answer.headers(), "content-range").unwrap_or_default();
            match answer.status().as_u16() {
                206 if range == format!("bytes {}-{}/{bytes}", part.have, bytes - 1) => {}
                206 => {
                    let problem = format!("asked for bytes {} to {}, got {range:?}", part.have, bytes - 1);
                    return Err(Error::BadAnswer { url, problem }.into());
                }
                // A server that knows no ranges sends all of it.
                _ => part.restart(self)?,
            }
        }
        let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            let problem = match body.read(&mut buffer) {
                Ok(0) if part.have == *bytes => return Ok(()),
                Ok(0) => format!("the connection ended after {} of {bytes} bytes", part.have),
                Ok(count) if part.have + count as u64 > *bytes => {
                    let problem = format!("more than the announced {bytes} bytes");
                    return Err(Error::BadAnswer { url, problem }.into());
                }
                Ok(count) => {
                    part.write(&buffer[..count], self)?;
                    self.hub.tell(Event::Progress { file: name, done: self.done + part.have, total: self.total })?;
                    continue;
                }
                Err(error) => format!("the connection broke after {} of {bytes} bytes: {error}", part.have),
            };
            return Err(Failure::Transient(Error::Network { url, problem }, None));
        }
    }
}

/// The part of a file that has arrived, on disk, and the hash of it.
struct Part {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    have: u64,
}

impl Part {
    /// Opens what an earlier attempt left, or nothing, and hashes it.
    fn open(download: &Download<'_>) -> Result<Self> {
        let RemoteFile { bytes, etag, .. } = download.file;
        let path = download.cached.incomplete_path(etag);
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        if length > *bytes {
            file.set_len(0).map_err(Error::io("write", &path))?;
        }
        let mut hasher = etag.hasher(*bytes);
        let mut have = 0;
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = file.read(&mut buffer).map_err(Error::io("read", &path))?;
            if count == 0 {
                return Ok(Self { file, path, hasher, have });
            }
            hasher.update(&buffer[..count]);
            have += count as u64;
            download.hub.tell(Event::Idle)?;
        }
    }

    /// Forgets what was there.
    fn restart(&mut self, download: &Download<'_>) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(Error::io("write", &self.path))?;
        self.hasher = download.file.etag.hasher(download.file.bytes);
        self.have = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], download: &Download<'_>) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| self.write_error(error, download))?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Makes the content survive a power cut, and returns its hash.
    fn finish(&mut self, download: &Download<'_>) -> Result<String> {
        self.file.sync_all().map_err(|error| self.write_error(error, download))?;
        let fresh = download.file.etag.hasher(download.file.bytes);
        Ok(std::mem::replace(&mut self.hasher, fresh).finish())
    }

    fn write_error(&self, error: io::Error, download: &Download<'_>) -> Error {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                // The failed write may have stored some of its bytes.
                let stored = self.file.metadata().map_or(self.have, |metadata| metadata.len());
                Error::DiskFull {
                    file: download.file.name.clone(),
                    missing: download.file.bytes.saturating_sub(stored),
                    folder: self.path.parent().unwrap_or(&self.path).to_owned(),
                }
            }
            _ => Error::io("write", &self.path)(error),
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The hash and the size of a large file, whose content is elsewhere.
fn linked(headers: &HeaderMap) -> Option<(&str, &str)> {
    Some((header(headers, "x-linked-etag")?, header(headers, "x-linked-size")?))
}

/// A failure to reach the server or to hear its answer.
fn connection_failure(url: &str, error: ureq::Error) -> Failure {
    use ureq::Error as E;
    let transient = matches!(error, E::Io(_) | E::Timeout(_) | E::ConnectionFailed | E::Protocol(_) | E::BodyStalled);
    let error = Error::Network { url: shown(url), problem: error.to_string() };
    if transient { Failure::Transient(error, None) } else { Failure::Final(error) }
}

/// Without the query, which may hold a signature.
fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String)> {
    let url: Uri = url.parse().ok()?;
    Some((url.scheme_str()?.to_ascii_lowercase(), url.authority()?.as_str().to_ascii_lowercase()))
}

/// The address that a redirect from `base` leads to; never from https to http.
fn join(base: &str, location: &str) -> Option<String> {
    let (scheme, host) = origin(base)?;
    let target = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let folder = shown(base).rsplit_once('/')?.0.to_owned();
        format!("{folder}/{location}")
    };
    let (target_scheme, _) = origin(&target)?;
    let allowed = target_scheme == "https" || (target_scheme == "http" && scheme == "http");
    allowed.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_secure() {
        let join = |location| join("https://127.0.0.1/a/b?c", location);
        assert_eq!(join("https://127.0.0.2/x").as_deref(), Some("https://127.0.0.2/x"));
        assert_eq!(join("//127.0.0.2/x").as_deref(), Some("https://127.0.0.2/x"));
        assert_eq!(join("/x").as_deref(), Some("https://127.0.0.1/x"));
        assert_eq!(join("x").as_deref(), Some("https://127.0.0.1/a/x"));
        assert_eq!(join("http://127.0.0.1/x"), None, "from https to http");
        assert_eq!(join("file:///etc/passwd"), None);
    }

    #[test]
    fn the_token_stays_at_its_origin() {
        let hub = origin("https://127.0.0.1");
        assert_eq!(origin("https://127.0.0.1/x/y"), hub);
        for other in
            ["https://127.0.0.1:8443/x", "http://127.0.0.1/x", "https://127.0.0.2", "https://127.0.0.1@127.0.0.2/"]
        {
            assert_ne!(origin(other), hub, "{other}");
        }
    }
}
