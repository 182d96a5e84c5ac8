//! What was pulled: the cache folder in the layout that the hub's clients share.
//!
//! ```text
//! models--owner--repo/
//!   blobs/<etag>              a file's content, named by its hash
//!   blobs/<etag>.incomplete   the part of it that has arrived
//!   refs/<revision>           the commit that a branch stood at
//!   snapshots/<commit>/<file> a link to the blob (or the file itself, where links are not possible)
//! .locks/models--owner--repo/<etag>.lock
//! ```
//! A blob gets its name only after its hash was checked, and a ref is written after all files of its commit.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hf_hub::{CacheRepo, Repo, RepoType};
use serde::Serialize;

use super::choice::{Chosen, Unfit, gguf_models, type_in_name};
use super::error::{Error, Result};
use super::hash::{Etag, is_commit};
use super::{Catalogue, Entry, Files, ModelKind, Repository, Resolved, Settings};

/// Bytes read or written at once; progress and cancellation happen in between.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CachedModel {
    /// `owner/repo`.
    pub repository: String,
    /// What it does, as far as its files tell.
    pub kind: Option<ModelKind>,
    /// The types of its GGUF files, as their names say.
    pub types: Vec<String>,
    /// Bytes on disk, unfinished downloads included.
    pub bytes: u64,
    /// Whether all files that a model needs are there, for its branch `main`.
    pub complete: bool,
}

impl Cache {
    /// The cache of `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self { folder: settings.cache.clone() }
    }

    /// The part of the cache that belongs to `repository`, whether it exists or not.
    pub fn repository(&self, repository: &Repository) -> CachedRepository {
        let repo = Repo::with_revision(repository.id.clone(), RepoType::Model, repository.revision.clone());
        let name = repo.folder_name();
        CachedRepository {
            folder: self.folder.join(&name),
            locks: self.folder.join(".locks").join(name),
            repository: repository.clone(),
            layout: hf_hub::Cache::new(self.folder.clone()).repo(repo),
        }
    }

    /// The models in the cache: those of the catalogue, complete or not, and all others that are complete.
    ///
    /// # Errors
    /// [`Error::Io`]; a cache that does not exist is an empty one.
    pub fn models(&self) -> Result<Vec<CachedModel>> {
        let mut models = Vec::new();
        for name in names_in(&self.folder)? {
            let id = name.strip_prefix("models--").and_then(|name| name.split_once("--"));
            let Some((owner, repository)) = id else { continue };
            let Ok(entry) = Catalogue::get().entry(&format!("{owner}/{repository}")) else { continue };
            let (repository, files) = entry.hub("list")?;
            let cached = self.repository(repository);
            let names = cached.names()?;
            let gguf = gguf_models(&names);
            let (kind, complete) = files.describe(&names);
            let known = Catalogue::get().entries().iter().any(|known| known.repository() == Some(repository));
            if complete || known {
                let types = gguf.iter().filter_map(|parts| type_in_name(parts[0])).collect();
                let repository = repository.id.clone();
                models.push(CachedModel { repository, kind, types, bytes: cached.bytes()?, complete });
            }
        }
        models.sort_by(|a, b| a.repository.cmp(&b.repository));
        Ok(models)
    }
}

/// The part of the cache that belongs to one repository.
#[derive(Debug)]
pub struct CachedRepository {
    folder: PathBuf,
    locks: PathBuf,
    repository: Repository,
    layout: CacheRepo,
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CachedFile {
    /// Its name in the repository.
    pub file: String,
    /// Its size on disk.
    pub bytes: u64,
}

/// What [`CachedRepository::verify`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileReport {
    /// The file's name in the repository.
    pub file: String,
    /// Its size on disk.
    pub bytes: u64,
    /// Its state.
    #[serde(flatten)]
    pub condition: Condition,
}

/// The state of a cached file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "condition", rename_all = "lowercase")]
pub enum Condition {
    /// Its content has the hash that the hub announced.
    Good,
    /// Its content has another hash.
    Damaged {
        /// The announced hash.
        expected: String,
        /// The hash of the content.
        found: String,
    },
    /// It links to a file that does not exist.
    Missing,
    /// It is stored without its hash (the file system knows no links), so nothing can be said.
    Unknown,
}

/// What [`CachedRepository::remove`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Number of contents.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
}

impl Removed {
    /// Deletes a file of a snapshot: a content, or a link to one, which does not count.
    fn delete_link(&mut self, path: &Path) -> Result<()> {
        if path.is_symlink() {
            return fs::remove_file(path).map_err(Error::io("delete", path));
        }
        self.delete(path)
    }

    /// Deletes a content.
    pub(super) fn delete(&mut self, path: &Path) -> Result<()> {
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        fs::remove_file(path).map_err(Error::io("delete", path))?;
        self.files += 1;
        self.bytes += bytes;
        Ok(())
    }
}

impl CachedRepository {
    /// The commit that the revision stood at when it was pulled.
    pub fn commit(&self) -> Option<String> {
        if is_commit(&self.repository.revision) {
            return Some(self.repository.revision.clone());
        }
        let commit = fs::read_to_string(self.ref_path()).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    /// The folder with the files of the revision, if it exists.
    pub fn snapshot(&self) -> Option<PathBuf> {
        let folder = self.snapshot_path(&self.commit()?);
        folder.is_dir().then_some(folder)
    }

    /// The model that `files` make of the revision, if all of them are there.
    ///
    /// # Errors
    /// [`Error::ChooseFile`] when several could be meant, [`Error::Io`].
    pub fn model(&self, files: &Files) -> Result<Option<Resolved>> {
        let Some(snapshot) = self.snapshot() else { return Ok(None) };
        match files.choose(&self.names()?) {
            Ok(Chosen::Folder(_)) => Ok(Some(Resolved::Directory(snapshot))),
            Ok(Chosen::Gguf(names)) => Ok(Some(Resolved::Gguf(snapshot.join(names[0])))),
            Err(unfit @ Unfit::Several { .. }) => Err(Error::unfit(&self.repository, unfit)),
            Err(_) => Ok(None),
        }
    }

    /// The names of the files of the revision whose contents are there.
    fn names(&self) -> Result<Vec<String>> {
        let Some(snapshot) = self.snapshot() else { return Ok(Vec::new()) };
        let mut names = files_below(&snapshot)?;
        names.retain(|name| snapshot.join(name).is_file());
        Ok(names)
    }

    /// The files of the revision, by name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn files(&self) -> Result<Vec<CachedFile>> {
        let Some(snapshot) = self.snapshot() else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for file in files_below(&snapshot)? {
            let bytes = fs::metadata(snapshot.join(&file)).map_or(0, |metadata| metadata.len());
            files.push(CachedFile { file, bytes });
        }
        Ok(files)
    }

    /// The licence that the pulled model card names.
    pub fn licence(&self) -> Option<String> {
        let card = fs::read_to_string(self.snapshot()?.join("README.md")).ok()?;
        let header = card.strip_prefix("---")?.split("\n---").next()?;
        let value = |key: &str| {
            let value = header.lines().find_map(|line| line.strip_prefix(key))?.trim().trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        };
        // `other` says less than the name that stands beside it.
        value("license:").map(|licence| match licence.as_str() {
            "other" => value("license_name:").unwrap_or(licence),
            _ => licence,
        })
    }

    /// Bytes on disk, unfinished downloads included.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn bytes(&self) -> Result<u64> {
        let sizes = files_below(&self.folder)?.into_iter().map(|file| {
            let metadata = fs::symlink_metadata(self.folder.join(file));
            metadata.ok().filter(|metadata| metadata.is_file()).map_or(0, |metadata| metadata.len())
        });
        Ok(sizes.sum())
    }

    /// Reads every file of the revision and compares its hash with the one that names it. `progress` is told the bytes
    /// read so far; [`ControlFlow::Break`] cancels.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Cancelled`]. A damaged file is a report, not an error.
    pub fn verify(&self, progress: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Vec<FileReport>> {
        let Some(snapshot) = self.snapshot() else { return Ok(Vec::new()) };
        let mut done = 0;
        let mut reports = Vec::new();
        for CachedFile { file, bytes } in self.files()? {
            let path = snapshot.join(&file);
            let condition = match self.etag_of(&path) {
                _ if !path.exists() => Condition::Missing,
                None => Condition::Unknown,
                Some(etag) => {
                    let mut hasher = etag.hasher(bytes);
                    let mut content = File::open(&path).map_err(Error::io("open", &path))?;
                    let mut buffer = vec![0; CHUNK];
                    loop {
                        let count = content.read(&mut buffer).map_err(Error::io("read", &path))?;
                        if count == 0 {
                            break;
                        }
                        hasher.update(&buffer[..count]);
                        done += count as u64;
                        if progress(done).is_break() {
                            return Err(Error::Cancelled);
                        }
                    }
                    let found = hasher.finish();
                    match found == etag.as_str() {
                        true => Condition::Good,
                        false => Condition::Damaged { expected: etag.as_str().to_owned(), found },
                    }
                }
            };
            reports.push(FileReport { file, bytes, condition });
        }
        Ok(reports)
    }

    /// Deletes the revision, or of several GGUF files in it the one that `entry` asks for by its type or its name: links
    /// and refs, and every content that no snapshot of the repository links to any more, unfinished ones included.
    ///
    /// # Errors
    /// [`Error::NotPulled`], [`Error::ChooseFile`], [`Error::Busy`] while a download is running, [`Error::Io`].
    pub fn remove(&self, entry: &Entry) -> Result<Removed> {
        if !self.folder.is_dir() {
            return Err(Error::NotPulled { name: entry.name.clone() });
        }
        self.check_idle(entry)?;
        let mut removed = Removed::default();
        match self.one_of_several(entry)? {
            Some((snapshot, files)) => {
                for file in files {
                    removed.delete_link(&snapshot.join(file))?;
                }
            }
            None => self.remove_revision(&mut removed)?,
        }
        self.remove_unlinked(&mut removed)?;
        Ok(removed)
    }

    /// The snapshot and the files to delete of it, if `entry` asks for one GGUF model of several.
    fn one_of_several(&self, entry: &Entry) -> Result<Option<(PathBuf, Vec<String>)>> {
        let Some(Files::Gguf(wanted)) = entry.files() else { return Ok(None) };
        if !wanted.is_explicit() {
            return Ok(None);
        }
        let (names, not_pulled) = (self.names()?, || Error::NotPulled { name: entry.name.clone() });
        let snapshot = self.snapshot().ok_or_else(not_pulled)?;
        let files = match wanted.choose(&names) {
            Ok(files) => files,
            Err(unfit @ Unfit::Several { .. }) => return Err(Error::unfit(&self.repository, unfit)),
            Err(_) => return Err(not_pulled()),
        };
        let others = gguf_models(&names).iter().any(|parts| parts[0] != files[0]);
        Ok(others.then(|| (snapshot, files.into_iter().map(str::to_owned).collect())))
    }

    /// Deletes the snapshot and the refs that name its commit.
    fn remove_revision(&self, removed: &mut Removed) -> Result<()> {
        let Some(commit) = self.commit() else { return Ok(()) };
        let refs = self.folder.join("refs");
        for name in files_below(&refs)? {
            let path = refs.join(name);
            if fs::read_to_string(&path).is_ok_and(|content| content.trim() == commit) {
                fs::remove_file(&path).map_err(Error::io("delete", &path))?;
            }
        }
        let snapshot = self.snapshot_path(&commit);
        for file in files_below(&snapshot)? {
            removed.delete_link(&snapshot.join(file))?;
        }
        if snapshot.is_dir() {
            fs::remove_dir_all(&snapshot).map_err(Error::io("delete", &snapshot))?;
        }
        Ok(())
    }

    /// Deletes the contents that no snapshot links to, and the repository's folders if there is no snapshot.
    fn remove_unlinked(&self, removed: &mut Removed) -> Result<()> {
        let in_use = self.linked_blobs()?;
        let blobs = self.folder.join("blobs");
        for name in names_in(&blobs)? {
            if !in_use.contains(&name) {
                removed.delete(&blobs.join(&name))?;
            }
        }
        if in_use.is_empty() && names_in(&self.folder.join("snapshots"))?.is_empty() {
            for folder in [&self.folder, &self.locks] {
                if folder.is_dir() {
                    fs::remove_dir_all(folder).map_err(Error::io("delete", folder))?;
                }
            }
        }
        Ok(())
    }

    /// The blobs that the snapshots link to.
    fn linked_blobs(&self) -> Result<BTreeSet<String>> {
        let snapshots = self.folder.join("snapshots");
        let files = files_below(&snapshots)?;
        Ok(files.iter().filter_map(|file| Some(self.etag_of(&snapshots.join(file))?.as_str().to_owned())).collect())
    }

    /// The hash in the name of the blob that a snapshot's file links to.
    fn etag_of(&self, path: &Path) -> Option<Etag> {
        let target = fs::read_link(path).ok()?;
        Etag::parse(target.file_name()?.to_str()?)
    }

    fn check_idle(&self, entry: &Entry) -> Result<()> {
        for name in names_in(&self.locks)? {
            let path = self.locks.join(name);
            let lock = File::open(&path).map_err(Error::io("open", &path))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::Busy { name: entry.name.clone() }),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
        }
        Ok(())
    }

    fn ref_path(&self) -> PathBuf {
        self.folder.join("refs").join(&self.repository.revision)
    }

    fn snapshot_path(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }
}

/// What a pull writes.
#[cfg(feature = "pull")]
impl CachedRepository {
    pub(crate) fn blob_path(&self, etag: &Etag) -> PathBuf {
        self.folder.join("blobs").join(etag.as_str())
    }

    /// Where the part of a blob is that has arrived; the hub's other clients use the same name, and continue it too.
    pub(crate) fn incomplete_path(&self, etag: &Etag) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", etag.as_str()))
    }

    pub(crate) fn lock_path(&self, etag: &Etag) -> PathBuf {
        self.locks.join(format!("{}.lock", etag.as_str()))
    }

    /// Makes `file` of the snapshot of `commit` mean the blob `etag`.
    pub(crate) fn place(&self, commit: &str, file: &str, etag: &Etag) -> Result<()> {
        self.place_with(commit, file, etag, symlink)
    }

    fn place_with(
        &self,
        commit: &str,
        file: &str,
        etag: &Etag,
        link: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<()> {
        debug_assert!(is_commit(commit) && is_safe_file_name(file));
        let path = self.snapshot_path(commit).join(file);
        let blob = self.blob_path(etag);
        if self.etag_of(&path).as_ref() == Some(etag) || (path.is_file() && !blob.exists()) {
            return Ok(());
        }
        create_parent(&path)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("replace", &path)(error)),
            _ => {}
        }
        let up = "../".repeat(2 + file.matches('/').count());
        match link(&Path::new(&up).join("blobs").join(etag.as_str()), &path) {
            Ok(()) => {}
            // Another process has done the same in the meantime.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => fs::rename(&blob, &path).map_err(Error::io("write", &path))?,
        }
        sync_parent(&path)
    }

    /// Whether `file` of the snapshot of `commit` is stored there itself, with the right size.
    pub(crate) fn has_unlinked(&self, commit: &str, file: &str, bytes: u64) -> bool {
        let path = self.snapshot_path(commit).join(file);
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
    }

    /// Records that the revision stands at `commit`. A commit itself needs no record.
    pub(crate) fn set_commit(&self, commit: &str) -> Result<()> {
        if self.repository.revision == commit {
            return Ok(());
        }
        let path = self.ref_path();
        create_parent(&path)?;
        let new = path.with_added_extension(format!("{}.incomplete", std::process::id()));
        let write = || {
            let mut file = File::create(&new)?;
            io::Write::write_all(&mut file, commit.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(Error::io("write", &path))?;
        sync_parent(&path)
    }
}

/// Creates the folder that `path` is to be in.
#[cfg(feature = "pull")]
pub(crate) fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(Error::io("create", folder))
}

/// Makes a new or renamed `path` survive a power cut.
#[cfg(feature = "pull")]
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", folder))?;
    }
    Ok(())
}

#[cfg(all(feature = "pull", unix))]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Elsewhere links need privileges, so files are placed directly.
#[cfg(all(feature = "pull", not(unix)))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a file name from elsewhere stays inside the folder that it is joined to, on every system.
#[cfg(any(feature = "pull", test))]
pub(crate) fn is_safe_file_name(name: &str) -> bool {
    let bad = |c: char| c == '\\' || c == ':' || c.is_control();
    !name.contains(bad) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The names in a folder, sorted; none if it does not exist. Names that are not Unicode are not ours.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", folder))?,
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name().into_string().ok())).collect();
    let mut names: Vec<_> = names.map_err(Error::io("read", folder))?.into_iter().flatten().collect();
    names.sort();
    Ok(names)
}

/// All that is not a folder below `folder`, links not followed, as paths with `/`.
fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for name in names_in(folder)? {
        let path = folder.join(&name);
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            files.extend(files_below(&path)?.into_iter().map(|below| format!("{name}/{below}")));
        } else {
            files.push(name);
        }
    }
    Ok(files)
}

#[cfg(all(test, feature = "pull"))]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    /// `printf 'hello\n' | git hash-object --stdin`
    const ETAG: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    /// A cache with the content `hello` as a blob, and its repository.
    fn cache_with_blob(folder: &Path) -> (CachedRepository, Etag, Entry) {
        let entry = Catalogue::get().entry("owner/repo").unwrap();
        let cached = Cache { folder: folder.to_owned() }.repository(entry.repository().unwrap());
        let etag = Etag::parse(ETAG).unwrap();
        create_parent(&cached.blob_path(&etag)).unwrap();
        fs::write(cached.blob_path(&etag), "hello\n").unwrap();
        (cached, etag, entry)
    }

    fn conditions(cached: &CachedRepository) -> Vec<Condition> {
        let reports = cached.verify(&mut |_| ControlFlow::Continue(())).unwrap();
        reports.into_iter().map(|report| report.condition).collect()
    }

    #[cfg(unix)]
    #[test]
    fn files_link_to_their_contents() {
        let folder = tempfile::tempdir().unwrap();
        let (cached, etag, entry) = cache_with_blob(folder.path());
        for file in ["config.json", "below/a/folder.json"] {
            cached.place(COMMIT, file, &etag).unwrap();
            cached.place(COMMIT, file, &etag).unwrap();
            let path = cached.snapshot_path(COMMIT).join(file);
            assert!(path.is_symlink());
            assert_eq!(fs::read_to_string(path).unwrap(), "hello\n");
        }
        assert_eq!(cached.commit(), None, "without a ref nothing is pulled");
        cached.set_commit(COMMIT).unwrap();
        assert_eq!(cached.commit().as_deref(), Some(COMMIT));
        assert_eq!(conditions(&cached), [Condition::Good, Condition::Good]);
        assert_eq!(cached.remove(&entry).unwrap(), Removed { files: 1, bytes: 6 });
        assert!(!cached.folder.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_another_process_makes_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (cached, etag, _) = cache_with_blob(folder.path());
        let both = |target: &Path, link: &Path| symlink(target, link).and_then(|()| symlink(target, link));
        cached.place_with(COMMIT, "config.json", &etag, both).unwrap();
        assert!(cached.blob_path(&etag).is_file());
        assert!(cached.snapshot_path(COMMIT).join("config.json").is_symlink());
    }

    #[test]
    fn without_links_files_are_placed_directly() {
        let folder = tempfile::tempdir().unwrap();
        let (cached, etag, entry) = cache_with_blob(folder.path());
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::Unsupported.into());
        cached.place_with(COMMIT, "config.json", &etag, no_links).unwrap();
        cached.place_with(COMMIT, "config.json", &etag, no_links).unwrap();
        cached.set_commit(COMMIT).unwrap();
        assert_eq!(fs::read_to_string(cached.snapshot_path(COMMIT).join("config.json")).unwrap(), "hello\n");
        assert!(cached.has_unlinked(COMMIT, "config.json", 6));
        assert_eq!(conditions(&cached), [Condition::Unknown]);
        assert_eq!(cached.remove(&entry).unwrap(), Removed { files: 1, bytes: 6 });
        assert!(!cached.folder.exists());
    }

    #[test]
    fn a_ref_that_holds_no_commit_means_not_pulled() {
        let folder = tempfile::tempdir().unwrap();
        let (cached, _, _) = cache_with_blob(folder.path());
        create_parent(&cached.ref_path()).unwrap();
        for content in ["", "../../..", &COMMIT[1..]] {
            fs::write(cached.ref_path(), content).unwrap();
            assert_eq!(cached.snapshot(), None, "{content}");
        }
    }

    #[test]
    fn the_licence_is_read_from_the_card() {
        let folder = tempfile::tempdir().unwrap();
        let (cached, _, _) = cache_with_blob(folder.path());
        cached.set_commit(COMMIT).unwrap();
        let card = cached.snapshot_path(COMMIT).join("README.md");
        create_parent(&card).unwrap();
        fs::write(&card, "---\nlanguage: en\nlicense: cc-by-4.0\n---\n# Model\n").unwrap();
        assert_eq!(cached.licence().as_deref(), Some("cc-by-4.0"));
        fs::write(&card, "# Model\nlicense: none\n").unwrap();
        assert_eq!(cached.licence(), None);
    }

    #[test]
    fn file_names_that_leave_their_folder_are_unsafe() {
        assert!(["a", "a/b.json", "a..b", ".gitattributes"].iter().all(|name| is_safe_file_name(name)));
        for name in ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a\\b", "C:a", "a\0b", "a\nb"] {
            assert!(!is_safe_file_name(name), "{name:?}");
        }
    }
}
