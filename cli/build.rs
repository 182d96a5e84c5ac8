//! Tells the program which commit it was built from, for the reports of `babil bench`: `BABIL_BUILD_COMMIT` and
//! `BABIL_BUILD_NUMBER` of the environment, or what git says of this repository, or else the version.

use std::process::Command;

fn main() {
    const VARIABLES: [&str; 2] = ["BABIL_BUILD_COMMIT", "BABIL_BUILD_NUMBER"];
    let given = VARIABLES.map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        std::env::var(name).ok()
    });
    // A copy of this folder inside somebody else's repository has another prefix, and that commit would not be ours.
    let ours = git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix == "cli/");
    let found = match ours {
        true => [git(&["rev-parse", "--short=8", "HEAD"]), git(&["rev-list", "--count", "HEAD"])],
        false => [None, None],
    };
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|_| ours) {
        println!("cargo::rerun-if-changed={log}");
    }
    let otherwise = [env!("CARGO_PKG_VERSION"), "0"];
    for (((name, given), found), otherwise) in VARIABLES.into_iter().zip(given).zip(found).zip(otherwise) {
        println!("cargo::rustc-env={name}={}", given.or(found).unwrap_or_else(|| otherwise.to_owned()));
    }
}

/// What git prints for `args`, if it is here and succeeds.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
