//! A hub on a loopback address: the listing, `HEAD` and `GET` of files, a second server that large files are
//! redirected to, and failures on demand.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of the only revision.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What to do to one answer that carries a file's content.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Another status, with these headers.
    Status(u16, &'static str),
    /// Close the connection after so many bytes.
    DropAfter(usize),
    /// Send nothing more after so many bytes until [`Hub::release`].
    StallAfter(usize),
    /// Flip a bit.
    Corrupt,
    /// Send all of it, whatever range was asked for.
    IgnoreRange,
}

/// A request as the hub saw it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Whether it came to the second server.
    pub(crate) at_cdn: bool,
}

pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    /// Large: SHA-256 and a redirect; else git's hash and a direct answer.
    pub(crate) large: bool,
}

impl File {
    pub(crate) fn etag(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.large {
            hex(&Sha256::digest(&self.content))
        } else {
            hex(&Sha1::new_with_prefix(format!("blob {}\0", self.content.len())).chain_update(&self.content).finalize())
        }
    }
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    /// Names that the listing adds.
    extra_names: Vec<String>,
    token: Option<String>,
    gated: bool,
    faults: VecDeque<(String, Fault)>,
    requests: Vec<Request>,
    released: bool,
}

struct Shared {
    state: Mutex<State>,
    released: Condvar,
    hub: SocketAddr,
    cdn: SocketAddr,
}

/// A running hub with one repository, `owner/repo`. Its threads end with the test's process.
pub(crate) struct Hub(Arc<Shared>);

impl Hub {
    pub(crate) fn start(files: Vec<File>) -> Self {
        let bind = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (hub, cdn) = (bind(), bind());
        let shared = Arc::new(Shared {
            state: Mutex::new(State { files, ..State::default() }),
            released: Condvar::new(),
            hub: hub.local_addr().unwrap(),
            cdn: cdn.local_addr().unwrap(),
        });
        for (listener, at_cdn) in [(hub, false), (cdn, true)] {
            let shared = shared.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let shared = shared.clone();
                    // A client that goes away is no failure of the hub.
                    thread::spawn(move || stream.and_then(|stream| shared.serve(stream, at_cdn)));
                }
            });
        }
        Self(shared)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.0.hub)
    }

    pub(crate) fn cdn(&self) -> String {
        format!("http://{}", self.0.cdn)
    }

    /// The next `GET`s of `file`'s content meet these faults, one each.
    pub(crate) fn faults(&self, file: &str, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.0.state.lock().unwrap();
        state.faults.extend(faults.into_iter().map(|fault| (file.to_owned(), fault)));
    }

    pub(crate) fn list_also(&self, name: &str) {
        self.0.state.lock().unwrap().extra_names.push(name.to_owned());
    }

    pub(crate) fn require_token(&self, token: &str) {
        self.0.state.lock().unwrap().token = Some(token.to_owned());
    }

    /// As [`Hub::require_token`], and says that the repository's terms have to be accepted.
    pub(crate) fn gate(&self, token: &str) {
        self.require_token(token);
        self.0.state.lock().unwrap().gated = true;
    }

    /// Lets stalled answers end.
    pub(crate) fn release(&self) {
        self.0.state.lock().unwrap().released = true;
        self.0.released.notify_all();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.0.state.lock().unwrap().requests.clone()
    }

    /// The `GET`s of file contents: name and range.
    pub(crate) fn fetches(&self) -> Vec<(String, Option<String>)> {
        let answered_at = |request: &Request, large| request.at_cdn == large;
        let state = self.0.state.lock().unwrap();
        let of_file = |request: &Request| {
            let file = state.files.iter().find(|file| request.path.ends_with(&format!("/{}", file.name)))?;
            (request.method == "GET" && answered_at(request, file.large))
                .then(|| (file.name.clone(), request.range.clone()))
        };
        state.requests.iter().filter_map(of_file).collect()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, at_cdn: bool) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let Some(first) = lines.next().transpose()? else { return Ok(()) };
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request {
            method: method.to_owned(),
            path: path.split('?').next().unwrap_or_default().to_owned(),
            range: None,
            authorization: None,
            at_cdn,
        };
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => request.range = Some(value.to_owned()),
                "authorization" => request.authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let answer = self.answer(&request);
        let body = if request.method == "HEAD" { &[][..] } else { &answer.body };
        let head = format!(
            "HTTP/1.1 {} Any\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n",
            answer.status,
            answer.length.unwrap_or(answer.body.len()),
            answer.headers,
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body[..answer.send.min(body.len())])?;
        stream.flush()?;
        if answer.stall {
            let state = self.state.lock().unwrap();
            drop(self.released.wait_while(state, |state| !state.released).unwrap());
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut state = self.state.lock().unwrap();
        state.requests.push(request.clone());
        if let Some(token) = state.token.as_ref().filter(|_| !request.at_cdn)
            && request.authorization != Some(format!("Bearer {token}"))
        {
            let headers = if state.gated { "X-Error-Code: GatedRepo\r\n" } else { "" };
            return Answer::new(401, headers, "");
        }
        if request.path == "/api/models/owner/repo/revision/main" {
            let names = state.files.iter().map(|file| &file.name).chain(&state.extra_names);
            let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
            let card = serde_json::json!({ "license": "cc-by-4.0" });
            let listing =
                serde_json::json!({ "id": "owner/repo", "sha": COMMIT, "siblings": siblings, "cardData": card });
            return Answer::new(200, "", listing.to_string());
        }
        let folder = if request.at_cdn { "/cdn/".to_owned() } else { format!("/owner/repo/resolve/{COMMIT}/") };
        let name = request.path.strip_prefix(&folder).unwrap_or_default().to_owned();
        let Some(file) = state.files.iter().find(|file| file.name == name) else {
            return Answer::new(404, "", "");
        };
        let (etag, size) = (file.etag(), file.content.len());
        if file.large && !request.at_cdn {
            let headers = format!(
                "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {size}\r\n\
                 Location: http://{}/cdn/{name}?signature=secret\r\n",
                self.cdn
            );
            return Answer::new(302, &headers, "");
        }
        let content = file.content.clone();
        let mut answer = Answer::new(200, &format!("X-Repo-Commit: {COMMIT}\r\nETag: \"{etag}\"\r\n"), content);
        if request.method == "HEAD" {
            return answer;
        }
        let position = state.faults.iter().position(|(file, _)| *file == name);
        let fault = position.and_then(|position| state.faults.remove(position)).map(|(_, fault)| fault);
        let from = request
            .range
            .as_ref()
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        if let Some(from) = from.filter(|_| !matches!(fault, Some(Fault::IgnoreRange))) {
            answer.status = 206;
            answer.headers += &format!("Content-Range: bytes {from}-{}/{size}\r\n", size - 1);
            answer.body.drain(..from);
        }
        match fault {
            Some(Fault::Status(status, headers)) => return Answer::new(status, headers, ""),
            Some(Fault::DropAfter(bytes)) => answer.send = bytes,
            Some(Fault::StallAfter(bytes)) => (answer.send, answer.stall) = (bytes, true),
            Some(Fault::Corrupt) => answer.body[0] ^= 1,
            Some(Fault::IgnoreRange) | None => {}
        }
        answer
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// Announced, if not the body's.
    length: Option<usize>,
    /// Bytes of the body to send.
    send: usize,
    /// Whether to keep the connection open after that.
    stall: bool,
}

impl Answer {
    fn new(status: u16, headers: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: headers.to_owned(), body: body.into(), length: None, send: usize::MAX, stall: false }
    }
}
