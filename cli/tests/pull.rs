//! `babil pull`, `list`, `show`, `verify` and `rm` against a hub on a loopback address.
#![cfg(all(unix, feature = "pull"))]

#[path = "support/hub.rs"]
mod hub;
#[cfg(feature = "audio")]
#[path = "support/sound.rs"]
mod sound;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use assert_cmd::Command;
use hub::{COMMIT, Fault, File, Hub};
use tempfile::TempDir;

const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_SIZE: usize = 600_000;

/// A model of the Marian family, as far as names go.
fn model() -> Vec<File> {
    let noise = (0..WEIGHTS_SIZE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let small =
        |name: &str| File { name: name.to_owned(), content: format!("content of {name}\n").into(), large: false };
    let mut files: Vec<_> =
        ["README.md", "config.json", "source.spm", "target.spm", "vocab.json", "tf_model.h5"].map(small).into();
    files.push(File { name: WEIGHTS.to_owned(), content: noise, large: true });
    files
}

/// A hub, an empty cache, and `babil` between them.
struct Setup {
    hub: Hub,
    home: TempDir,
}

/// What a finished `babil` left, with addresses and paths replaced.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn message(&self) -> String {
        format!(
            "exit {}\n{}",
            self.code.map_or("by signal".to_owned(), |code| code.to_string()),
            self.stderr.trim_end()
        )
    }

    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }
}

impl Setup {
    fn new() -> Self {
        Self::with(model())
    }

    fn with(files: Vec<File>) -> Self {
        Self { hub: Hub::start(files), home: tempfile::tempdir().unwrap() }
    }

    fn environment(&self) -> [(&'static str, String); 3] {
        let home = self.home.path().display().to_string();
        [("HF_ENDPOINT", self.hub.endpoint()), ("HF_HOME", home.clone()), ("HOME", home)]
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_babil"));
        // Against a hang, not a measurement.
        command.env_clear().envs(self.environment()).args(args).timeout(Duration::from_secs(300));
        command
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_babil"));
        command.env_clear().envs(self.environment()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn finish(&self, mut command: Command) -> Outcome {
        let output = command.output().unwrap();
        let clean = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace(&self.hub.endpoint(), "[HUB]")
                .replace(&self.hub.cdn(), "[CDN]")
                .replace(&self.home.path().display().to_string(), "[HOME]")
        };
        Outcome { code: output.status.code(), stdout: clean(&output.stdout), stderr: clean(&output.stderr) }
    }

    fn babil(&self, args: &[&str]) -> Outcome {
        self.finish(self.command(args))
    }

    fn repository(&self) -> PathBuf {
        self.home.path().join("hub/models--owner--repo")
    }

    fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(COMMIT)
    }

    fn incomplete(&self) -> PathBuf {
        let weights = model().pop().unwrap();
        self.repository().join("blobs").join(format!("{}.incomplete", weights.etag()))
    }

    /// All of the model and nothing else is there, and it is right.
    fn assert_pulled(&self) {
        let mut expected = model();
        expected.retain(|file| file.name != "tf_model.h5");
        for file in &expected {
            assert_eq!(fs::read(self.snapshot().join(&file.name)).unwrap(), file.content, "{}", file.name);
            assert!(self.repository().join("blobs").join(file.etag()).is_file());
        }
        assert_eq!(names(&self.snapshot()).len(), expected.len());
        assert_eq!(names(&self.repository().join("blobs")).len(), expected.len(), "no parts are left");
        assert_eq!(fs::read_to_string(self.repository().join("refs/main")).unwrap(), COMMIT);
    }

    /// Nothing that could be taken for a model is there.
    fn assert_not_pulled(&self) {
        assert!(!self.snapshot().exists());
        assert!(!self.repository().join("refs/main").exists());
        let show = self.babil(&["show", "owner/repo"]).succeeded();
        assert!(show.stdout.contains("not pulled"), "{}", show.stdout);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until `condition` holds; fails after a bound that no working run comes near.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain for {what}");
}

#[test]
fn pulls_what_the_family_needs() {
    let setup = Setup::new();
    let pulled = setup.babil(&["pull", "owner/repo"]).succeeded();
    setup.assert_pulled();
    insta::assert_snapshot!(pulled.stderr, @"
    owner/repo: 6 files, 600.11 kB, 6 of them fetched
    licence of the weights: cc-by-4.0
    ");
    assert_eq!(pulled.stdout.trim(), format!("[HOME]/hub/models--owner--repo/snapshots/{COMMIT}"));

    // Again: nothing is fetched.
    let fetched = setup.hub.fetches().len();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    assert_eq!(setup.hub.fetches().len(), fetched);
    insta::assert_snapshot!(setup.babil(&["verify", "owner/repo"]).succeeded().stdout, @"
    owner/repo/README.md  21 B  good
    owner/repo/config.json  23 B  good
    owner/repo/model.safetensors  600.00 kB  good
    owner/repo/source.spm  22 B  good
    owner/repo/target.spm  22 B  good
    owner/repo/vocab.json  22 B  good
    ");
    insta::assert_snapshot!(setup.babil(&["show", "owner/repo"]).succeeded().stdout, @"
    name        owner/repo
    repository  owner/repo
    licence     not in the catalogue; see the model card
    state       pulled, 600.15 kB on disk
    commit      0123456789abcdef0123456789abcdef01234567
    path        [HOME]/hub/models--owner--repo/snapshots/0123456789abcdef0123456789abcdef01234567
    file        README.md (21 B)
    file        config.json (23 B)
    file        model.safetensors (600.00 kB)
    file        source.spm (22 B)
    file        target.spm (22 B)
    file        vocab.json (22 B)
    ");
    let list = setup.babil(&["list", "--local"]).succeeded();
    insta::assert_snapshot!(list.stdout, @"
    MODEL          KIND         ABOUT                  STATE
    en-fr (fr-en)  translation  en <-> fr              built in
    owner/repo     translation  ?                      pulled, 600.15 kB
    ");
    insta::assert_snapshot!(setup.babil(&["rm", "owner/repo"]).succeeded().message(), @"
    exit 0
    owner/repo: 6 files deleted, 600.11 kB
    ");
    assert!(!setup.repository().exists());
    insta::assert_snapshot!(setup.babil(&["rm", "owner/repo"]).message(), @"
    exit 3
    babil: `owner/repo` is not in the cache; get it with `babil pull owner/repo`
    ");
}

#[test]
fn results_as_json() {
    let setup = Setup::new();
    let json =
        |args: &[&str]| -> serde_json::Value { serde_json::from_str(&setup.babil(args).succeeded().stdout).unwrap() };
    let pulled = json(&["pull", "owner/repo", "--json"]);
    assert_eq!(pulled["pulled"]["commit"], COMMIT);
    assert_eq!(pulled["pulled"]["licence"], "cc-by-4.0");
    assert_eq!(json(&["show", "owner/repo", "--json"])["state"], "pulled");
    assert_eq!(json(&["verify", "owner/repo", "--json"])["good"], true);
    assert_eq!(json(&["list", "--local", "--json"])[1]["name"], "owner/repo");
    assert_eq!(json(&["rm", "owner/repo", "--json"])["removed"]["files"], 6);
    let error = setup.babil(&["verify", "owner/repo", "--json"]);
    insta::assert_snapshot!(error.message(), @r#"
    exit 3
    {"error":"`owner/repo` is not in the cache; get it with `babil pull owner/repo`","exit_code":3}
    "#);
}

#[test]
fn a_killed_pull_continues_where_it_ended() {
    for had in [1, 65_536, 300_000, WEIGHTS_SIZE - 1] {
        let setup = Setup::new();
        setup.hub.faults(WEIGHTS, [Fault::StallAfter(had)]);
        let mut pull = setup.spawn(&["pull", "owner/repo"]);
        wait_for("the first part", || fs::metadata(setup.incomplete()).is_ok_and(|part| part.len() == had as u64));
        pull.kill().unwrap();
        pull.wait().unwrap();
        setup.assert_not_pulled();

        let pulled = setup.babil(&["pull", "owner/repo", "--json"]).succeeded();
        setup.assert_pulled();
        assert!(pulled.stdout.contains(r#""origin":"resumed""#), "{}", pulled.stdout);
        let fetches = setup.hub.fetches().into_iter().filter(|(file, _)| file == WEIGHTS);
        assert_eq!(fetches.map(|(_, range)| range).collect::<Vec<_>>(), [None, Some(format!("bytes={had}-"))]);
        setup.hub.release();
    }
}

#[test]
fn an_interrupted_pull_says_so_and_keeps_its_part() {
    let setup = Setup::new();
    let drop = Fault::DropAfter(0);
    setup.hub.faults(WEIGHTS, [Fault::StallAfter(300_000), drop.clone(), drop.clone(), drop]);
    let pull = setup.spawn(&["pull", "owner/repo"]);
    wait_for("the first part", || fs::metadata(setup.incomplete()).is_ok_and(|part| part.len() == 300_000));
    let interrupted = std::process::Command::new("kill").args(["-INT", &pull.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    // The stalled answer ends; the pauses between further attempts leave the interrupt time to arrive.
    setup.hub.release();
    let output = pull.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("babil: cancelled"));
    setup.assert_not_pulled();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    setup.assert_pulled();
}

#[test]
fn parts_that_cannot_be_continued_are_fetched_again() {
    // Damaged, longer than the file, and a server that knows no ranges.
    for (part, fault) in
        [(1000, None), (WEIGHTS_SIZE + 1, None), (WEIGHTS_SIZE, None), (1000, Some(Fault::IgnoreRange))]
    {
        let setup = Setup::new();
        fs::create_dir_all(setup.incomplete().parent().unwrap()).unwrap();
        fs::write(setup.incomplete(), vec![0; part]).unwrap();
        setup.hub.faults(WEIGHTS, fault);
        setup.babil(&["pull", "owner/repo"]).succeeded();
        setup.assert_pulled();
    }
}

#[test]
fn broken_connections_and_busy_servers_are_retried() {
    let setup = Setup::new();
    let busy = Fault::Status(429, "Retry-After: 0\r\n");
    setup.hub.faults(WEIGHTS, [Fault::DropAfter(100_000), busy, Fault::Status(503, ""), Fault::DropAfter(100_000)]);
    let pulled = setup.babil(&["pull", "owner/repo"]).succeeded();
    setup.assert_pulled();
    insta::assert_snapshot!(pulled.stderr, @"
    [HUB]/owner/repo/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors: the connection broke after 100000 of 600000 bytes: Peer disconnected; trying again in 0.2 s
    [CDN]/cdn/model.safetensors: HTTP 429 Too Many Requests; trying again in 0.0 s
    [CDN]/cdn/model.safetensors: HTTP 503 Service Unavailable; trying again in 1.0 s
    [HUB]/owner/repo/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors: the connection broke after 200000 of 600000 bytes: Peer disconnected; trying again in 0.2 s
    owner/repo: 6 files, 600.11 kB, 6 of them fetched
    licence of the weights: cc-by-4.0
    ");
    let ranges: Vec<_> = setup.hub.fetches().into_iter().filter_map(|(_, range)| range).collect();
    assert_eq!(ranges, ["bytes=100000-", "bytes=100000-", "bytes=100000-", "bytes=200000-"]);
}

#[test]
fn a_server_that_stays_down_is_given_up() {
    let setup = Setup::new();
    setup.hub.faults("config.json", vec![Fault::Status(500, "Retry-After: 0\r\n"); 10]);
    let failed = setup.babil(&["pull", "owner/repo", "--quiet"]);
    insta::assert_snapshot!(failed.message(), @"
    exit 6
    babil: [HUB]/owner/repo/resolve/0123456789abcdef0123456789abcdef01234567/config.json: HTTP 500 Internal Server Error
    ");
    assert_eq!(setup.hub.fetches().iter().filter(|(file, _)| file == "config.json").count(), 5);
    setup.assert_not_pulled();
}

#[test]
fn a_wrong_checksum_is_refused_and_deleted() {
    for file in [WEIGHTS, "config.json"] {
        let setup = Setup::new();
        setup.hub.faults(file, [Fault::Corrupt]);
        let failed = setup.babil(&["pull", "owner/repo"]);
        assert_eq!(failed.code, Some(6));
        if file == "config.json" {
            insta::assert_snapshot!(failed.message(), @"
            exit 6
            babil: config.json: wrong checksum: expected 5e53645c99be8a3cdf8fb7319c8a4994c879378a, received b97e08ebc7c7f2b80e6c656fa040414065685ca1; the download was deleted, try again
            ");
        }
        assert!(!setup.incomplete().exists());
        setup.assert_not_pulled();
        setup.babil(&["pull", "owner/repo"]).succeeded();
        setup.assert_pulled();
    }
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let setup = Setup::new();
    setup.hub.require_token("secret");
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo"]).message(), @"
    exit 6
    babil: the hub refuses access to `owner/repo` (HTTP 401): it is private or gated and needs a token in HF_TOKEN, or there is no such repository
    ");
    let mut wrong = setup.command(&["pull", "owner/repo"]);
    wrong.env("HF_TOKEN", "wrong");
    insta::assert_snapshot!(setup.finish(wrong).message(), @"
    exit 6
    babil: the hub refuses access to `owner/repo` (HTTP 401): the token of HF_TOKEN has no right to read it, or there is no such repository
    ");

    fs::write(setup.home.path().join("token"), "secret\n").unwrap();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    setup.assert_pulled();
    let requests = setup.hub.requests();
    let at_cdn: Vec<_> = requests.iter().filter(|request| request.at_cdn).collect();
    assert!(!at_cdn.is_empty());
    assert!(at_cdn.iter().all(|request| request.authorization.is_none()));
}

#[test]
fn what_the_hub_does_not_have() {
    let setup = Setup::new();
    insta::assert_snapshot!(setup.babil(&["pull", "owner/other"]).message(), @"
    exit 3
    babil: [HUB] has no `owner/other` at revision `main`
    ");
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo@v2"]).message(), @"
    exit 3
    babil: [HUB] has no `owner/repo` at revision `v2`
    ");
    setup.hub.list_also("generation_config.json");
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo"]).message(), @"
    exit 3
    babil: [HUB] has no file `generation_config.json` in `owner/repo` at revision `main`
    ");

    let mut files = model();
    files.retain(|file| file.name != WEIGHTS && file.name != "source.spm");
    let setup = Setup::with(files);
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo"]).message(), @"
    exit 4
    babil: `owner/repo` has no GGUF file, and no source.spm, model.safetensors or pytorch_model.bin: it is no model that babil can load
    ");
}

#[test]
fn hostile_names_are_refused() {
    for name in ["../../evil", "/etc/evil", "a\\..\\evil", "a//evil", "C:evil"] {
        let setup = Setup::new();
        setup.hub.list_also(name);
        let failed = setup.babil(&["pull", "owner/repo"]);
        assert_eq!(failed.code, Some(6), "{}", failed.stderr);
        if name.starts_with("..") {
            insta::assert_snapshot!(failed.message(), @r#"
            exit 6
            babil: [HUB]/api/models/owner/repo/revision/main: the answer cannot be used: the file name "../../evil" leads out of the repository
            "#);
        }
        assert!(names(setup.home.path()).is_empty(), "nothing was written");
    }
    let setup = Setup::new();
    insta::assert_snapshot!(setup.babil(&["pull", "../evil"]).message(), @"
    exit 3
    babil: unknown model `../evil`: not in the catalogue (`babil list`), not a path, and not of the form owner/repo
    ");
}

#[test]
fn a_full_disk_keeps_the_part() {
    let setup = Setup::new();
    // A limit on the size of files stands in for the full disk: 200 blocks of 512 bytes, or of 1024 in some shells.
    let mut limited = Command::new("sh");
    limited.env_clear().envs(setup.environment()).env("PATH", "/usr/bin:/bin");
    let script = r#"trap '' XFSZ; ulimit -f 200; exec "$0" pull owner/repo"#;
    limited.args(["-c", script, env!("CARGO_BIN_EXE_babil")]);
    let failed = setup.finish(limited);
    assert_eq!(failed.code, Some(7), "{}", failed.stderr);
    let part = fs::metadata(setup.incomplete()).unwrap().len();
    assert!(part > 0);
    let message = failed.message().replace(&(WEIGHTS_SIZE as u64 - part).to_string(), "[BYTES]");
    insta::assert_snapshot!(message, @"
    exit 7
    babil: no space left for model.safetensors: [BYTES] more bytes are needed in [HOME]/hub/models--owner--repo/blobs; the part so far is kept
    ");
    setup.assert_not_pulled();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    setup.assert_pulled();
    assert!(setup.hub.fetches().contains(&(WEIGHTS.to_owned(), Some(format!("bytes={part}-")))));
}

#[test]
fn a_cache_that_cannot_be_written() {
    let setup = Setup::new();
    fs::write(setup.home.path().join("file"), "").unwrap();
    let mut command = setup.command(&["pull", "owner/repo"]);
    command.env("HF_HUB_CACHE", setup.home.path().join("file/hub"));
    insta::assert_snapshot!(setup.finish(command).message(), @"
    exit 7
    babil: cannot create [HOME]/file/hub/models--owner--repo/blobs: Not a directory (os error 20)
    ");
}

#[test]
fn two_pulls_at_once_share_the_work() {
    let setup = Setup::new();
    setup.hub.faults(WEIGHTS, [Fault::StallAfter(300_000)]);
    let first = setup.spawn(&["pull", "owner/repo"]);
    wait_for("the first part", || fs::metadata(setup.incomplete()).is_ok_and(|part| part.len() == 300_000));
    let second = setup.spawn(&["pull", "owner/repo"]);
    let heads = || setup.hub.requests().iter().filter(|r| r.method == "HEAD" && r.path.ends_with(WEIGHTS)).count();
    wait_for("the second pull", || heads() == 2);
    let busy = setup.babil(&["rm", "owner/repo"]);
    insta::assert_snapshot!(busy.message(), @"
    exit 7
    babil: `owner/repo` is being downloaded by another process
    ");
    setup.hub.release();
    for pull in [first, second] {
        let output = pull.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    setup.assert_pulled();
    let whole = setup.hub.fetches().into_iter().filter(|(_, range)| range.is_none());
    assert_eq!(whole.filter(|(file, _)| file == WEIGHTS).count(), 1);
}

/// A repository of GGUF files: three types of a model, one of them in parts, and what is no model.
fn gguf_files() -> Vec<File> {
    let tiny = include_bytes!("../../runtime/tests/gguf/tiny.gguf");
    let file = |name: &str| {
        // What follows the tensors means nothing, and makes contents differ.
        let content = [tiny.as_slice(), name.as_bytes()].concat();
        File { name: name.to_owned(), content, large: true }
    };
    let names = [
        "tiny-Q4_K_M.gguf",
        "tiny-q8_0.gguf",
        "Q6_K/tiny-Q6_K-00001-of-00002.gguf",
        "Q6_K/tiny-Q6_K-00002-of-00002.gguf",
        "mmproj-tiny-Q8_0.gguf",
        "tiny-Q8_0-imatrix.gguf",
    ];
    let mut files: Vec<_> = names.map(file).into();
    let card = "---\nlicense: other\nlicense_name: tiny-1.0\n---\n";
    files.push(File { name: "README.md".to_owned(), content: card.into(), large: false });
    files
}

#[test]
fn a_gguf_file_is_chosen_by_its_type() {
    let setup = Setup::with(gguf_files());
    let path_of = |name: &str| format!("[HOME]/hub/models--owner--repo/snapshots/{COMMIT}/{name}");
    for (name, files) in [
        ("owner/repo", &["tiny-Q4_K_M.gguf"][..]),
        ("owner/repo:Q8_0", &["tiny-q8_0.gguf"]),
        ("owner/repo/tiny-q8_0.gguf", &["tiny-q8_0.gguf"]),
        ("owner/repo:q6_k", &["Q6_K/tiny-Q6_K-00001-of-00002.gguf", "Q6_K/tiny-Q6_K-00002-of-00002.gguf"]),
    ] {
        let pulled = setup.babil(&["pull", name]).succeeded();
        assert_eq!(pulled.stdout.trim(), path_of(files[0]));
        for file in files {
            let expected = gguf_files().into_iter().find(|f| f.name == *file).unwrap().content;
            assert_eq!(fs::read(setup.snapshot().join(file)).unwrap(), expected);
        }
        let again = setup.babil(&["pull", name, "--offline"]).succeeded();
        assert_eq!(again.stdout, pulled.stdout, "the cache is chosen from in the same way");
    }
    assert_eq!(setup.hub.fetches().len(), 5, "four files and the card");

    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo:Q5_K_M"]).message(), @"
    exit 3
    babil: `owner/repo` has no `Q5_K_M` among its GGUF files: tiny-Q4_K_M.gguf, tiny-q8_0.gguf, Q6_K/tiny-Q6_K-00001-of-00002.gguf
    ");
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo/other.gguf"]).message(), @"
    exit 3
    babil: `owner/repo` has no `other.gguf` among its GGUF files: tiny-Q4_K_M.gguf, tiny-q8_0.gguf, Q6_K/tiny-Q6_K-00001-of-00002.gguf
    ");
    insta::assert_snapshot!(setup.babil(&["run", "owner/repo:Q5_K_M", "Hello"]).message(), @"
    exit 3
    babil: `owner/repo:Q5_K_M` is not in the cache; get it with `babil pull owner/repo:Q5_K_M`
    ");
}

#[test]
fn several_files_are_not_chosen_between() {
    let mut files = gguf_files();
    files.retain(|file| file.name == "tiny-q8_0.gguf");
    for (name, content) in [("other-q8_0.gguf", "1"), ("other-f16.gguf", "2")] {
        files.push(File { name: name.to_owned(), content: content.into(), large: true });
    }
    let setup = Setup::with(files);
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo"]).message(), @"
    exit 3
    babil: `owner/repo` has several GGUF files for `Q8_0`: tiny-q8_0.gguf, other-q8_0.gguf; name one as owner/repo:TYPE or owner/repo/FILE.gguf
    ");
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo:Q8_0"]).message(), @"
    exit 3
    babil: `owner/repo` has several GGUF files for `Q8_0`: tiny-q8_0.gguf, other-q8_0.gguf; name one as owner/repo:TYPE or owner/repo/FILE.gguf
    ");

    let types = ["a-q4.gguf", "a-f16.gguf"];
    let files = types.map(|name| File { name: name.to_owned(), content: name.into(), large: true });
    let setup = Setup::with(files.into());
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo"]).message(), @"
    exit 3
    babil: `owner/repo` has several GGUF files: a-q4.gguf, a-f16.gguf; name one as owner/repo:TYPE or owner/repo/FILE.gguf
    ");
    for name in types {
        setup.babil(&["pull", &format!("owner/repo/{name}")]).succeeded();
    }
    insta::assert_snapshot!(setup.babil(&["run", "owner/repo", "Hello"]).message(), @"
    exit 3
    babil: `owner/repo` has several GGUF files: a-f16.gguf, a-q4.gguf; name one as owner/repo:TYPE or owner/repo/FILE.gguf
    ");
    insta::assert_snapshot!(setup.babil(&["list", "--local", "--kind", "language"]).succeeded().stdout, @"
    MODEL       KIND         ABOUT                  STATE
    owner/repo  language     ?                      pulled F16 and Q4, 59 B
    ");
}

#[test]
fn gguf_models_are_listed_shown_verified_and_removed() {
    let setup = Setup::with(gguf_files());
    setup.babil(&["pull", "owner/repo", "owner/repo:Q8_0", "owner/repo:Q6_K"]).succeeded();
    insta::assert_snapshot!(setup.babil(&["list", "--local"]).succeeded().stdout, @"
    MODEL          KIND         ABOUT                  STATE
    en-fr (fr-en)  translation  en <-> fr              built in
    owner/repo     language     ?                      pulled Q6_K and Q4_K_M and Q8_0, 13.50 kB
    ");
    insta::assert_snapshot!(setup.babil(&["show", "owner/repo:Q8_0"]).succeeded().stdout, @"
    name        owner/repo:Q8_0
    repository  owner/repo
    family      tiny
    parameters  1551
    tensors     bfloat16: 1 tensor, 768 B
    tensors     float16: 1 tensor, 768 B
    tensors     float32: 1 tensor, 60 B
    tensors     q4_0: 1 tensor, 216 B
    tensors     q8_0: 1 tensor, 408 B
    vocabulary  4 tokens
    template    no
    licence     tiny-1.0
    state       pulled, 13.50 kB on disk
    commit      0123456789abcdef0123456789abcdef01234567
    path        [HOME]/hub/models--owner--repo/snapshots/0123456789abcdef0123456789abcdef01234567/tiny-q8_0.gguf
    file        Q6_K/tiny-Q6_K-00001-of-00002.gguf (3.36 kB)
    file        Q6_K/tiny-Q6_K-00002-of-00002.gguf (3.36 kB)
    file        README.md (46 B)
    file        tiny-Q4_K_M.gguf (3.34 kB)
    file        tiny-q8_0.gguf (3.34 kB)
    ");
    let file = setup.snapshot().join("tiny-q8_0.gguf").display().to_string();
    insta::assert_snapshot!(setup.babil(&["show", &file]).succeeded().stdout, @"
    family      tiny
    parameters  1551
    tensors     bfloat16: 1 tensor, 768 B
    tensors     float16: 1 tensor, 768 B
    tensors     float32: 1 tensor, 60 B
    tensors     q4_0: 1 tensor, 216 B
    tensors     q8_0: 1 tensor, 408 B
    vocabulary  4 tokens
    template    no
    licence     not in the file
    ");
    insta::assert_snapshot!(setup.babil(&["show", &file, "--metadata"]).succeeded().stdout, @r#"
    general.architecture = "tiny"
    type.uint8 = 200
    type.int8 = -100
    type.uint16 = 60000
    type.int16 = -30000
    type.uint32 = 4000000000
    type.int32 = -2000000000
    type.float32 = 0.1
    type.uint64 = 18446744073709551615
    type.int64 = -9223372036854775808
    type.float64 = 0.1
    type.bool = true
    type.string = "größer"
    tokenizer.ggml.tokens = 4 x string: ["<unk>", "▁a", "", "b"]
    tokenizer.ggml.scores = 4 x f32: [0, -1.5, -2.25, 3]
    tokenizer.ggml.token_type = 4 x i32: [2, 1, 1, 6]
    flags = 3 x bool: [true, false, true]
    general.alignment = 64
    "#);
    insta::assert_snapshot!(setup.babil(&["show", "owner/repo", "--tensors"]).succeeded().stdout, @"
    bf16       bfloat16  [6, 64]           768 B
    f16        float16   [6, 64]           768 B
    f32        float32   [3, 5]            60 B
    q4_0       q4_0      [6, 64]           216 B
    q8_0       q8_0      [6, 64]           408 B
    positions  i32       [5]               not used
    ");
    insta::assert_snapshot!(setup.babil(&["show", &file, "--template"]).message(), @"
    exit 2
    babil: `[HOME]/hub/models--owner--repo/snapshots/0123456789abcdef0123456789abcdef01234567/tiny-q8_0.gguf` has no chat template
    ");
    let json = setup.babil(&["show", &file, "--json"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["metadata"]["type.uint64"], u64::MAX);
    assert_eq!(json["metadata"]["tokenizer.ggml.tokens"][3], "b");
    assert_eq!(json["summary"]["types"]["q8_0"]["tensors"], 1);

    fs::write(setup.snapshot().join("tiny-q8_0.gguf"), "damaged").unwrap();
    let verified = setup.babil(&["verify", "owner/repo:Q8_0"]);
    insta::assert_snapshot!(verified.message(), @"
    exit 4
    babil: `owner/repo:Q8_0`: 1 damaged file; run `babil rm owner/repo:Q8_0` and `babil pull owner/repo:Q8_0`
    ");
    assert_eq!(verified.stdout.matches("good").count(), 4);

    // A packed copy of a file goes with it, and no other.
    let packed = setup.home.path().join(".cache/babil/packed");
    fs::create_dir_all(&packed).unwrap();
    for (copy, of) in [("1.safetensors", "tiny-q8_0.gguf"), ("2.safetensors", "tiny-Q4_K_M.gguf")] {
        let origin = format!("{} [Some((1, None))] 00 as it is", setup.snapshot().join(of).display());
        let header = serde_json::json!({ "__metadata__": { "babil.origin": origin } }).to_string();
        fs::write(packed.join(copy), [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    }
    insta::assert_snapshot!(setup.babil(&["rm", "owner/repo:Q8_0"]).succeeded().message(), @"
    exit 0
    owner/repo:Q8_0: 2 files deleted, 186 B
    ");
    assert_eq!(names(&packed), ["2.safetensors"]);
    assert_eq!(names(&setup.snapshot()), ["Q6_K", "README.md", "tiny-Q4_K_M.gguf"]);
    assert_eq!(names(&setup.repository().join("blobs")).len(), 4);
    setup.babil(&["verify", "owner/repo"]).succeeded();
    for command in ["rm", "verify", "show"] {
        let gone = setup.babil(&[command, "owner/repo:Q8_0"]);
        assert!(format!("{}{}", gone.stdout, gone.stderr).contains("`babil pull owner/repo:Q8_0`"), "{command}");
    }
    setup.babil(&["rm", "owner/repo"]).succeeded();
    assert!(!setup.repository().exists());
    assert!(names(&packed).is_empty());
}

#[test]
fn gguf_downloads_resume_and_are_checked() {
    let file = "tiny-Q4_K_M.gguf";
    let setup = Setup::with(gguf_files());
    setup.hub.faults(file, [Fault::DropAfter(1000), Fault::Corrupt]);
    let failed = setup.babil(&["pull", "owner/repo"]);
    assert_eq!(failed.code, Some(6));
    assert!(failed.stderr.contains("tiny-Q4_K_M.gguf: wrong checksum"), "{}", failed.stderr);
    assert_eq!(setup.babil(&["run", "owner/repo", "Hello"]).code, Some(3), "nothing was pulled");
    let ranges = setup.hub.fetches().into_iter().filter(|(name, _)| name == file).map(|(_, range)| range);
    assert_eq!(ranges.collect::<Vec<_>>(), [None, Some("bytes=1000-".to_owned())]);
    setup.babil(&["pull", "owner/repo"]).succeeded();
}

#[test]
fn gated_models_name_the_page_with_their_terms() {
    let setup = Setup::with(gguf_files());
    setup.hub.gate("secret");
    insta::assert_snapshot!(setup.babil(&["pull", "owner/repo:Q8_0"]).message(), @"
    exit 6
    babil: `owner/repo` is gated (HTTP 401): accept its terms at [HUB]/owner/repo, and put a token of that account into HF_TOKEN
    ");
    let mut with_token = setup.command(&["pull", "owner/repo:Q8_0"]);
    with_token.env("HF_TOKEN", "secret");
    setup.finish(with_token).succeeded();
}

#[test]
fn run_pulls_only_when_asked_to() {
    let setup = Setup::with(gguf_files());
    insta::assert_snapshot!(setup.babil(&["run", "owner/repo:Q8_0", "Hello"]).message(), @"
    exit 3
    babil: `owner/repo:Q8_0` is not in the cache; get it with `babil pull owner/repo:Q8_0`
    ");
    assert!(setup.hub.requests().is_empty());
    insta::assert_snapshot!(setup.babil(&["run", "--pull", "--offline", "owner/repo:Q8_0", "Hello"]).message(), @"
    exit 6
    pulling owner/repo:Q8_0 from owner/repo
    babil: offline (--offline or HF_HUB_OFFLINE): cannot fetch `owner/repo:Q8_0`
    ");
    assert!(setup.hub.requests().is_empty());
    // The model itself is none that can run.
    let failed = setup.babil(&["run", "--pull", "owner/repo:Q8_0", "Hello"]);
    assert_eq!(failed.code, Some(4), "{}", failed.stderr);
    let notes: Vec<_> = failed.stderr.lines().take(3).collect();
    insta::assert_snapshot!(notes.join("\n"), @"
    pulling owner/repo:Q8_0 from owner/repo
    owner/repo:Q8_0: 2 files, 3.39 kB, 2 of them fetched
    licence of the weights: cc-by-4.0
    ");
    assert!(setup.snapshot().join("tiny-q8_0.gguf").exists());
    let requests = setup.hub.requests().len();
    setup.babil(&["run", "--pull", "owner/repo:Q8_0", "Hello"]);
    assert_eq!(setup.hub.requests().len(), requests, "what is here is not looked for");
    insta::assert_snapshot!(setup.babil(&["run", "smollm2-135m:Q4_0", "Hello"]).message(), @"
    exit 3
    babil: `smollm2-135m:Q4_0` is not in the cache; get it with `babil pull smollm2-135m:Q4_0`
    ");
    insta::assert_snapshot!(setup.babil(&["translate", "--model", "owner/repo:Q8_0", "Hello"]).message(), @"
    exit 4
    babil: not supported: translating with [HOME]/hub/models--owner--repo/snapshots/0123456789abcdef0123456789abcdef01234567/tiny-q8_0.gguf, a language model (`babil run` runs it)
    ");
}

#[test]
fn language_models_of_the_catalogue() {
    let setup = Setup::new();
    insta::assert_snapshot!(setup.babil(&["show", "smollm2-135m"]).succeeded().stdout, @"
    name        smollm2-135m
    about       Hugging Face's smallest chat model
    repository  bartowski/SmolLM2-135M-Instruct-GGUF
    kind        language
    family      llama
    parameters  about 135 million
    context     8192 tokens
    type        Q8_0, unless another is asked for as smollm2-135m:TYPE
    licence     apache-2.0
    state       not pulled; get it with `babil pull smollm2-135m`
    ");
    insta::assert_snapshot!(setup.babil(&["show", "smollm2-135m", "--template"]).message(), @"
    exit 3
    babil: `smollm2-135m` is not in the cache; get it with `babil pull smollm2-135m`
    ");
    insta::assert_snapshot!(setup.babil(&["show", "en-fr", "--template"]).message(), @"
    exit 2
    babil: `en-fr` is no GGUF file, which --template, --metadata and --tensors need
    ");
    insta::assert_snapshot!(setup.babil(&["list", "--kind", "language"]).succeeded().stdout, @"
    MODEL                           KIND         ABOUT                  STATE
    smollm2-135m                    language     llama, 135M            -
    smollm2-360m                    language     llama, 362M            -
    smollm2-1.7b (smollm2)          language     llama, 1.7B            -
    smollm3-3b (smollm3)            language     smollm3, 3.1B          -
    qwen2.5-0.5b                    language     qwen2, 494M            -
    qwen2.5-1.5b                    language     qwen2, 1.5B            -
    qwen2.5-3b                      language     qwen2, 3.1B            -
    qwen2.5-coder-0.5b              language     qwen2, 494M            -
    qwen2.5-coder-1.5b              language     qwen2, 1.5B            -
    qwen2.5-coder-3b                language     qwen2, 3.1B            -
    qwen3-0.6b                      language     qwen3, 596M            -
    qwen3-1.7b                      language     qwen3, 1.7B            -
    qwen3-4b                        language     qwen3, 4.0B            -
    llama-3.2-1b (llama3.2-1b)      language     llama, 1.2B            -
    llama-3.2-3b (llama3.2-3b)      language     llama, 3.2B            -
    gemma-3-270m (gemma3-270m)      language     gemma3, 268M           -
    gemma-3-1b (gemma3-1b)          language     gemma3, 1.0B           -
    gemma-3-4b (gemma3-4b)          language     gemma3, 3.9B           -
    lfm2-350m                       language     lfm2, 354M             -
    lfm2-700m                       language     lfm2, 742M             -
    lfm2-1.2b                       language     lfm2, 1.2B             -
    phi-3.5-mini                    language     phi3, 3.8B             -
    phi-4-mini                      language     phi3, 3.8B             -
    granite-3.3-2b                  language     granite, 2.5B          -
    granite-4.0-350m                language     granite, 352M          -
    granite-4.0-1b                  language     granite, 1.6B          -
    granite-4.0-micro               language     granite, 3.4B          -
    hunyuan-0.5b                    language     hunyuan-dense, 539M    -
    hunyuan-1.8b                    language     hunyuan-dense, 1.8B    -
    hunyuan-mt-1.8b (hy-mt-1.8b)    language     hunyuan-dense, 1.8B    -
    bitnet-2b (bitnet-b1.58-2b-4t)  language     bitnet-b1.58, 2.4B     -
    tinyllama-1.1b (tinyllama)      language     llama, 1.1B            -
    ministral-3-3b (ministral3-3b)  language     mistral3, 3.4B         -
    ");
}

#[cfg(feature = "audio")]
#[test]
fn speech_models_are_pulled_and_transcribe() {
    let setup = Setup::with({
        let folder = PathBuf::from(sound::speech_model("tiny"));
        let needed = ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", WEIGHTS];
        let file = |name: &str| File {
            name: name.to_owned(),
            content: fs::read(folder.join(name)).unwrap(),
            large: name == WEIGHTS,
        };
        let other = File { name: "flax_model.msgpack".to_owned(), content: b"more".into(), large: true };
        needed.into_iter().map(file).chain([other]).collect()
    });
    let film = setup.home.path().join("film.wav").display().to_string();
    fs::write(&film, sound::recording(2)).unwrap();
    let transcribe = ["transcribe", &film, "--model", "owner/repo"];
    insta::assert_snapshot!(setup.babil(&transcribe).message(), @"
    exit 3
    babil: `owner/repo` is not in the cache; get it with `babil pull owner/repo`
    ");
    setup.babil(&["pull", "owner/repo"]).succeeded();
    assert_eq!(
        names(&setup.snapshot()),
        ["config.json", "generation_config.json", WEIGHTS, "preprocessor_config.json", "tokenizer.json"]
    );
    insta::assert_snapshot!(setup.babil(&["list", "--local", "--kind", "speech"]).succeeded().stdout);
    let requests = setup.hub.requests().len();
    let pulled = setup.babil(&transcribe).succeeded();
    let folder = setup.babil(&["transcribe", &film, "--model", &sound::speech_model("tiny")]).succeeded();
    assert!(!pulled.stdout.is_empty());
    assert_eq!(pulled.stdout, folder.stdout);
    assert_eq!(setup.hub.requests().len(), requests);
    insta::assert_snapshot!(
        "speech_models_of_the_catalogue",
        setup.babil(&["list", "--kind", "speech"]).succeeded().stdout
    );
    insta::assert_snapshot!(
        "a_speech_model_of_the_catalogue",
        setup.babil(&["show", "whisper-base"]).succeeded().stdout
    );
}

#[test]
fn offline_means_no_request() {
    let setup = Setup::new();
    insta::assert_snapshot!(setup.babil(&["--offline", "pull", "owner/repo"]).message(), @"
    exit 6
    babil: offline (--offline or HF_HUB_OFFLINE): cannot fetch `owner/repo`
    ");
    let mut by_variable = setup.command(&["pull", "owner/repo"]);
    by_variable.env("HF_HUB_OFFLINE", "1");
    assert_eq!(setup.finish(by_variable).code, Some(6));
    assert!(setup.hub.requests().is_empty());

    setup.babil(&["pull", "owner/repo"]).succeeded();
    let requests = setup.hub.requests().len();
    let cached = setup.babil(&["pull", "owner/repo", "--offline"]).succeeded();
    assert_eq!(cached.stdout.trim(), format!("[HOME]/hub/models--owner--repo/snapshots/{COMMIT}"));
    assert_eq!(setup.hub.requests().len(), requests);
}

#[test]
fn verify_finds_damage_and_a_new_pull_repairs_it() {
    let setup = Setup::new();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    let path = setup.snapshot().join("vocab.json");
    fs::write(&path, "CONTENT of vocab.json\n").unwrap();
    let verified = setup.babil(&["verify"]);
    insta::assert_snapshot!(verified.stdout + &verified.stderr, @"
    owner/repo/README.md  21 B  good
    owner/repo/config.json  23 B  good
    owner/repo/model.safetensors  600.00 kB  good
    owner/repo/source.spm  22 B  good
    owner/repo/target.spm  22 B  good
    owner/repo/vocab.json  22 B  DAMAGED: is 79359e8601a1754cb354e4355a75ef42250e63b5, should be c900bdf26d26388e1785208205d939eca6c7ff53
    babil: `owner/repo`: 1 damaged file; run `babil rm owner/repo` and `babil pull owner/repo`
    ");
    assert_eq!(verified.code, Some(4));
    setup.babil(&["rm", "owner/repo"]).succeeded();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    setup.assert_pulled();
    setup.babil(&["verify"]).succeeded();
}

#[test]
fn rm_keeps_what_another_revision_uses() {
    let setup = Setup::new();
    setup.babil(&["pull", "owner/repo"]).succeeded();
    let other = setup.repository().join("snapshots").join("f".repeat(40));
    fs::create_dir(&other).unwrap();
    fs::rename(setup.snapshot().join("config.json"), other.join("config.json")).unwrap();
    setup.babil(&["rm", "owner/repo"]).succeeded();
    assert!(!setup.snapshot().exists());
    assert_eq!(fs::read_to_string(other.join("config.json")).unwrap(), "content of config.json\n");
    assert_eq!(names(&setup.repository().join("blobs")).len(), 1);
}

#[test]
fn the_built_in_model_needs_nothing() {
    let setup = Setup::new();
    insta::assert_snapshot!(setup.babil(&["pull", "en-fr"]).message(), @"
    exit 0
    en-fr is built in: nothing to pull
    ");
    insta::assert_snapshot!(setup.babil(&["rm", "fr-en"]).message(), @"
    exit 2
    babil: `en-fr` is built in: there is nothing to remove
    ");
    insta::assert_snapshot!(setup.babil(&["show", "en-fr"]).stdout, @"
    name        en-fr
    about       The translator inside babil, both directions
    state       built in
    languages   en <-> fr
    ");
    assert!(setup.hub.requests().is_empty());
}

#[test]
fn usage() {
    let setup = Setup::new();
    let help = setup.babil(&["--help"]).succeeded().stdout;
    assert!(help.contains("Exit codes:") && help.contains("HF_HUB_OFFLINE"), "{help}");
    for command in ["pull", "list", "show", "verify", "rm"] {
        assert!(setup.babil(&[command, "--help"]).succeeded().stdout.contains("Examples:"), "{command}");
    }
    assert_eq!(setup.babil(&["pull"]).code, Some(2));
    let mut bad_endpoint = setup.command(&["pull", "owner/repo"]);
    bad_endpoint.env("HF_ENDPOINT", "nonsense");
    insta::assert_snapshot!(setup.finish(bad_endpoint).message(), @"
    exit 2
    babil: HF_ENDPOINT: `nonsense` is not an http or https address
    ");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let setup = Setup::new();
    let mut list = std::process::Command::new(env!("CARGO_BIN_EXE_babil"));
    let mut list = list.env_clear().envs(setup.environment()).arg("list").stdout(Stdio::piped()).stderr(Stdio::piped());
    // The reader is gone before the first byte.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    list = list.stdout(writer);
    let output = list.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
